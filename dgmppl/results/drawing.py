"""Graph panels drawn with matplotlib: layers from parents to children, one column block per plate.

Plates are boxes around disjoint blocks of columns, so that a box holds exactly its own nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx

from dgmppl.results.graph import GraphNode, Panel

_SHADE, _LINE, _PLATE, _QUIET = "#c9d3df", "#27313f", "#8a96a6", "#55606e"
_WIDTH, _HEIGHT = 1.9, 1.45
_HALF_WIDTH, _HALF_HEIGHT, _HALF_BOX = 0.68, 0.44, 0.3
_BOXES = frozenset({"learned", "covariate"})
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "color": _LINE, "linewidth": 1.0, "zorder": 2}
# How near an edge may come to a node that it does not touch; its border is at 1.
_CLEAR = 1.1

Point = tuple[float, float]


def draw(panels: Sequence[Panel], path: Path, title: str) -> None:
    """Draw the panels side by side.

    Args:
        panels: at least one.
        path: .svg, .png or .pdf.
        title: printed above.
    """
    from matplotlib.figure import Figure

    places = [positions(panel) for panel in panels]
    boxes = [_extent(place) for place in places]
    widths = [box[1] - box[0] for box in boxes]
    height = max(box[3] - box[2] for box in boxes)
    figure = Figure(figsize=(max(sum(widths), 4.0) * 0.95, (height + 0.9) * 0.95), layout="constrained")
    axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axis, panel, place, box in zip(axes, panels, places, boxes, strict=True):
        axis.set(xlim=box[:2], ylim=(box[3] - height, box[3]), aspect="equal")
        axis.set_title(panel.title, fontsize=11, color=_LINE)
        axis.axis("off")
        _draw_panel(axis, panel, place)
    figure.suptitle(title, fontsize=13, color=_LINE)
    figure.savefig(path, dpi=160)


def positions(panel: Panel) -> dict[str, Point]:
    """Where each node stands: its layer from the top, its plate's block from the left."""
    layers = _layers(panel)
    blocks = sorted(
        {node.plate for node in panel.nodes}, key=lambda plate: (plate is not None, plate == "data", plate or "")
    )
    members = {plate: [node for node in panel.nodes if node.plate == plate] for plate in blocks}
    place: dict[str, Point] = {}
    left = 0.0
    for plate in blocks:
        rows: dict[int, list[GraphNode]] = {}
        for node in members[plate]:
            rows.setdefault(layers[node.name], []).append(node)
        width = max(len(row) for row in rows.values())
        for layer in sorted(rows):
            row = sorted(rows[layer], key=lambda node: _mean_parent(panel, node, place))
            for number, node in enumerate(row):
                x = left + (number + (width - len(row)) / 2.0) * _WIDTH
                place[node.name] = (x, -layer * _HEIGHT)
        left += width * _WIDTH + (0.35 if plate is not None else 0.0)
    return place


def _layers(panel: Panel) -> dict[str, int]:
    """Depth of each node; a node without parents moves down to just above its first child."""
    graph = panel.digraph
    if not nx.is_directed_acyclic_graph(graph):
        # A chain reads its own and others' past: order by the listing.
        order = {node.name: number for number, node in enumerate(panel.nodes)}
        graph.remove_edges_from([(a, b) for a, b in graph.edges if order[a] >= order[b]])
    depth: dict[str, int] = {}
    for number, generation in enumerate(nx.topological_generations(graph)):
        depth |= dict.fromkeys(generation, number)
    for name in list(depth):
        children = list(graph.successors(name))
        if not list(graph.predecessors(name)) and children:
            depth[name] = min(depth[child] for child in children) - 1
    return depth


def _mean_parent(panel: Panel, node: GraphNode, place: dict[str, Point]) -> float:
    parents = [place[source][0] for source, target, _ in panel.edges if target == node.name and source in place]
    return sum(parents) / len(parents) if parents else 0.0


def _extent(place: dict[str, Point]) -> tuple[float, float, float, float]:
    xs, ys = zip(*place.values(), strict=True)
    return min(xs) - 1.25, max(xs) + 1.25, min(ys) - 1.05, max(ys) + 0.8


def _draw_panel(axis: Any, panel: Panel, place: dict[str, Point]) -> None:
    from matplotlib.patches import FancyBboxPatch

    for plate, corner in panel.plates.items():
        inside = [place[node.name] for node in panel.nodes if node.plate == plate]
        left, right = min(x for x, _ in inside) - 0.95, max(x for x, _ in inside) + 0.95
        low, high = min(y for _, y in inside) - 0.78, max(y for _, y in inside) + 0.6
        axis.add_patch(FancyBboxPatch(
            (left, low), right - left, high - low, boxstyle="round,pad=0,rounding_size=0.12",
            fill=False, edgecolor=_PLATE, linewidth=1.0, zorder=0,
        ))  # fmt: skip
        axis.text(right - 0.1, low + 0.08, corner, ha="right", va="bottom", fontsize=8, color=_PLATE)
    outlines = {node.name: _Outline(place[node.name], node.kind in _BOXES) for node in panel.nodes}
    for source, target, label in panel.edges:
        if source == target:
            _draw_loop(axis, place[source])
        else:
            others = [outline for name, outline in outlines.items() if name not in {source, target}]
            _draw_edge(axis, outlines[source], outlines[target], label, others)
    for node in panel.nodes:
        _draw_node(axis, node, place[node.name])


def _draw_node(axis: Any, node: GraphNode, at: Point) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch, RegularPolygon

    shaded = node.kind in {"observed", "covariate"}
    style: dict[str, Any] = {
        "facecolor": _SHADE if shaded else "white", "edgecolor": _LINE, "linewidth": 1.2, "zorder": 3,
        "linestyle": (0, (3, 2)) if node.kind == "deterministic" else "solid",
    }  # fmt: skip
    if node.kind in _BOXES:
        corner, high = (at[0] - _HALF_WIDTH, at[1] - _HALF_BOX), 2 * _HALF_BOX
        axis.add_patch(FancyBboxPatch(corner, 2 * _HALF_WIDTH, high, boxstyle="round,pad=0,rounding_size=0.1", **style))
    elif node.kind == "critic":
        axis.add_patch(RegularPolygon(at, 6, radius=0.5, orientation=math.pi / 6, **style))
    else:
        axis.add_patch(Ellipse(at, 2 * _HALF_WIDTH, 2 * _HALF_HEIGHT, **style))
    name, _, body = node.label.partition("\n")
    raised = 0.1 if body else 0.0
    axis.text(
        at[0],
        at[1] + raised,
        name,
        ha="center",
        va="center",
        fontsize=9 if len(name) < 11 else 7.5,
        color=_LINE,
        zorder=4,
    )
    if body:
        size = 7 if len(body) < 14 else 5.5
        axis.text(at[0], at[1] - 0.16, body, ha="center", va="center", fontsize=size, color=_QUIET, zorder=4)


class _Outline(NamedTuple):
    """A node's border: an ellipse, or a box.

    Attributes:
        middle: of the node.
        box: what the border is.
    """

    middle: Point
    box: bool

    def reach(self, point: Point) -> float:
        """How far a point is from the middle, the border being at 1."""
        across, along = (abs(a - b) for a, b in zip(point, self.middle, strict=True))
        if self.box:
            return max(across / _HALF_WIDTH, along / _HALF_BOX)
        return math.hypot(across / _HALF_WIDTH, along / _HALF_HEIGHT)

    def toward(self, point: Point) -> Point:
        """Where the line from the middle to a point leaves the node, just outside of its border."""
        share = 1.05 / self.reach(point)
        return tuple(a + share * (b - a) for a, b in zip(self.middle, point, strict=True))  # type: ignore[return-value]


def _draw_loop(axis: Any, at: Point) -> None:
    from matplotlib.patches import FancyArrowPatch

    right = at[0] + _HALF_WIDTH * 0.92
    ends = (right, at[1] + 0.17), (right, at[1] - 0.17)
    axis.add_patch(FancyArrowPatch(*ends, connectionstyle="arc3,rad=-1.7", **_ARROW))


def _draw_edge(axis: Any, source: _Outline, target: _Outline, label: str, others: Sequence[_Outline]) -> None:
    from matplotlib.patches import FancyArrowPatch

    first, last = source.toward(target.middle), target.toward(source.middle)
    bend = _bend(first, last, others)
    axis.add_patch(FancyArrowPatch(first, last, connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=1, **_ARROW))
    if label:
        axis.text(
            *_on_arc(first, last, bend, 0.5), label, fontsize=7, color=_LINE, style="italic", ha="center", va="center",
            zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip


def _bend(first: Point, last: Point, others: Sequence[_Outline]) -> float:
    """The least bend with which an edge touches no other node; in a layer two may read each other, so they arc."""
    wanted = 0.35 if abs(first[1] - last[1]) < 1e-9 else 0.0
    bends = sorted((number / 20 for number in range(-16, 17)), key=lambda bend: (abs(bend - wanted), -bend))

    def clearance(bend: float) -> float:
        points = [_on_arc(first, last, bend, step / 40) for step in range(41)]
        return min((other.reach(point) for other in others for point in points), default=math.inf)

    return next((bend for bend in bends if clearance(bend) > _CLEAR), max(bends, key=clearance))


def _on_arc(first: Point, last: Point, bend: float, share: float) -> Point:
    """A point of matplotlib's quadratic arc, whose control point lies off the middle, right of its direction."""
    across, along = last[0] - first[0], last[1] - first[1]
    off = 2.0 * share * (1.0 - share) * bend
    return first[0] + share * across + off * along, first[1] + share * along - off * across

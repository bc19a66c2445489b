"""Graph panels drawn with matplotlib: layers from parents to children, one column block per plate.

Plates are boxes around disjoint blocks of columns, so that a box holds exactly its own nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx

from dgmppl.results.graph import GraphNode, Panel

_SHADE, _LINE, _PLATE, _QUIET = "#c9d3df", "#27313f", "#8a96a6", "#55606e"
_WIDTH, _HEIGHT = 1.9, 1.45
_HALF_WIDTH, _HALF_HEIGHT = 0.68, 0.44


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


def positions(panel: Panel) -> dict[str, tuple[float, float]]:
    """Where each node stands: its layer from the top, its plate's block from the left."""
    layers = _layers(panel)
    blocks = sorted(
        {node.plate for node in panel.nodes}, key=lambda plate: (plate is not None, plate == "data", plate or "")
    )
    members = {plate: [node for node in panel.nodes if node.plate == plate] for plate in blocks}
    place: dict[str, tuple[float, float]] = {}
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


def _mean_parent(panel: Panel, node: GraphNode, place: dict[str, tuple[float, float]]) -> float:
    parents = [place[source][0] for source, target, _ in panel.edges if target == node.name and source in place]
    return sum(parents) / len(parents) if parents else 0.0


def _extent(place: dict[str, tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*place.values(), strict=True)
    return min(xs) - 1.25, max(xs) + 1.25, min(ys) - 1.05, max(ys) + 0.8


def _draw_panel(axis: Any, panel: Panel, place: dict[str, tuple[float, float]]) -> None:
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
    for source, target, label in panel.edges:
        _draw_edge(axis, place[source], place[target], "" if source == target else label)
    for node in panel.nodes:
        _draw_node(axis, node, place[node.name])


def _draw_node(axis: Any, node: GraphNode, at: tuple[float, float]) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch, RegularPolygon

    shaded = node.kind in {"observed", "covariate"}
    style: dict[str, Any] = {
        "facecolor": _SHADE if shaded else "white", "edgecolor": _LINE, "linewidth": 1.2, "zorder": 3,
        "linestyle": (0, (3, 2)) if node.kind == "deterministic" else "solid",
    }  # fmt: skip
    if node.kind in {"learned", "covariate"}:
        corner = (at[0] - _HALF_WIDTH, at[1] - 0.3)
        axis.add_patch(FancyBboxPatch(corner, 2 * _HALF_WIDTH, 0.6, boxstyle="round,pad=0,rounding_size=0.1", **style))
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


def _draw_edge(axis: Any, start: tuple[float, float], end: tuple[float, float], label: str) -> None:
    from matplotlib.patches import FancyArrowPatch

    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "color": _LINE, "linewidth": 1.0, "zorder": 2}
    if start == end:
        right, top = start[0] + _HALF_WIDTH * 0.92, start[1]
        loop = FancyArrowPatch((right, top + 0.17), (right, top - 0.17), connectionstyle="arc3,rad=-1.7", **style)
        axis.add_patch(loop)
        return
    far = abs(start[1] - end[1]) > _HEIGHT * 1.5 and abs(start[0] - end[0]) < 1e-9
    first, last = _border(start, end), _border(end, start)
    # An edge over several layers swings around the nodes between.
    bend = 1.75 / math.dist(first, last) if far else 0.35 if abs(start[1] - end[1]) < 1e-9 else 0.0
    axis.add_patch(FancyArrowPatch(first, last, connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=1, **style))
    if not label:
        return
    # The middle of matplotlib's quadratic arc is offset by half of its bend, to the right of its direction.
    across, along = last[0] - first[0], last[1] - first[1]
    x = (first[0] + last[0]) / 2.0 + bend * along / 2.0
    y = (first[1] + last[1]) / 2.0 - bend * across / 2.0
    axis.text(
        x, y, label, fontsize=7, color=_LINE, style="italic", ha="center", va="center", zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def _border(inside: tuple[float, float], toward: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a node's middle leaves its ellipse."""
    across, along = toward[0] - inside[0], toward[1] - inside[1]
    scale = 1.0 / math.hypot(across / (_HALF_WIDTH + 0.03), along / (_HALF_HEIGHT + 0.03))
    return inside[0] + across * scale, inside[1] + along * scale

"""Pictures of a model's graph: what edges are labelled with, and that none runs through a node that it passes by."""

from __future__ import annotations

from typing import Any

import pytest

from dgmppl.compiler import front
from dgmppl.results.drawing import _BOXES, _bend, _on_arc, _Outline, positions
from dgmppl.results.graph import Panel, panels
from tests.support import SPECS


def edges(spec: dict[str, Any]) -> set[tuple[str, str, str]]:
    """The edges of the model's panel."""
    return set(panels(front({"dgmppl": 1, "name": "drawn", **spec}).program)[0].edges)


def test_an_edge_names_the_networks_that_the_parent_passes_through_and_no_others() -> None:
    found = edges({
        "data": {"x": {"shape": [3], "support": "real"}, "y": {"shape": [], "support": "real"}},
        "networks": {"net": "mlp([4])", "spread": "mlp([4])"},
        "parameters": {"sigma": "HalfNormal(1)"},
        "model": {"rate(u)": "exp(spread(u))", "z": "Normal(0, 1)", "y": "Normal(net(x), sigma * rate(z))"},
    })  # fmt: skip
    assert found == {("x", "y", "net"), ("sigma", "y", ""), ("z", "y", "spread")}


def nearest(panel: Panel) -> float:
    """How near any edge comes to a node that is none of its ends; the node's border is at 1."""
    place = positions(panel)
    outlines = {node.name: _Outline(place[node.name], node.kind in _BOXES) for node in panel.nodes}
    found = []
    for source, target, _ in panel.edges:
        others = [outline for name, outline in outlines.items() if name not in {source, target}]
        if source != target and others:
            first, last = (outlines[a].toward(outlines[b].middle) for a, b in ((source, target), (target, source)))
            bend = _bend(first, last, others)
            found += [other.reach(_on_arc(first, last, bend, k / 200)) for other in others for k in range(201)]
    return min(found, default=2.0)


@pytest.mark.parametrize("name", ["radon", "garch", "ss_vae", "deep_markov", "hierarchical_vae"])
def test_no_edge_runs_through_a_node(name: str) -> None:
    assert min(map(nearest, panels(front(SPECS / f"{name}.yaml").program))) > 1.05


@pytest.mark.parametrize("box", [True, False])
def test_an_edge_begins_at_its_nodes_border(box: bool) -> None:
    outline = _Outline((1.0, 2.0), box)
    for point in ((1.0, 9.0), (-4.0, 2.0), (3.0, 3.0), (0.5, -7.0)):
        assert outline.reach(outline.toward(point)) == pytest.approx(1.05)

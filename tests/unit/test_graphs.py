"""Closures and orders against networkx on random graphs."""

from __future__ import annotations

from graphlib import CycleError

import networkx as nx
import numpy as np
import pytest

from dgmppl.ir.graphs import parents_first, reachable


def random_parents(seed: int) -> dict[str, list[str]]:
    """A random acyclic graph, its nodes in random order."""
    generator = np.random.default_rng(seed)
    names = [f"n{number}" for number in range(8)]
    parents = {name: [other for other in names[:place] if generator.random() < 0.3] for place, name in enumerate(names)}
    return {name: parents[name] for name in generator.permutation(names).tolist()}


@pytest.mark.parametrize("seed", range(30))
def test_as_networkx_says(seed: int) -> None:
    parents = random_parents(seed)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(parents)
    graph.add_edges_from((parent, child) for child, above in parents.items() for parent in above)
    place = {name: position for position, name in enumerate(parents)}
    assert parents_first(parents) == list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))
    for name in parents:
        assert reachable([name], parents.__getitem__) == nx.ancestors(graph, name) | {name}


def test_a_cycle_has_no_order() -> None:
    with pytest.raises(CycleError):
        parents_first({"a": ["b"], "b": ["a"]})
    assert reachable(["a"], {"a": ["b"], "b": ["a"]}.__getitem__) == {"a", "b"}

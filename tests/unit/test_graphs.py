"""The graphs of the front end against networkx, on random graphs."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmppl.errors import InternalError
from dgmppl.ir.graphs import Digraph

SIZE = 7
EDGES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), max_size=20)


def both(edges: list[tuple[int, int]]) -> tuple[Digraph[int], nx.DiGraph]:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(SIZE))
    graph.add_edges_from(edges)
    return Digraph(range(SIZE), edges), graph


@given(EDGES)
def test_reach_and_components(edges: list[tuple[int, int]]) -> None:
    own, other = both(edges)
    assert set(own.edges) == set(other.edges)
    for node in own:
        assert own.descendants(node) == nx.descendants(other, node)
        assert own.ancestors(node) == nx.ancestors(other, node)
        assert set(own.children(node)) == set(other.successors(node))
        assert set(own.parents(node)) == set(other.predecessors(node))
    assert set(own.components()) == set(map(frozenset, nx.weakly_connected_components(other)))
    assert set(own.cycles()) == set(map(frozenset, nx.strongly_connected_components(other)))


@given(EDGES)
def test_order(edges: list[tuple[int, int]]) -> None:
    own, other = both([(max(edge), min(edge)) for edge in edges if edge[0] != edge[1]])
    assert list(own.sorted()) == list(nx.lexicographical_topological_sort(other))


@given(EDGES, st.lists(st.sampled_from(["first", "second", "known", "other"]), min_size=SIZE, max_size=SIZE))
def test_separation(edges: list[tuple[int, int]], places: list[str]) -> None:
    own, other = both([(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]])
    first, second, known = (
        {node for node, place in enumerate(places) if place == name} for name in ("first", "second", "known")
    )
    expected = not first or not second or nx.is_d_separator(other, first, second, known)
    assert own.separates(known, first, second) == expected


def test_a_cycle_has_no_order() -> None:
    with pytest.raises(InternalError, match="cycle"):
        Digraph(edges=[(1, 2), (2, 1)]).sorted()

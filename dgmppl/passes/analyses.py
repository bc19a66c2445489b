"""Questions about a program's graph: what stands above a site, and what is independent of what given what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dgmppl.ir.analyses import degree
from dgmppl.ir.expressions import Expression, free_names
from dgmppl.ir.graphs import reachable
from dgmppl.ir.program import Program, Role, Site

if TYPE_CHECKING:
    import networkx as nx


def is_affine(program: Program, expression: Expression, names: Iterable[str]) -> bool:
    """Whether an expression is a + B x in the given names jointly, deterministic sites looked through."""
    return degree(program, expression, frozenset(names)) <= 1


def ancestors(program: Program, expression: Expression) -> frozenset[str]:
    """Every site that an expression depends on, directly or through others, random or not."""
    sites = program.by_name
    starts = (name for name in free_names(expression) if name in sites)
    return reachable(starts, lambda name: (parent for parent in sites[name].parents if parent in sites))


def acyclic(program: Program) -> nx.DiGraph[frozenset[str]]:
    """The model's graph with each cycle of chains (`s[t]` reads `y[t-1]`, `y[t]` reads `s[t]`) as one node.

    Nodes are sets of names.
    """
    import networkx as nx

    graph: nx.DiGraph[frozenset[str]] = nx.DiGraph()
    members = [frozenset(part) for part in nx.strongly_connected_components(program.graph)]
    graph.add_nodes_from(members)
    place = {name: node for node in members for name in node}
    graph.add_edges_from(
        (place[parent], place[child]) for parent, child in program.graph.edges if place[parent] != place[child]
    )
    return graph


def independent(program: Program, first: Iterable[str], second: Iterable[str], given: Iterable[str]) -> bool:
    """Whether the model's graph makes two sets of sites independent given a third (d-separation).

    Chains that read each other count as one node. Sites in both sets, or in a set and in `given`, are dependent
    unless they are given. Joint sites of one potential depend on each other.
    """
    import networkx as nx

    graph = acyclic(program)
    place = {name: node for node in graph for name in node}
    for site in program.sites:
        if site.joint and site.name == site.joint[0]:
            # A potential couples its variables: a common child that is always given.
            graph.add_edges_from((place[name], _coupling(site)) for name in site.joint)
    couplings = {_coupling(site) for site in program.sites if site.joint}
    known = {place[name] for name in given} | couplings
    left = {place[name] for name in first} - known
    right = {place[name] for name in second} - known
    if left & right:
        return False
    return not left or not right or bool(nx.is_d_separator(graph, left, right, known))


def _coupling(site: Site) -> frozenset[str]:
    return frozenset((f"({', '.join(site.joint)})",))


def has_observed_descendant(program: Program, name: str) -> bool:
    """Whether some observed site depends on a site; joint sites stand for each other."""
    below = reachable([name], lambda above: (child.name for child in program.children(above)))
    partners = {other for site in program.sites if site.name in below for other in site.joint}
    return any(program.by_name[other].role is Role.OBSERVED for other in below | partners)

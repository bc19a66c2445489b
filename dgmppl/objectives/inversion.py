"""Faithful inversion of a model's graph: what each latent's guide must be conditioned on.

NaMI (Webb, Golinski, Zinkov, Siddharth, Rainforth, Teh and Wood 2018, algorithm 1): eliminate the latents in generative
order on the moral graph, by min-fill; a latent's guide reads the neighbours that are not eliminated yet, which are then
joined. Explaining-away edges are kept: x <- a, b gives q(a | x) q(b | a, x). No independence is asserted that the true
posterior lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TypeAlias

from dgmppl.ir.program import Role
from dgmppl.objectives.algebra import LogDensity, walk
from dgmppl.objectives.state import State

Neighbours: TypeAlias = dict[str, set[str]]


def moral_graph(state: State) -> Neighbours:
    """A clique for every factor that is left: a site with what it is conditioned on, exact eliminations inside.

    Parameters stand outside: a guide of local latents is amortized over data, at given parameters.
    """
    structure = state.structure
    parameters = {site.name for site in structure.program.with_role(Role.PARAMETER)}
    graph: Neighbours = {name: set() for name in structure.variables}
    for factor in state.factors:
        densities = [term for term in walk(factor.term) if isinstance(term, LogDensity)]
        names = {name for term in densities for name in (term.site, *term.names, *term.given)}
        _join(graph, names - parameters - set(state.eliminated))
    return graph


def _join(graph: Neighbours, names: set[str]) -> None:
    """Make a clique of some nodes."""
    for name in names:
        graph.setdefault(name, set()).update(names - {name})


def invert(state: State, latents: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """What the guide of each latent is conditioned on, in the guide's sampling order.

    Args:
        state: the log joint after the exact eliminations.
        latents: the names that need a guide, in generative order.

    Returns:
        latent -> names of data, covariates and earlier latents, in the spec's order.
    """
    names = tuple(latents)
    graph = moral_graph(state)
    parents = {name: set(state.structure.variables[name].given) & set(names) for name in names}
    conditions: dict[str, tuple[str, ...]] = {}
    while len(conditions) < len(names):
        ready = [name for name in names if name not in conditions and parents[name] <= set(conditions)]
        # Of equals the last one of the spec goes first, so that the guide samples in the spec's order.
        name = min(reversed(ready), key=lambda candidate: _fill(graph, candidate, conditions))
        neighbours = graph[name] - set(conditions)
        conditions[name] = state.structure.ordered(neighbours)
        _join(graph, neighbours)
    return dict(reversed(conditions.items()))


def _fill(graph: Neighbours, name: str, eliminated: Iterable[str]) -> int:
    """How many edges eliminating a node would add."""
    neighbours = graph[name].difference(eliminated)
    return sum(b not in graph[a] for a, b in combinations(neighbours, 2))

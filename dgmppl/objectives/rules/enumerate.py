"""A latent with finite support is summed out: log sum_k exp(log p(k) + log p(x | k)).

Variable elimination (Zhang and Poole 1994): each latent is summed over the factors that contain it, so the cost is that
of the widest intermediate table. Elements that are independent given the rest are summed one by one.
"""

from __future__ import annotations

import math

from dgmppl.ir.analyses import elementwise
from dgmppl.ir.densities import Elementary
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.objectives.algebra import LogDensity, LogSum, Sum, Term
from dgmppl.objectives.capabilities import joint_states
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import Factor, State, Verdict, total

# Joint states of the widest table that is built without being asked for.
LIMIT = 4096


def _separable(state: State, name: str, factor: Factor) -> bool:
    """Whether a factor is a sum over elements, each of which reads one element of `name`."""
    if not isinstance(factor.term, LogDensity) or factor.term.names:
        return False
    variable = state.structure.variables[factor.term.site]
    density, shape = variable.site.density, variable.site.typed.shape
    if not isinstance(density, Elementary) or DISTRIBUTIONS[density.family].event_rank > 0:
        return False
    same = shape == state.structure.variables[name].site.typed.shape
    program = state.structure.program
    return same and all(elementwise(program, value, name) for _, value in density.parameters)


def _one_by_one(state: State, name: str) -> bool:
    vector = state.structure.variables[name].site.typed.shape != ()
    return vector and all(_separable(state, name, factor) for factor in state.containing((name,)))


def _table(state: State, name: str) -> int | None:
    """The states of the widest table that summing `name` out builds; None where they are not finite."""
    structure = state.structure
    if _one_by_one(state, name):
        return structure.variables[name].site.typed.support.states
    scope = frozenset({name}).union(*(factor.scope for factor in state.containing((name,))))
    others = [other for other in scope if other in state.remaining and other not in structure.guided and other != name]
    counts = [joint_states(structure.variables[other].site) for other in others]
    own = joint_states(structure.variables[name].site)
    return None if own is None else own * math.prod(count for count in counts if count is not None)


def _applies(state: State, name: str) -> Verdict:
    support = state.structure.variables[name].site.typed.support
    if support.states is None:
        return Verdict(False, f"its support, {support}, is not finite")
    table = _table(state, name)
    if table is None or table > LIMIT:
        size = "too many" if table is None else _count(table)
        return Verdict(False, f"its widest table has {size} joint states, above the limit of {LIMIT}")
    reading = [other for other, variable in state.structure.guided.items() if name in variable.given]
    if reading:
        return Verdict(False, f"the guide of {reading[0]} has it in scope")
    each = " per element" if _one_by_one(state, name) else ""
    return Verdict(
        True, f"its support is finite: {table} joint states{each} in the widest table ({4 * table} bytes a datum)"
    )


def _count(states: int) -> str:
    return str(states) if states < 10**6 else f"about 10^{len(str(states)) - 1}"


def _rewrite(state: State, name: str) -> State:
    taken = state.containing((name,))
    partly = name in state.structure.partly_observed
    one_by_one = _one_by_one(state, name)
    inner = [factor.term for factor in taken if isinstance(factor.term, LogSum) and _merges(factor.term)]
    if one_by_one or partly:
        inner = []
    names = (*(latent for term in inner for latent in term.names), name)
    terms = [part for factor in taken for part in (_parts(factor.term) if factor.term in inner else (factor.term,))]
    states = max([_table(state, name) or 0, *(term.states for term in inner)])
    term = LogSum(names, total(terms), RULE.name, one_by_one, states, partly)
    return state.eliminate((name,), RULE.name, _applies(state, name).why, term)


def _merges(term: LogSum) -> bool:
    """Whether a sum's factors may join an enclosing sum's: elimination in the order of its names gives the same."""
    return term.rule == RULE.name and not term.elementwise and not term.partly_observed


def _parts(term: Term) -> tuple[Term, ...]:
    body = term.body if isinstance(term, LogSum) else term
    return body.terms if isinstance(body, Sum) else (body,)


RULE = Elimination(
    name="enumerate",
    mathematics="log p(x) = log ∑ₖ exp(log p(k) + log p(x | k))",
    reference="Zhang and Poole 1994; Dempster, Laird and Rubin 1977",
    level="exact",
    predicate=_applies,
    rewrite=_rewrite,
)

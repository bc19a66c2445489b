"""A discrete Markov chain is summed by the forward recursion.

alpha_t(j) = p(x_t | z_t = j) sum_i p(z_t = j | z_{t-1} = i) alpha_{t-1}(i), p(x) = sum_j alpha_T(j) (Rabiner 1989,
eqs. 19-21); products of K x K matrices, which associate, so that a backend may run them in parallel over time.
"""

from __future__ import annotations

import math

from dgmppl.ir.analyses import lags
from dgmppl.ir.densities import MarkovChain
from dgmppl.objectives.algebra import LogSum
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict, total

STATES = 4096


def _states(state: State, name: str) -> int | None:
    """How many values one step takes, where that is finite."""
    typed = state.structure.variables[name].site.typed
    return None if typed.support.states is None else typed.support.states ** math.prod(typed.shape[1:])


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    density = structure.variables[name].site.density
    if not isinstance(density, MarkovChain) or density.lag == 0:
        return Verdict(False, "it is no Markov chain")
    states = _states(state, name)
    if states is None:
        return Verdict(False, "its states are not finite")
    if states**density.lag > STATES:
        return Verdict(False, f"its recursion has {states**density.lag} states, above {STATES}")
    if name in structure.partly_observed:
        return Verdict(False, "it is observed in some rows")
    for reader in structure.readers(name):
        chain = reader.site.density
        if not isinstance(chain, MarkovChain) or lags(structure.program, chain, name, chain.index) is None:
            return Verdict(False, f"{reader.name} reads more of it than one step")
    return Verdict(True, f"it is a Markov chain with {states} states per step, read step by step")


def _rewrite(state: State, name: str) -> State:
    body = total(factor.term for factor in state.containing((name,)))
    term = LogSum((name,), body, RULE.name, states=_states(state, name) or 0)
    return state.eliminate((name,), RULE.name, _applies(state, name).why, term)


RULE = Elimination(
    name="forward_algorithm",
    mathematics="αₜ(j) = p(xₜ | zₜ = j) ∑ᵢ p(zₜ = j | zₜ₋₁ = i) αₜ₋₁(i),  p(x) = ∑ⱼ α_T(j)",
    reference="Rabiner 1989, eqs. 19-21",
    level="exact",
    predicate=_applies,
    rewrite=_rewrite,
)

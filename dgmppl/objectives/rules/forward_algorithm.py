"""A discrete Markov chain is summed by the forward recursion.

alpha_t(j) = p(x_t | z_t = j) sum_i p(z_t = j | z_{t-1} = i) alpha_{t-1}(i), p(x) = sum_j alpha_T(j) (Rabiner 1989,
eqs. 19-21). A state is all that the next step and the readings of this one depend on: of a chain that is read L steps
back, its last L values; of chains that are read together, the values of all of them.
"""

from __future__ import annotations

from dgmppl.ir.chains import depths, joint_states
from dgmppl.ir.densities import MarkovChain
from dgmppl.objectives.algebra import LogDensity, LogSum, Sum, Term
from dgmppl.objectives.capabilities import indicators
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict, total

# Joint states of a step, with what it remembers of the steps before.
STATES = 4096


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    density = structure.variables[name].site.density
    if not isinstance(density, MarkovChain) or density.lag == 0:
        return Verdict(False, "it is no Markov chain")
    if structure.variables[name].site.typed.support.states is None:
        return Verdict(False, "its states are not finite")
    if indicators(structure.variables[name].site) is not None:
        return Verdict(False, "its steps are indicator vectors: write their classes as numbers, `Categorical`")
    if name in structure.partly_observed:
        return Verdict(False, "it is observed in some rows")
    names, parts = _together(state, name)
    if not all(isinstance(part, LogDensity) for part in parts):
        return Verdict(False, "what has been integrated before ties its steps together")
    sites = [part.site for part in parts if isinstance(part, LogDensity)]
    readers = [site for site in sites if site not in names]
    for reader in (*readers, *names):
        if depths(structure.program, names, [reader]) is None:
            return Verdict(False, f"{reader} reads more of it than single steps up to its own")
    remembered = depths(structure.program, names, readers)
    states = None if remembered is None else joint_states(structure.program, remembered)
    if states is None or states > STATES:
        return Verdict(False, f"its recursion has {states} states, above {STATES}")
    return Verdict(True, f"it is a Markov chain with {states} states per step, read step by step")


def _together(state: State, name: str) -> tuple[tuple[str, ...], list[Term]]:
    """The chains that one recursion sums, `name` and those summed before that share a factor with it; the factors."""
    names: tuple[str, ...] = ()
    parts: list[Term] = []
    for factor in state.containing((name,)):
        term = factor.term
        if isinstance(term, LogSum) and term.rule == RULE.name:
            names += term.names
            parts += term.body.terms if isinstance(term.body, Sum) else (term.body,)
        else:
            parts.append(term)
    order = state.structure.unknown
    return tuple(sorted((*names, name), key=order.index)), parts


def _rewrite(state: State, name: str) -> State:
    names, parts = _together(state, name)
    readers = [part.site for part in parts if isinstance(part, LogDensity) and part.site not in names]
    remembered = depths(state.structure.program, names, readers) or {}
    states = joint_states(state.structure.program, remembered) or 0
    term = LogSum(names, total(parts), RULE.name, states=states)
    return state.eliminate((name,), RULE.name, _applies(state, name).why, term)


RULE = Elimination(
    name="forward_algorithm",
    mathematics="αₜ(j) = p(xₜ | zₜ = j) ∑ᵢ p(zₜ = j | zₜ₋₁ = i) αₜ₋₁(i),  p(x) = ∑ⱼ α_T(j)",
    reference="Rabiner 1989, eqs. 19-21",
    level="exact",
    predicate=_applies,
    rewrite=_rewrite,
)

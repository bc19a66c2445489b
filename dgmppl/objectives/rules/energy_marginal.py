"""Finite hidden units in which an energy is affine are summed in closed form.

E(v, h) = a(v) + sum_j h_j b_j(v), h_j in a finite set H: the units are independent given v, so that
-F(v) = log sum_h exp(-E(v, h)) = -a(v) + sum_j log sum_{h in H} exp(-h b_j(v)), and block Gibbs sampling is exact
(Smolensky 1986; Hinton 2002).
"""

from __future__ import annotations

from dgmppl.ir.analyses import degree, reads
from dgmppl.ir.densities import Unnormalized
from dgmppl.objectives.algebra import FreeEnergy
from dgmppl.objectives.rules.partition_function import RULE as PARTITION_FUNCTION
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict


def _hidden(state: State, name: str) -> tuple[str, ...]:
    """The hidden names that go together with `name`: all of its joint site if the energy is affine in them jointly."""
    variable = state.structure.variables[name]
    density = variable.site.density
    assert isinstance(density, Unnormalized)
    together = tuple(peer for peer in variable.joint if peer in state.remaining)
    affine = degree(state.structure.program, density.energy, frozenset(together)) <= 1
    return together if affine else (name,)


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    variable = structure.variables[name]
    density = variable.site.density
    if not isinstance(density, Unnormalized) or not variable.joint:
        return Verdict(False, "it is no unit of a joint energy")
    if variable.site.typed.support.states is None:
        return Verdict(False, f"its support {variable.site.typed.support} is not finite")
    if PARTITION_FUNCTION.predicate(structure.program, variable.site).applies:
        return Verdict(False, "the joint density has a summable log Z, so its states are enumerated")
    summed = [peer for peer in variable.joint if state.eliminated.get(peer) == RULE.name]
    if summed:
        return Verdict(False, f"once {summed[0]} is summed out, the free energy is not affine in it")
    if structure.readers(name):
        return Verdict(False, f"{structure.readers(name)[0].name} reads it outside the energy")
    if density.link is not None or (density.base is not None and _base_reads(state, density, name)):
        return Verdict(False, "the density is not exp(-E) in it")
    if degree(structure.program, density.energy, frozenset({name})) > 1:
        return Verdict(False, "the energy is not affine in it")
    return Verdict(
        True, "its units are finite and the energy is affine in them, so they are independent given the rest"
    )


def _base_reads(state: State, density: Unnormalized, name: str) -> bool:
    parameters = getattr(density.base, "parameters", ())
    return any(name in reads(state.structure.program, value) for _, value in parameters)


def _rewrite(state: State, name: str) -> State:
    hidden = _hidden(state, name)
    variable = state.structure.variables[name]
    visible = tuple(peer for peer in variable.joint if peer not in hidden)
    term = FreeEnergy(hidden, visible, variable.joint[0])
    return state.eliminate(hidden, RULE.name, _applies(state, name).why, term)


RULE = Elimination(
    name="energy_marginal",
    mathematics="−F(v) = log ∑ₕ exp(−E(v, h)) = −a(v) + ∑ⱼ log ∑ₕⱼ exp(−hⱼ bⱼ(v))",
    reference="Smolensky 1986; Hinton 2002",
    level="exact",
    predicate=_applies,
    rewrite=_rewrite,
)

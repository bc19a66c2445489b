"""A latent stays in the log joint and is sampled beside the parameters: log p(x, z | theta) + log p(theta).

Neal 2011 (Hamiltonian Monte Carlo on the joint, unconstrained space); Hoffman and Gelman 2014 for NUTS.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    site = structure.variables[name].site
    if name in structure.guided:
        return Verdict(False, "a guide is declared for it")
    if not state.sampler:
        return Verdict(False, "`infer` is neither an MCMC engine nor `map`")
    if site.typed.support.discrete:
        return Verdict(False, "its support is discrete, which gradient-based samplers cannot move in")
    if Ability.LOG_PROB not in abilities(structure.program, site):
        return Verdict(False, "its density cannot be evaluated")
    return Verdict(True, "it is continuous and `infer` samples the log joint, so it is sampled beside the parameters")


def _rewrite(state: State, name: str) -> State:
    done = replace(state, eliminated={**state.eliminated, name: RULE.name})
    return done.used(RULE.name, name, _applies(state, name).why)


RULE = Elimination(
    name="joint",
    mathematics="log p(x, z | θ) + log p(θ)",
    reference="Neal 2011, section 5.3; Hoffman and Gelman 2014",
    level="bound",
    predicate=_applies,
    rewrite=_rewrite,
)

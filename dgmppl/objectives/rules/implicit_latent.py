"""A latent whose prior or guide has no density: their ratio is estimated by a critic.

E_q[log p(x | z)] - E_q[T(x, z)], T* = log q(z | x) - log p(z) (Mescheder, Nowozin and Geiger 2017, proposition 1). A
critic that reads z alone estimates log q(z) - log p(z) instead, the ratio of aggregates (Makhzani et al. 2016): the
objective then equals ELBO + I_q(x; z) and bounds nothing.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict


def critic_of(state: State, name: str) -> int | None:
    """The index of the critic that compares values of `name` alone, or None."""
    names = set(state.structure.aliases(name)) or {name}
    found = [number for number, critic in enumerate(state.structure.program.critics) if set(critic.reads) <= names]
    return found[0] if found else None


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    program = structure.program
    guide = structure.guided.get(name)
    if guide is None:
        return Verdict(False, "no guide is declared for it")
    prior, posterior = abilities(program, structure.variables[name].site), abilities(program, guide.site)
    if Ability.LOG_PROB in posterior and (prior.scored or Ability.LOG_PROB_UNNORMALIZED in prior):
        return Verdict(False, "prior and guide both have a density")
    if critic_of(state, name) is None:
        return Verdict(
            False, f"no critic reads it; add to `critics`: `{name}: CRITIC({', '.join((*guide.given, name))})`"
        )
    if Ability.SAMPLE not in prior:
        return Verdict(False, "its prior cannot be sampled")
    silent = [reader.name for reader in structure.readers(name) if not abilities(program, reader.site).scored]
    if silent:
        return Verdict(False, f"{silent[0]} has no density given it")
    lacking = "guide" if Ability.LOG_PROB not in posterior else "prior"
    return Verdict(True, f"its {lacking} has samples but no density, and a critic reads it")


def _rewrite(state: State, name: str) -> State:
    done = replace(state, eliminated={**state.eliminated, name: RULE.name})
    return done.used(RULE.name, name, _applies(state, name).why)


RULE = Elimination(
    name="implicit_latent",
    mathematics="E_q[log p(x | z)] − E_q[T(x, z)],  T* = log q(z | x) − log p(z)",
    reference="Mescheder, Nowozin and Geiger 2017, proposition 1; Makhzani et al. 2016",
    level="bound",
    predicate=_applies,
    rewrite=_rewrite,
)

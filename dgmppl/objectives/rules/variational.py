"""A latent is integrated by a variational posterior q.

log p(x) >= E_q[log p(x, z) - log q(z | x)] (Jordan et al. 1999; Kingma and Welling 2014, eq. 3); with K particles under
a logarithm the bound tightens (Burda, Grosse and Salakhutdinov 2016, section 3). With finite support the expectation is
summed, not sampled.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.rule import Elimination
from dgmppl.objectives.state import State, Verdict

_PRIOR = (Ability.LOG_PROB, Ability.BOUND, Ability.LOG_PROB_UNNORMALIZED)


def _applies(state: State, name: str) -> Verdict:
    structure = state.structure
    program = structure.program
    guide = structure.guided.get(name)
    if guide is None:
        return Verdict(False, "no guide is declared for it")
    site = structure.variables[name].site
    if frozenset(site.joint) & structure.observed_names:
        return Verdict(False, "it is a unit of a joint energy with data, whose log Z no guide gives")
    prior, posterior = abilities(program, site), abilities(program, guide.site)
    if not any(ability in prior for ability in _PRIOR):
        return Verdict(False, "its prior has no density")
    if Ability.LOG_PROB not in posterior or Ability.SAMPLE not in posterior:
        return Verdict(False, f"its guide has no density (it can {posterior.describe()})")
    if not guide.site.typed.support.within(site.typed.support):
        return Verdict(
            False, f"the guide's support, {guide.site.typed.support}, is not inside the prior's, {site.typed.support}"
        )
    silent = [reader.name for reader in structure.readers(name) if not _scored(state, reader.site.name)]
    if silent:
        return Verdict(False, f"{silent[0]} has no density given it")
    return Verdict(
        True, f"the guide gives q({name} | {', '.join(guide.given) or '·'}), whose support lies in the prior's"
    )


def _scored(state: State, name: str) -> bool:
    able = abilities(state.structure.program, state.structure.variables[name].site)
    latent = name in state.structure.unknown
    return able.scored or (latent and Ability.LOG_PROB_UNNORMALIZED in able)


def _rewrite(state: State, name: str) -> State:
    done = replace(state, eliminated={**state.eliminated, name: RULE.name})
    return done.used(RULE.name, name, _applies(state, name).why)


RULE = Elimination(
    name="variational",
    mathematics="log p(x) ≥ E_q[log p(x, z) − log q(z | x)]",
    reference="Jordan, Ghahramani, Jaakkola and Saul 1999; Kingma and Welling 2014, eq. 3",
    level="bound",
    predicate=_applies,
    rewrite=_rewrite,
)

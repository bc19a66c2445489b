"""A density known up to its normalizer: log p(x) = log base(x) - E(x) - log Z, log Z unknown.

LeCun et al. 2006, section 1.3; Song and Kingma 2021, eq. 1.
"""

from __future__ import annotations

from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.partition_function import RULE as PARTITION_FUNCTION
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import State, Verdict


def _applies(program: Program, site: Site) -> Verdict:
    able = abilities(program, site)
    if Ability.LOG_PROB in able or Ability.LOG_PROB_UNNORMALIZED not in able:
        return Verdict(False, "its density is not an energy")
    summed = PARTITION_FUNCTION.predicate(program, site)
    return Verdict(not summed.applies, summed.why)


def constant_normalizer(state: State, name: str, why: str) -> Verdict:
    """Whether a variable's density is an energy whose log Z depends on no latent; `why` is the reason if so."""
    variable = state.structure.variables[name]
    energy = _applies(state.structure.program, variable.site)
    if not energy.applies:
        return Verdict(False, energy.why)
    latent = [parent for parent in variable.given if parent in state.structure.unknown]
    if latent:
        return Verdict(
            False, f"its log Z depends on the latent {latent[0]}; write one joint `({name}, {latent[0]}): Energy(...)`"
        )
    return Verdict(True, why)


RULE = Expansion(
    name="unnormalized",
    mathematics="log p(x) = −E(x) − log Z",
    reference="Song and Kingma 2021, eq. 1",
    level="unnormalized",
    predicate=_applies,
)

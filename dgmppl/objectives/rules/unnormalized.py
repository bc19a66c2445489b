"""A density known up to its normalizer: log p(x) = log base(x) - E(x) - log Z, log Z unknown.

LeCun et al. 2006, eq. 2; Song and Kingma 2021, eq. 1.
"""

from __future__ import annotations

from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.partition_function import RULE as PARTITION_FUNCTION
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    able = abilities(program, site)
    if Ability.LOG_PROB in able or Ability.LOG_PROB_UNNORMALIZED not in able:
        return Verdict(False, "its density is not an energy")
    summed = PARTITION_FUNCTION.predicate(program, site)
    return Verdict(not summed.applies, summed.why)


RULE = Expansion(
    name="unnormalized",
    mathematics="log p(x) = −E(x) − log Z",
    reference="Song and Kingma 2021, eq. 1",
    level="unnormalized",
    predicate=_applies,
)

"""The density is a formula: log p(x | parents) is evaluated as it stands."""

from __future__ import annotations

from dgmppl.ir.densities import Elementary, FlatPrior, GaussianProcess, MixtureOf, Point, Restricted
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict

_CLOSED = (Elementary, MixtureOf, Restricted, Point, FlatPrior, GaussianProcess)


def _applies(program: Program, site: Site) -> Verdict:
    closed = isinstance(site.density, _CLOSED) and Ability.LOG_PROB in abilities(program, site)
    return Verdict(closed, "its density is a formula" if closed else "its density is not a formula of its parameters")


RULE = Expansion(
    name="normalized",
    mathematics="log p(x | a)",
    reference="the density itself",
    level="exact",
    predicate=_applies,
)

"""A finished run as a distribution: its density with its parameters frozen."""

from __future__ import annotations

from dgmppl.ir.densities import TrainedDensity
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict


def _applies(program: Program, site: Site) -> Verdict:
    del program
    if not isinstance(site.density, TrainedDensity):
        return Verdict(False, "it is no finished run")
    return Verdict(True, f"it is the density of the run {site.density.run}, frozen")


RULE = Expansion(
    name="trained",
    mathematics="log p(x | a), parameters frozen",
    reference="Rombach et al. 2022, section 3",
    level="exact",
    predicate=_applies,
)

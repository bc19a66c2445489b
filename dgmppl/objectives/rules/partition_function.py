"""The normalizer of an unnormalized density, where it can be summed or integrated.

log Z = log sum_x exp(-E(x)) over a finite support of at most `STATES` values.
"""

from __future__ import annotations

import math

from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Verdict

STATES = 4096


def _states(program: Program, site: Site) -> int | None:
    """How many joint values the names of an unnormalized density take, where that is finite."""
    total = 1
    for name in site.joint or (site.name,):
        member = program.by_name.get(name)
        states = member.type.states if member is not None and member.type is not None else None
        if states is None:
            return None
        total *= states
    return total


def _applies(program: Program, site: Site) -> Verdict:
    density = site.density
    if not isinstance(density, Unnormalized):
        return Verdict(False, "its density is normalized already")
    states = _states(program, site)
    if states is None:
        return Verdict(False, "log Z is an integral over an unbounded support")
    if states > STATES:
        return Verdict(False, f"log Z is a sum over {_power(states)} states, above {STATES}")
    return Verdict(True, f"log Z is a sum over {states} states")


def _power(states: int) -> str:
    return str(states) if states < 10**6 else f"about 10^{math.log10(states):.0f}"


RULE = Expansion(
    name="partition_function",
    mathematics="log p(x) = −E(x) − log ∑ₓ exp(−E(x))",
    reference="LeCun, Chopra, Hadsell, Ranzato and Huang 2006, section 1.3",
    level="exact",
    predicate=_applies,
)

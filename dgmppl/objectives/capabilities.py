"""What a density node can do, computed from its class and, recursively, from its parts.

This is the first of two layers. The second is each rule's precondition (`dgmppl.objectives.rules`), which combines the
abilities of a prior, its guide and its children. No family, variable or model is named here, so the table that sorts
model classes by what they know of their likelihood is a consequence: a test computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from dgmppl.ir.analyses import deterministic
from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    FlatPrior,
    GaussianProcess,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Point,
    Pushforward,
    Restricted,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.program import Program, Site


class Ability(Enum):
    """Something that a density can do."""

    SAMPLE = "sample"
    RSAMPLE = "rsample"
    LOG_PROB = "log_prob"
    LOG_PROB_UNNORMALIZED = "log_prob_unnormalized"
    SCORE = "score"
    BOUND = "bound"


@dataclass(frozen=True)
class Abilities:
    """The abilities of a site's density.

    Attributes:
        able: what it can do.
        states: n of ENUMERATE(n): how many values the whole event takes, where that is finite; None elsewhere.
    """

    able: frozenset[Ability]
    states: int | None = None

    def __contains__(self, ability: Ability) -> bool:
        return ability in self.able

    @property
    def scored(self) -> bool:
        """Whether log p, or a bound on it, can be evaluated."""
        return Ability.LOG_PROB in self.able or Ability.BOUND in self.able

    def describe(self) -> str:
        """The abilities as a user reads them: `SAMPLE, LOG_PROB, ENUMERATE(3)`."""
        names = [ability.name for ability in Ability if ability in self.able]
        return ", ".join(names + ([f"ENUMERATE({self.states})"] if self.states else [])) or "nothing"


_DENSITY = frozenset({Ability.SAMPLE, Ability.LOG_PROB})
_SMOOTH = _DENSITY | {Ability.RSAMPLE, Ability.SCORE}


def abilities(program: Program, site: Site) -> Abilities:
    """What a site's density can do.

    Args:
        program: where bases and bijectors are looked up; a guide site's base is looked up in the guide first.
        site: the site.
    """
    known = _able(program, site.density, site.section == "guide")
    discrete = site.type is not None and site.type.support.discrete
    if discrete:
        known -= {Ability.SCORE, Ability.RSAMPLE} if Ability.LOG_PROB in known else {Ability.SCORE}
    return Abilities(known, joint_states(site) if Ability.LOG_PROB in known else None)


def joint_states(site: Site) -> int | None:
    """How many values a site takes; None where they are not finite. An indicator vector of K entries takes K."""
    if site.type is None:
        return None
    length = indicators(site)
    return site.type.states if length is None else length ** (site.type.size // length)


def indicators(site: Site) -> int | None:
    """The length of the indicator vectors along a site's last axis, of a chain's steps too; None where it has none."""
    density, kind = site.density, site.type
    if isinstance(density, MarkovChain):
        density = density.transition
    vectors = isinstance(density, Elementary) and DISTRIBUTIONS[density.family].event_rank == 1
    return kind.shape[-1] if kind is not None and kind.support.kind == "binary" and vectors else None


def _able(program: Program, density: Density | None, guide: bool) -> frozenset[Ability]:
    match density:
        case None | Deterministic() | Implicit():
            return frozenset({Ability.SAMPLE, Ability.RSAMPLE})
        case Elementary(family=family):
            return _SMOOTH if DISTRIBUTIONS[family].reparameterized else _DENSITY | {Ability.SCORE}
        case Restricted(base=base, kind=kind):
            kept = _able(program, base, guide)
            return kept if kind == "truncated" else kept - {Ability.RSAMPLE}
        case MixtureOf(components=components):
            return _common(program, components, guide) - {Ability.RSAMPLE}
        case Factorized(conditional=conditional):
            return _able(program, conditional, guide)
        case MarkovChain(initial=initial, transition=transition):
            return _common(program, (*(first for _, first in initial), transition), guide)
        case Pushforward():
            return _pushforward(program, density, guide)
        case DiffusionChain():
            return frozenset({Ability.SAMPLE, Ability.BOUND})
        case Unnormalized():
            return frozenset({Ability.LOG_PROB_UNNORMALIZED, Ability.SCORE})
        case GaussianProcess():
            return _SMOOTH
        case TrainedDensity() | Point():
            return _DENSITY
        case FlatPrior():
            return frozenset({Ability.LOG_PROB, Ability.SCORE})
        case Learned():
            return frozenset()
        case _:
            assert_never(density)


def _common(program: Program, parts: tuple[Density, ...], guide: bool) -> frozenset[Ability]:
    return frozenset.intersection(*(_able(program, part, guide) for part in parts))


_SCORING = frozenset({Ability.LOG_PROB, Ability.LOG_PROB_UNNORMALIZED, Ability.BOUND, Ability.SCORE})
_SAMPLING = frozenset({Ability.SAMPLE, Ability.RSAMPLE})


def _pushforward(program: Program, density: Pushforward, guide: bool) -> frozenset[Ability]:
    """The base's abilities, as far as the directions that they need exist: f for samples, f^-1 for densities.

    A guide is scored at its own samples alone, for which f and its Jacobian do.
    """
    base = (program.guide_by_name.get(density.base) if guide else None) or program.by_name.get(density.base)
    if base is None or deterministic(base):
        return frozenset({Ability.SAMPLE, Ability.RSAMPLE})
    able = _able(program, base.density, guide)
    directions = directions_of(program, density.bijector)
    forward, inverse = (directions["inverse"], directions["forward"]) if density.inverse else tuple(directions.values())
    if (forward if guide else inverse) == "none":
        able -= _SCORING
    return able - _SAMPLING if forward == "none" else able


def directions_of(program: Program, name: str) -> Mapping[str, str]:
    """What a bijector's `forward` and `inverse` cost: the worst of its steps, `parallel`, `sequential` or `none`."""
    order = ("parallel", "sequential", "none")
    costs: dict[str, str] = {"forward": "parallel", "inverse": "parallel"}
    bijector = program.bijectors.get(name)
    for step in bijector.walk() if bijector is not None else ():
        kind = BIJECTORS[step.kind]
        pair = (kind.forward, kind.inverse)
        if (step.options.get("direction") == "inverse") is not step.inverted:
            pair = (kind.inverse, kind.forward)
        for direction, cost in zip(costs, pair, strict=True):
            costs[direction] = max(costs[direction], cost, key=order.index)
    return costs


def continuous_time(program: Program, name: str) -> bool:
    """Whether some step of a bijector is the solution of a differential equation."""
    bijector = program.bijectors.get(name)
    return bijector is not None and any(BIJECTORS[step.kind].continuous for step in bijector.walk())

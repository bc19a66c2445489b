"""What one objective term asks of the players: who minimizes what, owning which parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dgmppl.ir.analyses import expression_groups, groups
from dgmppl.ir.densities import Pushforward, TrainedDensity, Unnormalized
from dgmppl.ir.diffusions import learned_parts
from dgmppl.ir.program import Program, Role, Site
from dgmppl.objectives.derivation import Player, PlayerTerm
from dgmppl.objectives.structure import Structure, random_parameters
from dgmppl.source import Span


@dataclass(frozen=True)
class Contribution:
    """One player's share of an objective term.

    Attributes:
        player: `model`, `critic`, `energy`, `noise` or `posterior`.
        owns: the parameter groups that the player moves.
        terms: what it minimizes.
        every: it moves once in that many steps.
    """

    player: str
    owns: frozenset[str]
    terms: tuple[PlayerTerm, ...]
    every: int = 1


@dataclass(frozen=True)
class Share:
    """What an objective term comes to.

    Attributes:
        status: one of the objective's statuses.
        divergence: what is descended, in words, or None.
        contributions: the players' shares, in the order in which they move.
        notes: statements to be printed.
        references: papers.
    """

    status: str
    divergence: str | None
    contributions: tuple[Contribution, ...]
    notes: tuple[str, ...] = ()
    references: tuple[str, ...] = field(default=())


def players(contributions: Iterable[Contribution], order: tuple[str, ...]) -> tuple[Player, ...]:
    """The players with all their terms; a group that a special player owns is not the model's."""
    merged: dict[str, Contribution] = {}
    for part in contributions:
        known = merged.get(part.player)
        merged[part.player] = (
            part
            if known is None
            else Contribution(
                part.player, known.owns | part.owns, known.terms + part.terms, max(known.every, part.every)
            )
        )
    special = frozenset[str]().union(
        *(part.owns for name, part in merged.items() if name not in {"model", "posterior"})
    )
    found: list[Player] = []
    for part in merged.values():
        owns = part.owns - special if part.player in {"model", "posterior"} else part.owns
        found.append(Player(part.player, tuple(name for name in order if name in owns), part.terms, part.every))
    # Where all that a player would move is frozen, it does not move.
    found = [player for player in found if player.owns] or found
    return tuple(sorted(found, key=lambda player: _MOVES.index(player.name.partition("_")[0])))


# The order in which players move: whatever estimates a quantity moves before who uses the estimate; what makes the
# model's estimate vary less moves behind it.
_MOVES = ("critic", "noise", "energy", "model", "schedule", "posterior")


def evidence(structure: Structure, names: Iterable[str] | None = None) -> str:
    """What a likelihood objective is about, in words of mathematics: `E_data[log p(x | y)]`.

    Args:
        structure: the model's.
        names: the observed variables that it scores; None for all.
    """
    wanted = structure.observed_names if names is None else frozenset(names)
    observed = [name for name in structure.variables if name in wanted and name in structure.observed_names]
    given = {name for variable in structure.variables.values() for name in variable.given if variable.name in observed}
    given |= {name for variable in structure.variables.values() for name in variable.given if names is None}
    roles = (Role.COVARIATE, Role.OBSERVED)
    known = [site.name for site in structure.program.with_role(*roles) if site.name in given - set(observed)]
    condition = f" | {', '.join(known)}" if known else ""
    return f"E_data[log p({', '.join(observed)}{condition})]"


# ---- groups ---------------------------------------------------------------------------------------------------------


def site_groups(program: Program, site: Site) -> frozenset[str]:
    """The groups that a site's density reads or learns, a pushed-forward base's included; a frozen run has none."""
    if isinstance(site.density, TrainedDensity):
        return frozenset()
    found = groups(program, site.density) | {part.name for part in learned_parts(site)}
    if isinstance(site.density, Pushforward):
        base = program.guide_by_name.get(site.density.base) if site.section == "guide" else None
        found |= site_groups(program, base or program.by_name[site.density.base])
    return found


def model_groups(structure: Structure) -> frozenset[str]:
    """The groups of every variable that bears on the data, of bijections between its names, and of the guide."""
    program = structure.program
    sites = [site for site in program.sites if structure.name_of(site.name) in structure.variables]
    found = [site_groups(program, site) for site in (*sites, *program.guide)]
    return frozenset[str]().union(*found, _inside_priors(program))


def _inside_priors(program: Program) -> frozenset[str]:
    """Groups that priors of parameters read (a learned scale of a level's copies)."""
    sites = program.with_role(Role.PARAMETER)
    return frozenset[str]().union(*(groups(program, site.density) for site in sites))


def critic_groups(program: Program, number: int) -> frozenset[str]:
    """The groups that a critic's expression reads."""
    return expression_groups(program, program.critics[number].expression)


def energy_groups(program: Program, site: Site) -> frozenset[str]:
    """The groups in the energy and the base of an unnormalized density."""
    return groups(program, site.density) if isinstance(site.density, Unnormalized) else frozenset()


def all_groups(program: Program) -> tuple[str, ...]:
    """Every parameter group that is trained, in the order of the spec, the names of random parameters included."""
    learned = [site.name for site in (*program.sites, *program.guide) if site.role is Role.LEARNED]
    bijectors = [
        name
        for name, bijector in program.bijectors.items()
        if bijector.parameters or (bijector.event is not None and _trainable(program, name))
    ]
    inside = [part.name for site in (*program.sites, *program.guide) for part in learned_parts(site)]
    names = [*program.networks, *bijectors, *learned, *inside, *random_parameters(program)]
    return tuple(dict.fromkeys(name for name in names if name not in program.frozen_groups))


def _trainable(program: Program, name: str) -> bool:
    return any(step.conditioner is not None and step.network is None for step in program.bijectors[name].walk())


def declared_span(program: Program, name: str) -> Span | None:
    """Where a group is declared."""
    tables = (program.networks, program.bijectors, program.by_name, program.guide_by_name)
    found = [table[name] for table in tables if name in table]
    return found[0].span if found else None

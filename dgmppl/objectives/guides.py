"""A guide for the latents that no exact rule eliminates, where the spec leaves it out.

Its structure is the faithful inversion of the model's graph; each latent gets a density that fits its support, with
parameters from a network `guide.SITE` of its own. The completed program is an ordinary one: it could have been written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dgmppl.ir.densities import MarkovChain, TrainedDensity
from dgmppl.ir.expressions import Call
from dgmppl.ir.graphs import parents_first, reachable
from dgmppl.ir.networks import Network
from dgmppl.ir.program import Program, Role, Site
from dgmppl.objectives.amortized import amortized, condition, mirrored
from dgmppl.objectives.chain_guides import chain_guide
from dgmppl.objectives.eliminate import exact_state
from dgmppl.objectives.engines import MODES, SAMPLERS, engine_of
from dgmppl.objectives.inversion import invert
from dgmppl.objectives.requests import called, problem
from dgmppl.objectives.rules import forward_algorithm, gaussian_marginal
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Structure

_Part = tuple[tuple[Site, ...], tuple[Network, ...]]


def complete_guide(program: Program) -> Program:
    """The program with a guide for every latent that needs one.

    A declared guide is kept as it is (what it misses is an error of `derive`); what came along with a finished run is
    completed; nothing is added where exact rules, a sampler, or samples of an implicit model take care of the latents.

    Raises:
        SpecError: no guide can be derived for a latent; the diagnostic says what to declare.
    """
    declared = tuple(site for site in program.guide if site.name not in program.inherited)
    structure = Structure(replace(program, guide=declared))
    if declared or not structure.unknown:
        return program
    if called(engine_of(structure)) in SAMPLERS | MODES:
        return structure.program
    state = exact_state(structure)
    inherited = _needed(program.guide, frozenset(state.remaining), structure)
    known = frozenset(structure.name_of(site.name) for site in inherited)
    latents = tuple(name for name in state.remaining if _amortizable(structure, name) and name not in known)
    conditions = _without_circles(invert(state, latents), inherited)
    parts = [_part(structure, name, given, _refused(state, name)) for name, given in conditions.items()]
    sites = tuple(site for found, _ in parts for site in found)
    networks = {network.name: network for _, found in parts for network in found}
    return replace(program, guide=_sampled((*sites, *inherited)), networks={**program.networks, **networks})


def _needed(guide: tuple[Site, ...], remaining: frozenset[str], structure: Structure) -> tuple[Site, ...]:
    """Guide sites of latents that no exact rule removes, and what those read."""
    parents = {site.name: site.parents for site in guide}
    starts = (name for name in parents if structure.name_of(name) in remaining)
    wanted = reachable(starts, lambda name: parents.get(name, ()))
    return tuple(site for site in guide if site.name in wanted)


def _sampled(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """Guide sites in an order in which they can be sampled."""
    known = {site.name: site for site in sites}
    parents = {name: [parent for parent in site.parents if parent in known] for name, site in known.items()}
    return tuple(known[name] for name in parents_first(parents))


def _without_circles(
    conditions: Mapping[str, tuple[str, ...]], inherited: tuple[Site, ...]
) -> dict[str, tuple[str, ...]]:
    """What each latent is conditioned on, without latents whose inherited guide is sampled after it."""
    read: dict[str, tuple[str, ...]] = {site.name: site.parents for site in inherited}
    kept: dict[str, tuple[str, ...]] = {}
    for name, given in conditions.items():
        kept[name] = tuple(one for one in given if name not in reachable([one], lambda other: read.get(other, ())))
        read[name] = kept[name]
    return kept


def _amortizable(structure: Structure, name: str) -> bool:
    """Whether an unknown gets a guide: it is a latent of its own, no missing entry and no unit of the data's energy."""
    joint = frozenset(structure.variables[name].joint) & structure.observed_names
    return name not in structure.partly_observed and not joint


def _refused(state: State, name: str) -> tuple[str, ...]:
    """Why no recursion removes a chain."""
    recursions = (forward_algorithm.RULE.name, gaussian_marginal.RULE.name)
    return tuple(f"{one.rule}: {one.why}" for one in state.refusals if one.site == name and one.rule in recursions)


def _part(structure: Structure, name: str, conditions: tuple[str, ...], refused: tuple[str, ...]) -> _Part:
    """The guide's sites and networks for one latent; a chain's exact rules were refused for the given reasons."""
    program, site = structure.program, structure.variables[name].site
    trained = _trained(structure, name)
    if trained is not None:
        return (trained,), ()
    if isinstance(site.density, MarkovChain):
        if _automatic(program) != "markov":
            raise problem(
                "no-guide",
                f"no guide is derived for the chain {name} unless it is asked for",
                site.span,
                fix="write `guide: auto(markov)`, or declare its guide with `[0]` and `[t]`",
                notes=refused,
            )
        return chain_guide(structure, name, conditions)
    inputs = tuple(condition(program.by_name[other]) for other in conditions)
    density, network = amortized(site, site.typed, f"guide.{name}", mirrored(program, name), inputs)
    return (Site(name, "guide", Role.GUIDE, density, site.type, parents=conditions, span=site.span),), (network,)


def _automatic(program: Program) -> str:
    """The word inside `auto(...)`; amortized mean field where nothing is said."""
    asked = program.auto_guide
    words = asked.arguments if isinstance(asked, Call) else ()
    return (called(words[0]) if words else None) or "mean_field"


def _trained(structure: Structure, name: str) -> Site | None:
    """The guide that comes along with a finished run: `x: Trained(run, given=z)` brings that run's q(z | x)."""
    for reader in structure.readers(name):
        density = reader.site.density
        if isinstance(density, TrainedDensity) and name in density.given:
            known = structure.variables[name].site
            guide = TrainedDensity(density.run, (reader.name,), span=density.span)
            return Site(name, "guide", Role.GUIDE, guide, known.type, parents=(reader.name,), span=density.span)
    return None

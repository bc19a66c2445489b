"""A guide for the latents that no exact rule eliminates, where the spec leaves it out.

Its structure is the faithful inversion of the model's graph; each latent gets a density that fits its support, with
parameters from a network `guide.SITE` of its own. The completed program is an ordinary one: it could have been written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from dgmppl.ir.analyses import expressions, reads
from dgmppl.ir.densities import Elementary, MarkovChain, TrainedDensity
from dgmppl.ir.expressions import Apply, Call, Expression, Literal, Name, walk
from dgmppl.ir.networks import NETWORKS, REQUIRED, Head, Network, OptionValue
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import POSITIVE, REAL, Dtype, Support, TensorType
from dgmppl.objectives.eliminate import exact_state
from dgmppl.objectives.engines import MODES, SAMPLERS, engine_of
from dgmppl.objectives.inversion import invert
from dgmppl.objectives.requests import called, problem
from dgmppl.objectives.structure import Structure

_KIND = "mlp"
_HIDDEN = (64, 64)


@dataclass(frozen=True)
class _Family:
    """The guide's density on a support: its family and the parameters that the network supplies."""

    name: str
    heads: tuple[tuple[str, Support], ...]


_FAMILIES: Mapping[str, _Family] = {
    "real": _Family("Normal", (("loc", REAL), ("scale", POSITIVE))),
    "positive": _Family("LogNormal", (("loc", REAL), ("scale", POSITIVE))),
    "nonnegative": _Family("LogNormal", (("loc", REAL), ("scale", POSITIVE))),
    "unit": _Family("Beta", (("concentration1", POSITIVE), ("concentration0", POSITIVE))),
    "binary": _Family("Bernoulli", (("logits", REAL),)),
    "integer": _Family("Categorical", (("logits", REAL),)),
    "simplex": _Family("Dirichlet", (("concentration", POSITIVE),)),
}


def complete_guide(program: Program) -> Program:
    """The program with a guide for every latent that needs one.

    A declared guide is kept as it is (what it misses is an error of `derive`); nothing is added where exact rules, a
    sampler, or samples of an implicit model take care of the latents.

    Raises:
        SpecError: no guide can be derived for a latent; the diagnostic says what to declare.
    """
    structure = Structure(program)
    if program.guide or not structure.unknown or called(engine_of(structure)) in SAMPLERS | MODES:
        return program
    automatic = _automatic(program)
    state = exact_state(structure)
    latents = tuple(name for name in state.remaining if _amortized(structure, name))
    trained = {name: site for name in latents if (site := _trained(structure, name)) is not None}
    sites: list[Site] = []
    networks: dict[str, Network] = {}
    for name, conditions in invert(state, latents).items():
        if name in trained:
            sites.append(trained[name])
            continue
        network = _network(structure, name, conditions, markov=automatic == "markov")
        networks[network.name] = network
        sites.append(_site(structure, name, conditions, network))
    return replace(program, guide=tuple(sites), networks={**program.networks, **networks})


def _amortized(structure: Structure, name: str) -> bool:
    """Whether a guide is made for an unknown: a latent of its own, no missing entry and no unit of the data's energy."""
    joint = frozenset(structure.variables[name].joint) & structure.observed_names
    return name not in structure.partly_observed and not joint


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


# ---- one latent -----------------------------------------------------------------------------------------------------


def _site(structure: Structure, name: str, conditions: tuple[str, ...], network: Network) -> Site:
    """`z: Normal(**guide.z(x))`."""
    known = structure.variables[name].site
    inputs = tuple(_input(structure.program.by_name[condition]) for condition in conditions)
    single = len(network.heads) == 1
    parameters = tuple(
        (
            head.name,
            Apply(
                network.name,
                inputs,
                None if single else head.name,
                type=TensorType(head.shape, Dtype.REAL, head.support, known.typed.plate),
            ),
        )
        for head in network.heads
    )
    family = _FAMILIES[known.typed.support.kind].name
    return Site(
        name, "guide", Role.GUIDE, Elementary(family, parameters), known.type, parents=conditions, span=known.span
    )


def _input(site: Site) -> Expression:
    """A condition as the network reads it: labels as indicators, everything else as it is."""
    name = Name(site.name, type=site.type)
    states = site.typed.support.states if site.typed.support.kind == "integer" else None
    if states is None or site.typed.shape != ():
        return name
    kind = TensorType((states,), Dtype.REAL, Support("unit"), site.typed.plate)
    return Call("one_hot", (name, Literal(states, type=TensorType((), Dtype.INTEGER))), type=kind)


def _network(structure: Structure, name: str, conditions: tuple[str, ...], *, markov: bool) -> Network:
    known = structure.variables[name].site
    if isinstance(known.density, MarkovChain):
        advice = (
            "declare its guide with `[0]` and `[t]`"
            if markov
            else "write `guide: auto(markov)`, or declare its guide with `[0]` and `[t]`"
        )
        raise problem("no-guide", f"no guide is derived for the chain {name}", known.span, fix=advice)
    family = _FAMILIES.get(known.typed.support.kind)
    if family is None:
        raise problem(
            "no-guide",
            f"no guide is derived for {name}, whose support is {known.typed.support}",
            known.span,
            expected=", ".join(_FAMILIES),
            fix=f"declare `guide: {{{name}: ...}}`",
        )
    kinds = tuple(_input(structure.program.by_name[condition]).type for condition in conditions)
    heads = tuple(Head(head, _head_shape(known.typed), support) for head, support in family.heads)
    defaults = {option.name: option.default for option in NETWORKS[_KIND].options if option.default is not REQUIRED}
    options = cast("dict[str, OptionValue]", {**defaults, "hidden": _hidden(structure, name)})
    return Network(
        f"guide.{name}", _KIND, options, tuple(kind for kind in kinds if kind is not None), heads, span=known.span
    )


def _head_shape(kind: TensorType) -> tuple[int, ...]:
    """The shape of a parameter: the site's own, with an axis of logits for labels."""
    if kind.support.kind == "integer" and kind.support.states is not None:
        return (*kind.shape, kind.support.states)
    return kind.shape


def _hidden(structure: Structure, name: str) -> tuple[int, ...]:
    """The hidden sizes of the network that consumes the site, reversed."""
    program = structure.program
    for site in program.sites:
        for expression in expressions(site.density):
            for node in walk(expression):
                if not isinstance(node, Apply) or not any(name in reads(program, part) for part in node.inputs):
                    continue
                hidden = (
                    program.networks[node.network].options.get("hidden") if node.network in program.networks else None
                )
                if isinstance(hidden, tuple) and hidden:
                    return tuple(size for size in reversed(hidden) if isinstance(size, int))
    return _HIDDEN

"""Amortized densities: a family that fits a support, its parameters from a network of the conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from dgmppl.ir.analyses import expressions, reads
from dgmppl.ir.densities import Elementary
from dgmppl.ir.expressions import Apply, Call, Expression, Literal, Name, walk
from dgmppl.ir.networks import NETWORKS, REQUIRED, Head, Network, OptionValue
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import POSITIVE, REAL, Dtype, Support, TensorType
from dgmppl.objectives.requests import problem

_KIND = "mlp"
_HIDDEN = (64, 64)


@dataclass(frozen=True)
class Family:
    """The guide's density on a support: its family and the parameters that the network supplies."""

    name: str
    heads: tuple[tuple[str, Support], ...]


FAMILIES: Mapping[str, Family] = {
    "real": Family("Normal", (("loc", REAL), ("scale", POSITIVE))),
    "positive": Family("LogNormal", (("loc", REAL), ("scale", POSITIVE))),
    "nonnegative": Family("LogNormal", (("loc", REAL), ("scale", POSITIVE))),
    "unit": Family("Beta", (("concentration1", POSITIVE), ("concentration0", POSITIVE))),
    "binary": Family("Bernoulli", (("logits", REAL),)),
    "integer": Family("Categorical", (("logits", REAL),)),
    "simplex": Family("Dirichlet", (("concentration", POSITIVE),)),
}


def family_of(site: Site) -> Family:
    """The family that fits a site's support.

    Raises:
        SpecError: none does.
    """
    support = site.typed.support
    if support.kind not in FAMILIES:
        raise problem(
            "no-guide",
            f"no guide is derived for {site.name}, whose support is {support}",
            site.span,
            expected=", ".join(FAMILIES),
            fix=f"declare `guide: {{{site.name}: ...}}`",
        )
    return FAMILIES[support.kind]


def amortized(
    site: Site, kind: TensorType, name: str, hidden: tuple[int, ...], inputs: tuple[Expression, ...]
) -> tuple[Elementary, Network]:
    """A density for `site`, `Normal(**name(inputs))`, and its network.

    Args:
        site: the latent.
        kind: the type of what is drawn: the site's own, or one step's.
        name: the network's name.
        hidden: its hidden sizes.
        inputs: typed expressions that it reads.
    """
    family = family_of(site)
    heads = tuple(Head(head, _head_shape(kind), support) for head, support in family.heads)
    types = tuple(part.type for part in inputs if part.type is not None)
    network = Network(name, _KIND, options(_KIND, hidden=hidden), types, heads, span=site.span)
    parameters = tuple((head.name, apply(network, inputs, head, kind.plate, single=len(heads) == 1)) for head in heads)
    return Elementary(family.name, parameters), network


def apply(network: Network, inputs: tuple[Expression, ...], head: Head, plate: str | None, *, single: bool) -> Apply:
    """One head of a network, applied."""
    kind = TensorType(head.shape, Dtype.REAL, head.support, plate)
    return Apply(network.name, inputs, None if single else head.name, type=kind)


def options(kind: str, **given: OptionValue) -> dict[str, OptionValue]:
    """Every option of a kind of network: its default, or what is given."""
    defaults = {option.name: option.default for option in NETWORKS[kind].options if option.default is not REQUIRED}
    return cast("dict[str, OptionValue]", {**defaults, **given})


def _head_shape(kind: TensorType) -> tuple[int, ...]:
    """The shape of a parameter: the value's own, with an axis of logits for labels."""
    if kind.support.kind == "integer" and kind.support.states is not None:
        return (*kind.shape, kind.support.states)
    return kind.shape


def condition(site: Site) -> Expression:
    """A condition as a network reads it: labels as indicators, everything else as it is."""
    name = Name(site.name, type=site.type)
    states = site.typed.support.states if site.typed.support.kind == "integer" else None
    if states is None or site.typed.shape != ():
        return name
    kind = TensorType((states,), Dtype.REAL, Support("unit"), site.typed.plate)
    return Call("one_hot", (name, Literal(states, type=TensorType((), Dtype.INTEGER))), type=kind)


def mirrored(program: Program, name: str) -> tuple[int, ...]:
    """The hidden sizes of the network that consumes a site, reversed; `[64, 64]` where none does."""
    for site in program.sites:
        for node in (node for expression in expressions(site.density) for node in walk(expression)):
            if not isinstance(node, Apply) or node.network not in program.networks:
                continue
            hidden = program.networks[node.network].options.get("hidden")
            if isinstance(hidden, tuple) and hidden and any(name in reads(program, part) for part in node.inputs):
                return tuple(size for size in reversed(hidden) if isinstance(size, int))
    return _HIDDEN

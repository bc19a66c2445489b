"""A guide for a latent chain, `auto(markov)`: q(z | x) = prod_t q(z_t | z_{t-1}, h_t).

h_t summarizes the data from t on by a recurrent network that runs backwards, which is what the true posterior of a
Markov chain depends on besides z_{t-1} (Krishnan, Shalit and Sontag 2017).
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import Deterministic, MarkovChain
from dgmppl.ir.expressions import Expression, Index, Literal, Name, Operation
from dgmppl.ir.networks import Head, Network
from dgmppl.ir.program import IndexKind, Role, Site
from dgmppl.ir.types import REAL, TensorType
from dgmppl.objectives.amortized import amortized, apply, condition, mirrored, options
from dgmppl.objectives.requests import problem
from dgmppl.objectives.structure import Structure

_SUMMARY = "gru"
_WIDTH = 64


def chain_guide(
    structure: Structure, name: str, conditions: tuple[str, ...]
) -> tuple[tuple[Site, ...], tuple[Network, ...]]:
    """The guide's sites for a chain, its summary first, and their networks.

    Args:
        structure: the model's.
        name: the chain.
        conditions: what its guide is conditioned on; the series among it are summarized, the rest is context.

    Raises:
        SpecError: the chain reads more than its last value, or nothing that it emits is a series.
    """
    site = structure.variables[name].site
    chain = site.density
    assert isinstance(chain, MarkovChain)
    known = [structure.program.by_name[other] for other in conditions]
    series = [other for other in known if other.index is IndexKind.TIME]
    if chain.lag != 1 or len(chain.initial) != 1 or not series:
        raise problem(
            "no-guide",
            f"auto(markov) covers chains that read their last value and emit a series; {name} is none",
            site.span,
            fix="declare its guide with `[0]` and `[t]`",
        )
    summary, network = _summary(name, site, series)
    context = tuple(condition(other) for other in known if other not in series)
    step = replace(site.typed, shape=site.typed.shape[1:])
    hidden, index = mirrored(structure.program, name), Name(chain.index)
    now, before = _at(summary, index), _at(site, Operation("-", (index, Literal(1))))
    start = _at(summary, Literal(chain.initial[0][0]))
    first, first_network = amortized(site, step, f"guide.{name}.first", hidden, (start, *context))
    general, general_network = amortized(site, step, f"guide.{name}", hidden, (before, now, *context))
    density = MarkovChain(((chain.initial[0][0], first),), general, chain.index, 1)
    parents = (summary.name, *(other.name for other in known if other not in series))
    drawn = Site(name, "guide", Role.GUIDE, density, site.type, IndexKind.TIME, parents=parents, span=site.span)
    return (summary, drawn), (network, first_network, general_network)


def _summary(name: str, site: Site, series: list[Site]) -> tuple[Site, Network]:
    """h: a recurrent network over the series, from the end to the start."""
    title = f"guide.{name}.summary"
    head = Head("out", (site.typed.shape[0], _WIDTH), REAL)
    inputs = tuple(condition(other) for other in series)
    types = tuple(part.type for part in inputs if part.type is not None)
    network = Network(title, _SUMMARY, options(_SUMMARY, width=_WIDTH, direction="backward"), types, (head,))
    value = Deterministic(apply(network, inputs, head, site.typed.plate, single=True))
    kind = TensorType(head.shape, plate=site.typed.plate)
    parents = tuple(other.name for other in series)
    return Site(f"{title}.h", "guide", Role.DETERMINISTIC, value, kind, parents=parents, span=site.span), network


def _at(site: Site, position: Expression) -> Index:
    """One step of a series."""
    kind = replace(site.typed, shape=site.typed.shape[1:])
    return Index(Name(site.name, type=site.type), (position,), type=kind)

"""What every kind of density can do in a kernel: give a log-density, give one per element, be drawn.

Each kind is one module of this package, which registers its functions here; whoever holds a density calls these three
and never asks what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch

from dgmppl.errors import UnsupportedError
from dgmppl.ir.densities import Density, TrainedDensity
from dgmppl.ir.program import Site
from dgmppl.ir.types import Shape, TensorType
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.layout import Lowered, combine, op, reduce_event
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.source import Diagnostic, Span


@dataclass(frozen=True, slots=True)
class Variable:
    """Whose density it is: a site, one step of a chain, one element of a factorization, one part of a mixture.

    Attributes:
        name: the site's name; noise entries and local variables are called after it.
        kind: type of the value.
        section: `model`, `guide` or `parameters`: where its parents are looked up first.
        span: the declaration's place.
    """

    name: str
    kind: TensorType
    section: str
    span: Span | None

    @staticmethod
    def of(site: Site) -> Variable:
        """A whole site."""
        return Variable(site.name, site.typed, site.section, site.span)

    def shaped(self, shape: Shape) -> Variable:
        """A part of it, with an event of its own."""
        return replace(self, kind=replace(self.kind, shape=shape))


def not_lowered(density: Density, variable: Variable) -> UnsupportedError:
    """The error for a kind of density that has no form here."""
    if isinstance(density, TrainedDensity):
        return missing_run(density)
    name = type(density).__name__
    return unsupported(f"the {_WORDS.get(name, name)} of {variable.name!r}", variable.span)


def missing_run(density: TrainedDensity) -> UnsupportedError:
    """The error for a finished run that the compiler did not find: what stands in its place is unknown."""
    return UnsupportedError([
        Diagnostic(
            "missing-run", f"the run {density.run!r} is not there: its densities are unknown", density.span,
            expected="a finished run, beside the spec or in the current folder",
            fix=f"fit it first, with `--out {density.run}`",
        )
    ])  # fmt: skip


@singledispatch
def log_density(density: Density, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False) -> Lowered:
    """log p(value | parents), one number per batch element, in nats; with `stop`, parameters have no gradient.

    Raises:
        UnsupportedError: this kind of density is derived but not lowered.
    """
    raise not_lowered(density, variable)


@singledispatch
def log_densities(density: Density, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False) -> Lowered:
    """log p of each element, for densities whose elements are independent given their parents; shaped like them.

    Raises:
        UnsupportedError: the elements of this kind of density have no densities of their own.
    """
    raise unsupported(f"missing entries of {variable.name!r}, whose elements depend on each other,", variable.span)


@singledispatch
def draw_from(density: Density, scope: Scope, variable: Variable) -> Lowered:
    """A draw as a function of noise.

    Raises:
        UnsupportedError: this kind of density is derived but not lowered.
    """
    raise not_lowered(density, variable)


def draw_site(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """A draw of a whole site, bound to its name; with `stop`, no gradient flows back through it."""
    sample = draw_from(site.law, scope, Variable.of(site))
    if stop:
        sample = sample.with_value(op("stop", sample.value))
    result = scope.assign(site.name, sample)
    scope.bind(site.name, result)
    return result


def sum_of_present(each: Lowered, mask: Lowered) -> Lowered:
    """The sum over the event of what the data have: entries that they lack count zero."""
    return reduce_event(combine("mul", each, as_real(mask.with_value(mask.value, each.shape))), "sum")


_WORDS = {
    "Restricted": "truncated, censored or ordered density",
    "MixtureOf": "mixture density",
    "Point": "point mass",
    "DiffusionChain": "diffusion",
    "Unnormalized": "unnormalized density",
    "Implicit": "implicit density",
    "GaussianProcess": "Gaussian process",
    "FlatPrior": "flat prior with bounds of its own",
}

"""Bijectors: invertible functions, as steps with options, conditioners and a cheap direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dgmppl.ir.networks import REQUIRED, Network, Option, OptionValue
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.types import REAL, Shape, Support
from dgmppl.source import Span


@dataclass(frozen=True)
class Step:
    """One step of a bijector.

    Attributes:
        kind: a key of `BIJECTORS`.
        path: its canonical name (`flow.0.1`), the prefix of its parameters.
        options: every option, defaults filled in.
        conditioner: the network that computes the element transform's parameters, or None.
        element: the element transform (`affine`, `spline`) as a step of its own, or None.
        network: the name of a shared network where the conditioner is one (`ode(field)`), or None.
        span: where it is written.
    """

    kind: str
    path: str
    options: Mapping[str, OptionValue]
    conditioner: Network | None = None
    element: Step | None = None
    network: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Bijector:
    """A named bijector: its steps from base to data, a group of parameters of its own."""

    name: str
    steps: tuple[Step, ...]
    parameters: tuple[ParameterSpec, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its steps."""
        return frozenset(step.kind for step in self.steps)


@dataclass(frozen=True, slots=True)
class BijectorKind:
    """One kind of bijector step.

    Attributes:
        options: its options; positional ones first.
        conditioned: takes a network as its first argument.
        element: takes an element transform as its second argument.
        continuous: its inverse is the solution of a differential equation.
        forward, inverse: what each direction costs: `parallel`, `sequential` (one pass per element) or `none`.
        domain, codomain: the sets that it maps between, elementwise.
    """

    name: str
    options: tuple[Option, ...] = ()
    conditioned: bool = False
    element: bool = False
    continuous: bool = False
    forward: str = "parallel"
    inverse: str = "parallel"
    domain: Support = REAL
    codomain: Support = REAL
    doc: str = ""


_POSITIVE, _UNIT = Support("positive"), Support("unit")
_ZERO = Initializer("constant", 0.0)

BIJECTORS: dict[str, BijectorKind] = {
    kind.name: kind
    for kind in (
        BijectorKind("affine", doc="x = scale * z + shift, elementwise"),
        BijectorKind(
            "spline", (Option("bins", 8, "knots"), Option("bound", 5.0, "the spline's square; identity outside")),
            doc="monotone rational-quadratic spline (Durkan et al. 2019)",
        ),
        BijectorKind("actnorm", doc="affine, started at the first batch's statistics (Kingma and Dhariwal 2018)"),
        BijectorKind("permute", doc="a fixed, seeded derangement of the elements"),
        BijectorKind("reverse", doc="the elements in reverse order"),
        BijectorKind("lu_linear", doc="x = P L U z + b"),
        BijectorKind("planar", inverse="none", doc="x = z + u tanh(w z + b) (Rezende and Mohamed 2015)"),
        BijectorKind("sigmoid", codomain=_UNIT, doc="x = 1 / (1 + exp(-z))"),
        BijectorKind("logit", domain=_UNIT, doc="x = log(z / (1 - z))"),
        BijectorKind("softplus", codomain=_POSITIVE, doc="x = log(1 + exp(z))"),
        BijectorKind("exp", codomain=_POSITIVE, doc="x = exp(z)"),
        BijectorKind("log", domain=_POSITIVE, doc="x = log z"),
        BijectorKind("tanh", codomain=Support("interval", low=-1.0, high=1.0), doc="x = tanh z"),
        BijectorKind("squeeze", doc="space to channels by factors of two (Dinh et al. 2017)"),
        BijectorKind(
            "coupling", conditioned=True, element=True,
            doc="the first floor(D/2) elements condition the transform of the others (Dinh et al. 2017)",
        ),
        BijectorKind(
            "autoregressive",
            (Option("direction", "density", "density: one pass to score; inverse: one pass to sample"),),
            conditioned=True, element=True, forward="sequential",
            doc="each element is transformed given those before it (Papamakarios et al. 2017)",
        ),
        BijectorKind(
            "ode",
            (Option("solver", "dopri5", "dopri5, tsit5 or rk4"), Option("rtol", 1e-5, "relative tolerance"),
             Option("atol", 1e-5, "absolute tolerance"), Option("steps", 20, "steps of a fixed-step solver"),
             Option("trace", "exact", "exact or hutchinson"), Option("time", None, "how time enters the field")),
            conditioned=True, continuous=True, doc="dx/dt = field(x, t), t in [0, 1] (Chen et al. 2018)",
        ),
        BijectorKind(
            "repeat", (Option("times", REQUIRED, "how often"), Option("steps", REQUIRED, "what is repeated")),
            doc="copies of the same steps, each with parameters of its own",
        ),
    )
}  # fmt: skip


def raw_parameters(element: Step) -> tuple[tuple[str, int | None], ...]:
    """The unconstrained parameters of an element transform, per element: (name, how many; None for a scalar).

    A spline with K bins has K widths, K heights and K - 1 inner derivatives; its tails are the identity.
    """
    bins = element.options.get("bins")
    if element.kind == "spline" and isinstance(bins, int):
        return (("widths", bins), ("heights", bins), ("derivatives", bins - 1))
    return (("shift", None), ("scale", None))


def step_parameters(step: Step, group: str, event: Shape) -> tuple[ParameterSpec, ...]:
    """The parameters of a step for events of a shape: its conditioner's, or one set of its own per element.

    A conditioner's last layer starts at zero, so that its transform starts as the same function of every element.
    """
    if step.conditioner is not None:
        inner = tuple(replace(parameter, group=group) for parameter in step.conditioner.parameters)
        return inner if step.element is None else (*inner[:-2], *(replace(last, init=_ZERO) for last in inner[-2:]))
    if step.kind not in {"affine", "actnorm", "spline"}:
        return ()
    return tuple(
        _per_element(f"{step.path}.{name}", group, (*event, *(() if count is None else (count,))))
        for name, count in raw_parameters(step)
    )


def _per_element(name: str, group: str, shape: Shape) -> ParameterSpec:
    """A scale starts at one and is stored positive; everything else starts at zero."""
    if name.endswith(".scale"):
        return ParameterSpec(name, group, shape, Initializer("constant", 1.0), Support("positive"))
    return ParameterSpec(name, group, shape, _ZERO)

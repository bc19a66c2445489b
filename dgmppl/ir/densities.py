"""Density nodes: how a site's value is distributed. They are few; each is a declaration, and everything composes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dgmppl.ir.expressions import Expression
from dgmppl.ir.types import Support
from dgmppl.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What every density carries besides its meaning."""

    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Elementary(Located):
    """A distribution of the closed table, e.g. `Normal(loc, scale)`.

    Attributes:
        family: a key of `dgmppl.ir.distributions.DISTRIBUTIONS`.
        parameters: (name, value) in the distribution's order, each filled in (defaults included).
    """

    family: str
    parameters: tuple[tuple[str, Expression], ...]

    def parameter(self, name: str) -> Expression:
        """The value of a parameter."""
        return dict(self.parameters)[name]


@dataclass(frozen=True, slots=True)
class Restricted(Located):
    """A distribution `truncated` (renormalized), `censored` (mass piled up at the bounds) or `ordered`."""

    base: Density
    kind: str
    low: Expression | None = None
    high: Expression | None = None


@dataclass(frozen=True, slots=True)
class MixtureOf(Located):
    """A finite mixture: sum_k w_k p_k(x).

    Attributes:
        components: one density whose parameters hold the components on an axis of their own, or several densities.
        weights: the mixing distribution: a `Categorical` by `probs` or `logits`; for `ZeroInflated` a
            `Bernoulli`, whose `probs` is the weight of the second component.
        joint: one component per event (component axis first) instead of one per element (component axis last).
        count: the number of components K.
    """

    components: tuple[Density, ...]
    weights: Elementary
    joint: bool
    count: int


@dataclass(frozen=True, slots=True)
class Point(Located):
    """All mass at one value; a component of mixtures on discrete support."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Pushforward(Located):
    """x = f(z), f a bijection: log p(x) = log p(f^-1(x)) + log abs det J_{f^-1}(x).

    Attributes:
        base: the site whose image this is.
        bijector: a name in `Program.bijectors`.
        context: further inputs that condition every step.
        inverse: the bijector runs backwards (`inverse(flow)(z)`).
    """

    base: str
    bijector: str
    context: tuple[Expression, ...] = ()
    inverse: bool = False


@dataclass(frozen=True, slots=True)
class Factorized(Located):
    """p(x) = prod_i p(x_i | x_<i): the chain rule over the event's elements in the network's order."""

    conditional: Density
    network: str


@dataclass(frozen=True, slots=True)
class MarkovChain(Located):
    """A chain over the leading event axis.

    Attributes:
        initial: (position, density) for the positions with a declaration of their own.
        transition: the density (or `Deterministic`) at a general `t`; lags stand in it as `Index(Name, (t - k,))`.
        index: the index's name, `t`.
        lag: the largest lag of the site itself; 0 for an emission.
    """

    initial: tuple[tuple[int, Density], ...]
    transition: Density
    index: str
    lag: int


@dataclass(frozen=True, slots=True)
class DiffusionChain(Located):
    """A noising chain reversed by a network (or its continuous-time limit, with `steps` None).

    Attributes:
        denoiser: the network.
        context: its conditions.
        schedule: a call of the table of schedules.
        steps: of the chain.
        predict: what the network predicts.
        weighting: of what is trained.
        drop: how often training replaces the conditions by learned values.
        variance: of the reverse steps: `posterior beta learned`.
    """

    denoiser: str
    context: tuple[Expression, ...]
    schedule: Expression
    steps: int | None
    predict: str
    weighting: str
    drop: float = 0.0
    variance: str = "posterior"


@dataclass(frozen=True, slots=True)
class Ladder:
    """Noises that an energy was fitted under, from the largest to the smallest, evenly spaced in their logarithm.

    Attributes:
        largest, smallest: standard deviations.
        levels: how many, at least two.
        level: the site of the model by which the energy is told the noise.
    """

    largest: float
    smallest: float
    levels: int
    level: str


@dataclass(frozen=True, slots=True)
class Unnormalized(Located):
    """p(x) proportional to base(x) exp(-energy(x)); or, with a link, to base(x) link(f(x)).

    Attributes:
        energy: a scalar expression in the site's own names.
        names: the variables that it is a joint density of.
        base: a normalized density that is tilted, or None for Lebesgue or counting measure.
        link: None for exp(-E), else the positive function of `Positive(f, link=)`.
        sampler: the sampler's call with its settings.
        supports: of its names, as declared.
        ladder: the noises that chains walk down; None where the density is one.
    """

    energy: Expression
    names: tuple[str, ...]
    base: Density | None = None
    link: str | None = None
    sampler: Expression | None = None
    supports: tuple[tuple[str, Support], ...] = ()
    ladder: Ladder | None = None


@dataclass(frozen=True, slots=True)
class Implicit(Located):
    """x = f(inputs), f not invertible: samples, no density."""

    function: Expression
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainedDensity(Located):
    """A finished run used as a distribution, its parameters frozen."""

    run: str
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deterministic(Located):
    """A value computed from earlier ones."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Learned(Located):
    """A point parameter: `learned(positive(3, 4))`.

    Attributes:
        kind: `normal zeros ones positive simplex ordered orthogonal cholesky constant`.
        shape: sizes as written (for `simplex` the last axis sums to one); a number's shape is ().
        value: the start value of `constant`, or the scale of `normal`.
    """

    kind: str
    shape: tuple[int, ...] = ()
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class FlatPrior(Located):
    """An improper uniform on a support, whose bounds may be other parameters."""

    support: Support
    low: Expression | None = None
    high: Expression | None = None


@dataclass(frozen=True, slots=True)
class GaussianProcess(Located):
    """A zero-mean Gaussian process at given inputs: Normal(0, K(inputs, inputs) + noise I).

    Attributes:
        kernel: an expression of kernels (`square(alpha) * rbf(x, lengthscale=rho)`).
        noise: the noise *variance* on the diagonal.
    """

    kernel: Expression
    noise: Expression


Density: TypeAlias = (
    Elementary | Restricted | MixtureOf | Point | Pushforward | Factorized | MarkovChain | DiffusionChain
    | Unnormalized | Implicit | TrainedDensity | Deterministic | Learned | FlatPrior | GaussianProcess
)  # fmt: skip

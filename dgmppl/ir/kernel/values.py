"""Values of straight-line programs: expressions whose batch axes are explicit.

Layout of every value: `[enumeration axes..., particles, data, *event]`. Batch axes that a value does not vary over are
absent on the left or have size one, so that right-aligned broadcasting does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dgmppl.ir.expressions import Node
from dgmppl.ir.types import Support


@dataclass(frozen=True, slots=True)
class Var(Node):
    """A local variable of the emitted function."""

    name: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal number."""

    value: float | int | bool


@dataclass(frozen=True, slots=True)
class Op(Node):
    """A primitive of the backends' common table (`PRIMITIVES`) applied to values; `options` are static."""

    name: str
    operands: tuple[Value, ...]
    options: tuple[tuple[str, object], ...] = ()

    def option(self, name: str) -> object:
        """A static option's value."""
        return dict(self.options)[name]


@dataclass(frozen=True, slots=True)
class NetworkCall(Node):
    """A network applied to batched inputs; several heads come back as a tuple, a single one as itself."""

    network: str
    inputs: tuple[Value, ...]


FLAT = "Flat"


@dataclass(frozen=True, slots=True)
class DensityValue(Node):
    """An elementary density with batched parameters: what `dist.Normal(loc, scale)` says.

    Attributes:
        family: a key of `DISTRIBUTIONS`, or `FLAT` for the improper uniform on the site's support.
        parameters: (name, value) for the parameters that are given.
        event_rank: how many trailing axes of a value are one event (`to_event` = event_rank - the family's own).
        shape: the event's shape, which the parameters are broadcast to.
    """

    family: str
    parameters: tuple[tuple[str, Value], ...]
    event_rank: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FunctionDensity(Node):
    """A density of a library program that is given by two local functions: `log_prob(value)` and `draw(noise)`.

    Attributes:
        log_prob: the local function that gives log p, one number per batch element.
        draw: the local function that draws.
        noise: (entry, kind, event shape) of the random numbers of a draw.
        shape: the event's shape.
        support: the set in which each element lies.
        reparameterized: draws carry gradients.
        bounds: the ends of the support, `low` and `high`, where they are values.
    """

    log_prob: str
    draw: str
    noise: tuple[tuple[str, str, tuple[int, ...]], ...]
    shape: tuple[int, ...]
    support: Support
    reparameterized: bool
    bounds: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class LogProb(Node):
    """log p(value), summed over the event (`event_rank` axes); in nats, one number per batch element.

    With `elementwise`, the family's own event alone is summed: one number per element.
    """

    density: DensityValue
    value: Value
    elementwise: bool = False


@dataclass(frozen=True, slots=True)
class Draw(Node):
    """A sample as a function of noise, shaped `[batch axes..., *event]`.

    What the noise is follows from the family (`noise_kind`): Normal and LogNormal take standard normals (loc +
    scale * noise), MultivariateNormal too (loc + scale_tril @ noise), Uniform and Bernoulli take uniforms, Categorical
    and OneHotCategorical take Gumbels (argmax of logits + noise); for any other family the noise entry is a key (JAX)
    or a generator (torch) that the library's own sampler is given. Gradients flow where the family is reparameterized.

    Attributes:
        density: what is drawn from.
        noise: its random numbers, an entry of the noise dictionary or one step's part of it.
    """

    density: DensityValue
    noise: Value


@dataclass(frozen=True, slots=True)
class Restriction(Node):
    """A function of the runtimes' `restrictions`: densities and draws with bounds, or sorted.

    Attributes:
        function: its name.
        operands: what it is given first.
        density: the elementary density whose distribution function it needs; None where it needs none.
        low: the lower bound, or None.
        high: the upper bound, or None.
    """

    function: str
    operands: tuple[Value, ...]
    density: DensityValue | None = None
    low: Value | None = None
    high: Value | None = None


@dataclass(frozen=True, slots=True)
class NoiseEntry(Node):
    """An entry of the function's noise dictionary."""

    name: str


@dataclass(frozen=True, slots=True)
class BijectorCall(Node):
    """A bijector applied to a batched value: the image, or (image, log |det| of this direction) with `log_det`.

    Attributes:
        bijector: the group.
        value: what is mapped, from base to data, or with `inverse` from data to base.
        context: what conditions every step.
        inverse: from data to base.
        log_det: the log-determinant of the direction that is taken is wanted too; one number per batch element, nats.
        probe: noise shaped like the value, for a stochastic trace; None where there is none.
    """

    bijector: str
    value: Value
    context: tuple[Value, ...] = ()
    inverse: bool = False
    log_det: bool = True
    probe: Value | None = None


@dataclass(frozen=True, slots=True)
class Velocity(Node):
    """The field of a bijector in continuous time at a point and a time: dx/dt, shaped like the point.

    Attributes:
        bijector: the group.
        point: x.
        time: t, one number per batch element.
        context: what conditions the field.
    """

    bijector: str
    point: Value
    time: Value
    context: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class WarmStart(Node):
    """Data-dependent start values of a bijector's parameters, by canonical name, from one batch.

    Attributes:
        bijector: the group.
        value: the batch.
        context: what conditions every step.
    """

    bijector: str
    value: Value
    context: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Gradient(Node):
    """A derivative of a local function (`Define`) that gives one number per batch element, at a batched point.

    Attributes:
        function: the local function.
        point: where.
        event_rank: trailing axes of the point that are one event.
        order: `first`: the gradient, shaped like the point; `directional`: (v . gradient, v^T Hessian v) along
            `direction`; `laplacian`: (gradient, trace of the Hessian).
        direction: v, shaped like the point.
    """

    function: str
    point: Value
    event_rank: int
    order: str = "first"
    direction: Value | None = None


@dataclass(frozen=True, slots=True)
class MarkovSampler(Node):
    """The end of a Markov chain on local functions (`Define`), without gradient: a function of its noise.

    Attributes:
        sampler: a function of the runtimes, `samplers.mala` or `annealing.hmc`; one that anneals gives (end,
            log-weights).
        functions: the local functions that give log-densities up to a constant, one number per batch element.
        start: where the chain begins.
        event_rank: trailing axes of the start that are one event.
        noise: the random numbers of all transitions, whose axis stands left of the event.
        settings: (keyword, static value).
    """

    sampler: str
    functions: tuple[str, ...]
    start: Value
    event_rank: int
    noise: tuple[Value, ...]
    settings: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class SpectralNorm(Node):
    """(network, directions): weights divided by their largest singular values, and the directions that these lie in.

    Attributes:
        network: the group.
        directions: (a weight's name inside the network, its direction from the step before).
    """

    network: str
    directions: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class StateEntry(Node):
    """An entry of what a loss carries from step to step."""

    name: str


@dataclass(frozen=True, slots=True)
class Noising(Node):
    """A diffusion's noising process and what its denoiser predicts: static but for what is learned.

    Attributes:
        schedule: a function of `dgmppl.ir.schedules`.
        arguments: its arguments, values where they are learned.
        predict: `noise data velocity score`.
        event_rank: how many axes an event has.
        steps: of a chain; None in continuous time.
        variance: `posterior` or `beta`.
        errors: of each step, where reverse variances are learned.
    """

    schedule: str
    arguments: tuple[float, ...] | tuple[Value, ...]
    predict: str
    event_rank: int
    steps: int | None
    variance: str = "posterior"
    errors: Value | None = None


@dataclass(frozen=True, slots=True)
class Denoising(Node):
    """A function of the runtimes' `diffusion`: a bound, a regression, a log-density, a draw.

    Attributes:
        function: its name.
        process: the noising process.
        denoisers: the local function (`Define`) of a point and a time; with guidance, the one without condition too.
        operands: what it is given besides.
        settings: (keyword, static value).
        guidance: the weight of the condition.
        known: where elements are given, their values, and the noise that they are given in meanwhile.
    """

    function: str
    process: Value
    denoisers: tuple[str, ...]
    operands: tuple[Value, ...]
    settings: tuple[tuple[str, object], ...] = ()
    guidance: float = 1.0
    known: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkStart(Node):
    """The cache with which a causal network begins to be evaluated element by element.

    Attributes:
        network: the group.
        context: its inputs after the causal one.
        like: a value whose batch axes the cache gets.
        rank: the event axes of `like`.
    """

    network: str
    context: tuple[Value, ...]
    like: Value
    rank: int


@dataclass(frozen=True, slots=True)
class NetworkStep(Node):
    """One element of a causal network: (cache, head, ...) for the element at `position` in the network's order.

    Attributes:
        network: the group.
        cache: what `NetworkStart` or the step before gave.
        position: the place in the network's order.
        previous: the value of the element before it; read from the second position on.
    """

    network: str
    cache: Value
    position: Value
    previous: Value


@dataclass(frozen=True, slots=True)
class NetworkLogPrior(Node):
    """Sum over every weight and bias of a network of its log prior density; a scalar.

    Attributes:
        network: the group.
        density: the prior of one element, `event_rank` 0.
    """

    network: str
    density: DensityValue


@dataclass(frozen=True, slots=True)
class Divergence(Node):
    """KL(q || p) in closed form, summed over the event."""

    posterior: DensityValue
    prior: DensityValue


Value: TypeAlias = (
    "Var | Number | Op | NetworkCall | NetworkStart | NetworkStep | LogProb | Draw | Restriction | NoiseEntry"
    " | BijectorCall | Velocity | WarmStart | Gradient | MarkovSampler | SpectralNorm | StateEntry"
    " | Noising | Denoising | NetworkLogPrior | Divergence"
)

"""Straight-line programs: what the backends print.

`lowering` turns a derivation into functions of a few statement kinds over batched tensors. Everything that both
backends share is settled here (batch axes, broadcasting, closed forms, order of statements), so that a backend is a
printer with small tables, and the two emitted programs read alike.

Layout of every value: `[enumeration axes..., particles, data, *event]`. Batch axes that a value does not vary over are
absent on the left or have size one, so that right-aligned broadcasting does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dgmppl.ir.densities import Density
from dgmppl.ir.expressions import Expression, Node
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.program import Program
from dgmppl.ir.types import Support
from dgmppl.source import Span

# ---- values: expressions whose batch axes are explicit -------------------------------------------------------------


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
        noise: the entry of the noise dictionary.
    """

    density: DensityValue
    noise: str


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


Value: TypeAlias = "Var | Number | Op | NetworkCall | LogProb | Draw | NetworkLogPrior | Divergence"

# The primitives that both backends must print; operands are batched values, `axis` counts from the right (negative).
PRIMITIVES: dict[str, str] = {
    "add": "x + y", "sub": "x - y", "mul": "x * y", "div": "x / y", "pow": "x ** y", "neg": "-x",
    "lt": "x < y", "le": "x <= y", "gt": "x > y", "ge": "x >= y", "eq": "x == y", "ne": "x != y",
    "call": "an elementwise function of FUNCTIONS: option `function`",
    "reduce": "sum, mean, prod, max, min or logsumexp (option `function`) over trailing axes (option `axes`)",
    "cumulative": "softmax, log_softmax or cumsum (option `function`) along `axis`",
    "expand": "insert `count` axes of size one before the last `rank` axes",
    "broadcast": "broadcast the last axes to `shape`",
    "reshape": "replace the last `rank` axes by `shape`",
    "concat": "join along `axis`", "stack": "join along a new axis that becomes `axis`",
    "transpose": "swap the last two axes", "diag": "diagonal matrix of the last axis",
    "matmul": "matrix times matrix over the last two axes", "matvec": "matrix [.., i, j] times vector [.., j]",
    "vecmat": "vector [.., i] times matrix [.., i, j]", "dot": "sum over the last axis of a product",
    "index": "static indices on the last `rank` axes: option `items`, ints and (start, stop, step)",
    "gather": "rows of a table without batch axes, by an integer value: table[index]",
    "take": "elements of a batched table along the first of its last `rank` axes, by an integer value",
    "one_hot": "indicator vectors of `size`", "arange": "0..size-1, then `trailing` axes of size one; dtype integer",
    "states": "all joint states of `shape` elements of `size` values: a new left axis, then `trailing` of size one",
    "fill": "constant `value` of `shape`", "eye": "identity of `size`",
    "constant": "an array written out: option `values` (nested lists)",
    "stop": "the value without gradient",
    "scale_gradient": "the first operand; its gradient is multiplied by the second",
    "mean_all": "mean over every axis", "sum_all": "sum over every axis",
    "logmeanexp": "log mean exp over the leftmost axis", "moveaxis": "moves axis `source` to `target` (both negative)",
    "concat_broadcast": "join along the last axis, batch axes broadcast against each other",
    "leave_one_out": "x minus the mean of the others along the leftmost axis",
    "leading": "items of the leftmost axis: option `item`, an int or a (start, stop) pair",
    "simplex_points": "the origin, then each of the `size` unit vectors: [size + 1, 1 * trailing, size]",
    "softmax_leading": "softmax over the leftmost axis",
    "reduce_leading": "sum, mean or logsumexp (option `function`) over the leftmost axis",
    "cast": "to `dtype`: real or integer", "checked": "the value, asserted to lie in `support` at run time",
    "item": "element `number` of a tuple",
    "schedule": "a scalar schedule at the present step: options `start`, `end`, `steps` (linear, then constant)",
    "vimco": "leave-one-out log-mean-exp baselines over the leftmost axis (Mnih and Rezende 2016)",
    "low_rank_normal": "log N(x; loc, W W^T + diag(d)) of operands x [.., D], loc [.., D], W [.., D, n], d [.., D]",
    "gaussian_posterior": "item 0 mean [.., n], item 1 scale_tril [.., n, n] of eps | x, x = loc + W eps + noise(d)",
}  # fmt: skip

# ---- statements ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """`targets = value`, with the value's layout as a comment (`[B, 64]`)."""

    targets: tuple[str, ...]
    value: Value
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A line of mathematics or reason between statements."""

    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample statement of a Pyro / NumPyro program.

    Attributes:
        site: its name.
        density: its distribution.
        observed: the variable that holds the data, or None.
        mask: a boolean variable; entries where it is False do not count.
        unless: a variable that, when it is given (not None), takes the sample's place: the site is then skipped and
            the variable stands for its value; printed as `if y is None:`.
        variable: the local variable that it assigns; None for one of the site's own name, or the observed one.
        span: the declaration's place.
    """

    site: str
    density: DensityValue
    observed: str | None = None
    mask: str | None = None
    unless: str | None = None
    variable: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """A deterministic site of a Pyro / NumPyro program."""

    site: str
    value: Value


@dataclass(frozen=True, slots=True)
class Plate:
    """A named, independent batch axis at dimension -1 (of the batch axes).

    Attributes:
        name: `data` or a level's name.
        size: its full size, or None for the number of data rows at run time.
        body: the statements inside.
    """

    name: str
    size: int | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """The function's result: one value, several, or (with `names`) a dictionary of them."""

    values: tuple[Value, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnLoss:
    """The end of a loss: `return loss, state, report`; the report's entries are fit to be shown, in nats per datum."""

    loss: Value
    report: tuple[tuple[str, Value], ...]


Statement: TypeAlias = Assign | Comment | Sample | Delta | Plate | Return | ReturnLoss


@dataclass(frozen=True, slots=True)
class Noise:
    """One array of random numbers that a function uses.

    Attributes:
        name: the key in the noise dictionary.
        kind: `normal`, `uniform`, `gumbel`; or `library`: a key (JAX) or generator (torch) for the library's sampler.
        shape: the event's shape.
        particles: it has a particle axis left of the data axis.
        plate: the axis that it varies over: `data`, a level's name, or None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    particles: bool = False
    plate: str | None = "data"


@dataclass(frozen=True)
class Function:
    """One emitted function.

    Its signature follows from its kind:

    - `loss`: `loss_PLAYER(own, other, state, batch, noise, step)` -> loss, state, report;
    - `density`: `NAME(parameters, batch)` or, with noise, `NAME(parameters, batch, noise)`;
    - `sample`: `sample(parameters, batch, noise)`, the batch holding covariates only;
    - `program`: `model(...)` and `guide(...)` of the library, with data columns as keyword arguments.

    Attributes:
        name: `loss_model`, `log_prob`, `elbo`, `log_weights`, `log_joint`, `encode`, `posterior`, `sample`, `prior`,
            `decode`, `model`, `guide`.
        kind: see above.
        body: its statements.
        doc: what it computes, in mathematics, with the shape of the result.
        groups: (group, local variable) of the parameter groups that it reads; printed as the unpacking at its head:
            a network as it is, a learned or random parameter through its constraint's bijection.
        columns: (data column, local variable) that it reads from the batch; `x.observed` is the mask of `x`.
        noise: the random numbers that it takes.
        particles: how many particles its noise carries; None for no particle axis, 0 for as many as the caller wants.
        owns: for a loss: the groups found in `own`; all others are in `other`.
    """

    name: str
    kind: str
    body: tuple[Statement, ...]
    doc: str
    groups: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    noise: tuple[Noise, ...] = ()
    particles: int | None = None
    owns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A parameter group: a network, a bijector, one learned parameter, or one parameter with a prior.

    Attributes:
        name: the top-level name.
        kind: `network`, `bijector`, `learned` or `prior`.
        parameters: its arrays.
        support: for `learned` and `prior`: the set that the value lies in; the raw value is unconstrained.
        levels: the level index that it has a copy for, or None.
    """

    name: str
    kind: str
    parameters: tuple[ParameterSpec, ...]
    support: Support | None = None
    levels: str | None = None


@dataclass(frozen=True)
class Module:
    """Everything that a backend prints.

    Attributes:
        program: the typed program.
        heading: the docstring's lines: name, factorization, objective, its direction.
        groups: parameter groups in order.
        players: (name, groups that it owns, every), in the order in which they move.
        functions: in the order in which they are printed.
    """

    program: Program
    heading: tuple[str, ...]
    groups: tuple[Group, ...]
    players: tuple[tuple[str, tuple[str, ...], int], ...]
    functions: tuple[Function, ...]

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Every parameter under its canonical name."""
        return tuple(parameter for group in self.groups for parameter in group.parameters)

    def function(self, name: str) -> Function | None:
        """A function by name, or None where this model has none."""
        return next((function for function in self.functions if function.name == name), None)


__all__ = [
    "PRIMITIVES",
    "Assign",
    "Comment",
    "Delta",
    "Density",
    "DensityValue",
    "Divergence",
    "Draw",
    "Expression",
    "Function",
    "Group",
    "LogProb",
    "Module",
    "NetworkCall",
    "NetworkLogPrior",
    "Noise",
    "Number",
    "Op",
    "Plate",
    "Return",
    "ReturnLoss",
    "Sample",
    "Statement",
    "Value",
    "Var",
]  # fmt: skip

r"""Data transforms as part of the model: y = f(x) from the data's own units x to what the model sees.

For an invertible f the density in the data's own units is

    log p_X(x) = log p_Y(f(x)) + log |det df/dx|,

in nats; samples come back through the inverse. Arrays carry a leading axis of rows: `[N, *event]`, and a
log-determinant is `[N]`. Constants are fitted before a transform exists (`dgmppl.data.transforms`), so that every
instance is immutable and a pure function of its input (and of `noise`, where it draws).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from dgmppl.errors import InternalError
from dgmppl.ir.transform import Array, Transform, drawn
from dgmppl.ir.types import BINARY, REAL, UNIT, Shape, Support, integer

# The largest float32 below 1.
_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@final
@dataclass(frozen=True, eq=False)
class Binarize(Transform):
    """1 where x > threshold, else 0."""

    threshold: float
    name: ClassVar[str] = "binarize"
    invertible: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:  # noqa: ARG002
        """Compare with the threshold; with its floor where x is whole, so that x is not converted."""
        return (x > (self.threshold if x.dtype.kind == "f" else math.floor(self.threshold))).astype(np.int64)

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """Binary."""
        return BINARY


@final
@dataclass(frozen=True, eq=False)
class StochasticBinarize(Transform):
    """A draw from Bernoulli(x) for x in [0, 1]."""

    name: ClassVar[str] = "stochastic_binarize"
    invertible: ClassVar[bool] = False
    random: ClassVar[bool] = True

    @property
    def domain(self) -> Support:
        """The unit interval."""
        return UNIT

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:
        """Draw each element."""
        return (drawn(noise, self.name).random(x.shape) < x).astype(np.int64)

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """Binary."""
        return BINARY


@final
@dataclass(frozen=True, eq=False)
class Dequantize(Transform):
    """(x + u) / levels with u uniform on [0, 1), for x in {0, ..., levels - 1}.

    The log-determinant counts the scale, -D log(levels); by Jensen's inequality the expected density of x + u then
    bounds the probability of x from below.
    """

    levels: int
    name: ClassVar[str] = "dequantize"
    random: ClassVar[bool] = True

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:
        """Spread each integer over its cell; the last cell ends below 1 in single precision too."""
        return np.minimum((x + drawn(noise, self.name).random(x.shape)) / self.levels, _BELOW_ONE)

    def inverse(self, y: Array) -> Array:
        """The cell that y lies in; values outside [0, 1) go to the nearest cell."""
        return np.asarray(np.clip(np.floor(y * self.levels), 0, self.levels - 1).astype(np.int64))

    @property
    def domain(self) -> Support:
        """0, ..., levels - 1."""
        return integer(self.levels)

    def log_slope(self, x: Array) -> Array:
        """-log(levels), in nats."""
        return np.full(x.shape, -math.log(self.levels))

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """The unit interval."""
        return UNIT


@dataclass(frozen=True, eq=False)
class _Affine(Transform):
    """(x - loc) / scale with constants that broadcast against the event's trailing axes."""

    loc: Array
    scale: Array

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:  # noqa: ARG002
        """Shift and scale."""
        return np.asarray((x - self.loc) / self.scale)

    def inverse(self, y: Array) -> Array:
        """Scale and shift back."""
        return np.asarray(y * self.scale + self.loc)

    def log_slope(self, x: Array) -> Array:
        """-log scale, in nats."""
        return np.broadcast_to(-np.log(self.scale), x.shape)


@final
@dataclass(frozen=True, eq=False)
class Unit(_Affine):
    """(x - low) / (high - low): `loc` is low and `scale` the width of the range of the training rows."""

    name: ClassVar[str] = "unit"

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """The unit interval."""
        return UNIT


@final
@dataclass(frozen=True, eq=False)
class Standardize(_Affine):
    """(x - mean) / standard deviation of the training split, `per` feature or over all elements."""

    per: str = "feature"
    name: ClassVar[str] = "standardize"

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """The reals."""
        return REAL


@final
@dataclass(frozen=True, eq=False)
class Logit(Transform):
    """logit(alpha + (1 - 2 alpha) x) for x in [0, 1]; `alpha` keeps the ends finite."""

    alpha: float
    name: ClassVar[str] = "logit"

    def _squeezed(self, x: Array) -> Array:
        return np.asarray(self.alpha + (1.0 - 2.0 * self.alpha) * x)

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:  # noqa: ARG002
        """The log-odds of the squeezed value."""
        s = self._squeezed(x)
        return np.asarray(np.log(s) - np.log1p(-s))

    def inverse(self, y: Array) -> Array:
        """(sigmoid(y) - alpha) / (1 - 2 alpha)."""
        sigmoid = 0.5 * (1.0 + np.tanh(0.5 * y))
        return np.asarray((sigmoid - self.alpha) / (1.0 - 2.0 * self.alpha))

    @property
    def domain(self) -> Support:
        """The unit interval."""
        return UNIT

    def log_slope(self, x: Array) -> Array:
        """Log(1 - 2 alpha) - log s - log(1 - s) with s the squeezed value, in nats."""
        s = self._squeezed(x)
        return np.asarray(np.log1p(-2.0 * self.alpha) - np.log(s) - np.log1p(-s))

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """The reals."""
        return REAL


@final
@dataclass(frozen=True, eq=False)
class Flatten(Transform):
    """An event of any shape as a vector, in row-major order."""

    shape: Shape
    name: ClassVar[str] = "flatten"
    exact: ClassVar[bool] = True

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:  # noqa: ARG002
        """`[N, *shape]` to `[N, D]`."""
        return x.reshape(x.shape[0], -1)

    def inverse(self, y: Array) -> Array:
        """`[N, D]` to `[N, *shape]`."""
        return y.reshape(y.shape[0], *self.shape)

    def mask(self, observed: Array) -> Array:
        """The mask as a vector."""
        return observed.reshape(observed.shape[0], -1)

    def inverse_mask(self, observed: Array) -> Array:
        """The mask in the event's own shape."""
        return observed.reshape(observed.shape[0], *self.shape)

    def shape_out(self, shape: Shape) -> Shape:
        """`[D]`."""
        return (int(np.prod(shape)),)


@final
@dataclass(frozen=True, eq=False)
class OneHot(Transform):
    """An integer as a unit vector, along a new last axis of `states` elements."""

    states: int
    name: ClassVar[str] = "one_hot"
    exact: ClassVar[bool] = True

    @property
    def domain(self) -> Support:
        """0, ..., states - 1."""
        return integer(self.states)

    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:  # noqa: ARG002
        """`[N, *event]` to `[N, *event, states]`."""
        return np.asarray(x[..., None] == np.arange(self.states)).astype(np.int64)

    def inverse(self, y: Array) -> Array:
        """The position of the largest element."""
        return np.asarray(y.argmax(axis=-1))

    def mask(self, observed: Array) -> Array:
        """The whole vector is missing where its integer is."""
        return np.repeat(observed[..., None], self.states, axis=-1)

    def inverse_mask(self, observed: Array) -> Array:
        """An integer is there where its vector is."""
        return np.asarray(observed[..., 0])

    def shape_out(self, shape: Shape) -> Shape:
        """One axis more."""
        return (*shape, self.states)

    def support_out(self, support: Support | None) -> Support:  # noqa: ARG002
        """Each element is binary."""
        return BINARY


# The closed table of transforms, by the name that a spec uses.
TRANSFORMS: dict[str, type[Transform]] = {
    kind.name: kind
    for kind in (Binarize, Dequantize, Flatten, Logit, OneHot, Standardize, StochasticBinarize, Unit)
}  # fmt: skip


def from_dict(stored: Mapping[str, Any], constants: Mapping[str, Array]) -> Transform:
    """The transform that `to_dict` and `constants` describe.

    Raises:
        InternalError: for a name that `TRANSFORMS` does not hold.
    """
    kind = TRANSFORMS.get(stored["name"])
    if kind is None:
        raise InternalError(f"a stored transform is called {stored['name']!r}")
    given = {key: value for key, value in stored.items() if key != "name"}
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    return kind(**settings, **constants)


def invertible_tail(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    """The transforms after the last one that loses information: those whose log-determinant the model counts."""
    lossy = [place for place, transform in enumerate(transforms) if not transform.invertible]
    return tuple(transforms[lossy[-1] + 1 :] if lossy else transforms)


def forward(transforms: Sequence[Transform], x: Array, noise: np.random.Generator | None = None) -> Array:
    """All transforms in order, `[N, *raw event]` to `[N, *event]`."""
    for transform in transforms:
        x = transform.forward(x, noise)
    return x


def inverse(transforms: Sequence[Transform], y: Array) -> Array:
    """Back through the invertible tail, to the data's own units where all of it is invertible."""
    for transform in reversed(invertible_tail(transforms)):
        y = transform.inverse(y)
    return y


def log_abs_det(transforms: Sequence[Transform], y: Array, observed: Array | None = None) -> Array:
    """The log-determinant of the invertible tail at the transformed value y, in nats, `[N]`.

    It is a function of y, not of x, because the noise of `dequantize` is known from y alone.

    Args:
        transforms: in order.
        y: `[N, *event]`, as the model sees it.
        observed: where y is observed, of its shape; None where all of it is.
    """
    total = np.zeros(y.shape[0])
    for transform in reversed(invertible_tail(transforms)):
        y = transform.inverse(y)
        observed = None if observed is None else transform.inverse_mask(observed)
        total = total + transform.log_abs_det(y, observed)
    return total

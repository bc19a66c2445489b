"""Fixed bijections from the reals onto supports, the same on both backends.

A learned parameter is stored in its support and optimized as `inverse(value)`. Each bijection is called to map a raw
array, and knows its inverse and log |det J| of the map from raw to constrained (nats, summed over the event).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import diag, softplus

if TYPE_CHECKING:
    from dgmppl.ir.types import Support


@dataclass(frozen=True)
class Bijection:
    """x = forward(y), y in R^n, x in a support.

    Attributes:
        forward: y [.., *raw event] -> x [.., *event].
        inverse: x -> y.
        log_det: y -> log |det dx/dy|, [..].
        event_rank: axes of one event of x that belong together; 0 for elementwise maps.
        raw_shape: shape of x -> shape of y.
    """

    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    log_det: Callable[[Array], Array]
    event_rank: int = 0
    raw_shape: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple

    def __call__(self, y: Array) -> Array:
        """The constrained value of a raw array."""
        return self.forward(y)


# ---- elementwise ----------------------------------------------------------------------------------------------------


def _identity(y: Array) -> Array:
    return y


def _log_sigmoid_derivative(y: Array) -> Array:
    return -softplus(-y) - softplus(y)


def _logit(x: Array) -> Array:
    return jnp.log(x) - jnp.log1p(-x)


def interval(low: Array | float | None, high: Array | float | None) -> Bijection:
    """low + (high - low) sigmoid(y); with one bound open, low + e^y or high - e^y.

    Bounds that are arrays have the shape of y, or one that is broadcast to it.
    """
    if low is None and high is None:
        return real
    if high is None:
        return Bijection(lambda y: low + jnp.exp(y), lambda x: jnp.log(x - low), _identity)
    if low is None:
        return Bijection(lambda y: high - jnp.exp(y), lambda x: jnp.log(high - x), _identity)
    width = high - low
    log_width = jnp.log(width) if isinstance(width, Array) else math.log(width)
    return Bijection(
        lambda y: low + width * jax.nn.sigmoid(y),
        lambda x: _logit((x - low) / width),
        lambda y: log_width + _log_sigmoid_derivative(y),
    )


real = Bijection(_identity, _identity, jnp.zeros_like)
positive = Bijection(jnp.exp, jnp.log, _identity)
nonnegative = positive
unit = Bijection(jax.nn.sigmoid, _logit, _log_sigmoid_derivative)
circular = interval(-math.pi, math.pi)


# ---- vectors --------------------------------------------------------------------------------------------------------


def _stick(y: Array) -> tuple[Array, Array]:
    """Logits of the broken fractions, y_k - log(K - k), and the log of what is left of the stick before each break."""
    count = y.shape[-1]
    z = y - jnp.log(jnp.arange(count, 0, -1, dtype=y.dtype))
    left = jnp.cumsum(-softplus(z), -1)
    return z, jnp.concatenate([jnp.zeros_like(left[..., :1]), left[..., :-1]], -1)


def _simplex(y: Array) -> Array:
    """x_k = z_k prod_{j < k} (1 - z_j), z_k = sigmoid(y_k - log(K - k)); equal parts at y = 0."""
    z, left = _stick(y)
    last = left[..., -1:] - softplus(z[..., -1:])
    return jnp.exp(jnp.concatenate([left - softplus(-z), last], -1))


def _simplex_inverse(x: Array) -> Array:
    count = x.shape[-1] - 1
    left = 1.0 - jnp.cumsum(x, -1)[..., :-1]
    return jnp.log(x[..., :-1]) - jnp.log(left) + jnp.log(jnp.arange(count, 0, -1, dtype=x.dtype))


def _simplex_log_det(y: Array) -> Array:
    z, left = _stick(y)
    return (left - softplus(-z) - softplus(z)).sum(-1)


def _ordered(y: Array) -> Array:
    """x_1 = y_1, x_k = x_{k-1} + e^{y_k}."""
    return jnp.cumsum(jnp.concatenate([y[..., :1], jnp.exp(y[..., 1:])], -1), -1)


def _ordered_inverse(x: Array) -> Array:
    return jnp.concatenate([x[..., :1], jnp.log(jnp.diff(x, axis=-1))], -1)


def _positive_ordered(y: Array) -> Array:
    return jnp.cumsum(jnp.exp(y), -1)


def _positive_ordered_inverse(x: Array) -> Array:
    return jnp.log(jnp.concatenate([x[..., :1], jnp.diff(x, axis=-1)], -1))


simplex = Bijection(_simplex, _simplex_inverse, _simplex_log_det, 1, lambda shape: (*shape[:-1], shape[-1] - 1))
ordered = Bijection(_ordered, _ordered_inverse, lambda y: y[..., 1:].sum(-1), 1)
positive_ordered = Bijection(_positive_ordered, _positive_ordered_inverse, lambda y: y.sum(-1), 1)


# ---- matrices -------------------------------------------------------------------------------------------------------


def _side(count: int, diagonal: bool) -> int:
    """n of the n (n + 1) / 2 entries of a lower triangle, or n (n - 1) / 2 without its diagonal."""
    root = (math.isqrt(8 * count + 1) - 1) // 2
    return root if diagonal else root + 1


def _places(size: int, diagonal: bool) -> Array:
    """Flat positions of a lower triangle's entries in row-major order."""
    rows, columns = jnp.tril_indices(size, 0 if diagonal else -1)
    return rows * size + columns


def _lower(y: Array, diagonal: bool) -> Array:
    """The lower triangular matrix of its entries in row-major order."""
    size = _side(y.shape[-1], diagonal)
    flat = jnp.zeros((*y.shape[:-1], size * size), y.dtype).at[..., _places(size, diagonal)].set(y)
    return flat.reshape(*y.shape[:-1], size, size)


def _entries(matrix: Array, diagonal: bool) -> Array:
    """The lower triangle's entries in row-major order."""
    return matrix.reshape(*matrix.shape[:-2], -1)[..., _places(matrix.shape[-1], diagonal)]


def _diagonal(matrix: Array) -> Array:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _cholesky(y: Array) -> Array:
    """Lower triangle in row-major order, exp on the diagonal."""
    matrix = _lower(y, True)
    diagonal = _diagonal(matrix)
    return matrix + diag(jnp.exp(diagonal) - diagonal)


def _cholesky_inverse(x: Array) -> Array:
    diagonal = _diagonal(x)
    return _entries(x + diag(jnp.log(diagonal) - diagonal), True)


def _cholesky_log_det(y: Array) -> Array:
    return _diagonal(_lower(y, True)).sum(-1)


def _positive_definite(y: Array) -> Array:
    root = _cholesky(y)
    return root @ root.mT


def _positive_definite_log_det(y: Array) -> Array:
    """log det of y -> L -> L L^T; the second map has 2^n prod_k L_kk^(n - k + 1), k counted from 1."""
    logs = _diagonal(_lower(y, True))
    size = logs.shape[-1]
    return size * math.log(2.0) + (logs * (jnp.arange(size, 0, -1, dtype=y.dtype) + 1.0)).sum(-1)


def _partial(y: Array) -> tuple[Array, Array]:
    """Partial correlations tanh(y), and half the log of what each row has left before each of them."""
    z = jnp.tanh(_lower(y, False))
    logs = 0.5 * jnp.log1p(-z * z)
    return z, jnp.cumsum(logs, -1) - logs


def _correlation(y: Array) -> Array:
    """The Cholesky factor of a correlation matrix: rows of unit length (Lewandowski, Kurowicka and Joe 2009)."""
    z, left = _partial(y)
    return (z + jnp.eye(z.shape[-1], dtype=z.dtype)) * jnp.exp(left)


def _correlation_inverse(x: Array) -> Array:
    lower = jnp.tril(x, -1)
    left = 1.0 - (jnp.cumsum(lower * lower, -1) - lower * lower)
    z = lower / jnp.sqrt(left)
    return _entries(jnp.arctanh(z), False)


def _correlation_log_det(y: Array) -> Array:
    z, left = _partial(y)
    return (jnp.log1p(-z * z) + jnp.tril(left, -1)).sum((-2, -1))


def _orthogonal(y: Array) -> Array:
    """The Cayley map (I - A)(I + A)^-1 of the skew matrix A: rotations without the eigenvalue -1."""
    matrix = _lower(y, False)
    skew = matrix - matrix.mT
    eye = jnp.eye(skew.shape[-1], dtype=skew.dtype)
    return jnp.linalg.solve(eye + skew, eye - skew)


def _orthogonal_inverse(x: Array) -> Array:
    eye = jnp.eye(x.shape[-1], dtype=x.dtype)
    return _entries(jnp.linalg.solve(eye + x, eye - x), False)


def _orthogonal_log_det(y: Array) -> Array:
    """With respect to the invariant volume X^T dX: n (n - 1) / 2 log 2 - (n - 1) log det(I + A)."""
    matrix = _lower(y, False)
    size = matrix.shape[-1]
    log_det = jnp.linalg.slogdet(jnp.eye(matrix.shape[-1], dtype=matrix.dtype) + matrix - matrix.mT)[1]
    return size * (size - 1) / 2 * math.log(2.0) - (size - 1) * log_det


def _triangle_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


def _strict_triangle_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


cholesky = Bijection(_cholesky, _cholesky_inverse, _cholesky_log_det, 2, _triangle_shape)
positive_definite = Bijection(
    _positive_definite,
    lambda x: _cholesky_inverse(jnp.linalg.cholesky(x)),
    _positive_definite_log_det,
    2,
    _triangle_shape,
)
correlation_cholesky = Bijection(_correlation, _correlation_inverse, _correlation_log_det, 2, _strict_triangle_shape)
orthogonal = Bijection(_orthogonal, _orthogonal_inverse, _orthogonal_log_det, 2, _strict_triangle_shape)

BIJECTIONS = {
    "real": real, "positive": positive, "nonnegative": nonnegative, "unit": unit, "circular": circular,
    "simplex": simplex, "ordered": ordered, "positive_ordered": positive_ordered, "cholesky": cholesky,
    "correlation_cholesky": correlation_cholesky, "positive_definite": positive_definite, "orthogonal": orthogonal,
}  # fmt: skip


def of(support: Support) -> Bijection:
    """The bijection onto a support.

    Args:
        support: its kind, and the bounds of an interval.
    """
    return interval(support.low, support.high) if support.kind == "interval" else BIJECTIONS[support.kind]


def forward(support: Support, raw: Array) -> Array:
    """The constrained value of a raw array."""
    return of(support).forward(raw)


def inverse(support: Support, value: Array) -> Array:
    """The raw array of a constrained value."""
    return of(support).inverse(value)


def log_abs_det(support: Support, raw: Array) -> Array:
    """log |det d value / d raw| of each event, nats."""
    return of(support).log_det(raw)

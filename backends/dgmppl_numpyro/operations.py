"""Primitives of emitted functions that JAX has no single call for.

Values are laid out `[batch..., *event]`; whatever is indexed counts from the right, so that more batch axes may stand
on the left. `like` is an array whose dtype new arrays take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array


def matvec(matrix: Array, vector: Array) -> Array:
    """Matrix [.., i, j] times vector [.., j]: [.., i]."""
    if matrix.ndim == 2:
        return vector @ matrix.T
    return (matrix @ vector[..., None])[..., 0]


def vecmat(vector: Array, matrix: Array) -> Array:
    """Vector [.., i] times matrix [.., i, j]: [.., j]."""
    if matrix.ndim == 2:
        return vector @ matrix
    return (vector[..., None, :] @ matrix)[..., 0, :]


def dot(x: Array, y: Array) -> Array:
    """sum_i x_i y_i over the last axis."""
    return (x * y).sum(-1)


def diag(x: Array) -> Array:
    """Diagonal matrices [.., n, n] of vectors [.., n]."""
    return x[..., None] * jnp.eye(x.shape[-1], dtype=x.dtype)


def broadcast(x: Array | float, shape: tuple[int, ...]) -> Array:
    """The last axes broadcast to `shape`."""
    return jnp.broadcast_to(x, jnp.broadcast_shapes(jnp.shape(x), shape))


def flatten(x: Array, rank: int) -> Array:
    """The last `rank` axes as one."""
    return x.reshape(*x.shape[: x.ndim - rank], math.prod(x.shape[x.ndim - rank :]))


def concatenate(parts: Sequence[Array], axis: int) -> Array:
    """Parts joined along `axis` (negative), the axes left of it broadcast against each other."""
    batch = jnp.broadcast_shapes(*(part.shape[:axis] for part in parts))
    return jnp.concatenate([jnp.broadcast_to(part, batch + part.shape[axis:]) for part in parts], axis)


def stack(parts: Sequence[Array | float], axis: int) -> Array:
    """Parts broadcast against each other and joined along a new axis that becomes `axis` (negative)."""
    return jnp.stack(jnp.broadcast_arrays(*parts), axis)


def stack_broadcast(parts: Sequence[Array]) -> Array:
    """Parts broadcast against each other, on a new last axis."""
    return jnp.stack(jnp.broadcast_arrays(*parts), -1)


def permute(x: Array, order: tuple[int, ...], axis: int) -> Array:
    """The elements along `axis` (negative) in another order."""
    return jnp.take(x, jnp.array(order), axis)


def choose(x: Array, index: Array) -> Array:
    """x[..., index] by an integer for each of the axes left of the last: [.., K], [..] -> [..]."""
    shape = jnp.broadcast_shapes(x.shape[:-1], index.shape)
    places = jnp.broadcast_to(index, shape)[..., None]
    return jnp.take_along_axis(jnp.broadcast_to(x, (*shape, x.shape[-1])), places, -1)[..., 0]


def inverse(x: Array) -> Array:
    """The inverse of a positive definite matrix."""
    return jnp.linalg.inv(x)


def take(table: Array, index: Array, rank: int) -> Array:
    """Elements of tables [batch.., n, *rest] at indices [batch..]: [batch.., *rest]; `rank` is 1 + the rank of rest."""
    places = index.astype(int).reshape(index.shape + (1,) * rank)
    missing = places.ndim - table.ndim
    table = table.reshape((1,) * max(missing, 0) + table.shape)
    places = places.reshape((1,) * max(-missing, 0) + places.shape)
    return jnp.take_along_axis(table, places, axis=-rank).squeeze(-rank)


def filled(x: Array, observed: Array, entries: Array) -> Array:
    """x where it is observed; its gaps take `entries` [M], one after the other in row-major order."""
    places = jnp.cumsum(~observed).reshape(observed.shape) - 1
    return jnp.where(observed, x, entries[places])


def one_hot(x: Array, size: int, like: Array) -> Array:
    """Indicator vectors [.., size] of integers."""
    return (x[..., None] == jnp.arange(size)).astype(like.dtype)


def arange(size: int, trailing: int, like: Array) -> Array:
    """0, ..., size - 1 followed by `trailing` axes of size one."""
    del like
    return jnp.arange(size).reshape((size,) + (1,) * trailing)


def states(size: int, shape: tuple[int, ...], trailing: int, like: Array) -> Array:
    """All values of an event of `shape` whose elements take `size` values: [size ** n, 1 * trailing, *shape]."""
    del like
    count = math.prod(shape)
    powers = size ** jnp.arange(count - 1, -1, -1)
    table = jnp.arange(size**count)[:, None] // powers % size
    return table.reshape((size**count,) + (1,) * trailing + shape)


def joint_states(sizes: tuple[int, ...], trailing: int, like: Array) -> Array:
    """All values of elements that take `sizes` values each, the last fastest: [number, 1 * trailing, elements]."""
    del like
    table = jnp.stack(jnp.meshgrid(*(jnp.arange(size) for size in sizes), indexing="ij"), -1)
    return table.reshape((math.prod(sizes),) + (1,) * trailing + (len(sizes),))


def simplex_points(size: int, trailing: int, like: Array) -> Array:
    """The origin, then each unit vector: [size + 1, 1 * trailing, size]."""
    points = jnp.concatenate([jnp.zeros((1, size), like.dtype), jnp.eye(size, dtype=like.dtype)])
    return points.reshape((size + 1,) + (1,) * trailing + (size,))


@jax.custom_vjp  # type: ignore[untyped-decorator]
def scale_gradient(x: Array, scale: Array) -> Array:
    """x; its cotangent is multiplied by `scale`, which gets none."""
    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, jnp.shape(scale)))


def _scale_gradient_forward(x: Array, scale: Array) -> tuple[Array, tuple[Array, Array]]:
    return scale_gradient(x, scale), (x, scale)


def _scale_gradient_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, scale = saved
    return sum_to(cotangent * scale, x.shape), jnp.zeros_like(scale)


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting from `shape`: sums over the axes that were broadcast."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 != x.shape[axis])
    return x.sum(axes, keepdims=True)


scale_gradient.defvjp(_scale_gradient_forward, _scale_gradient_backward)


def logmeanexp(x: Array) -> Array:
    """log (1/K) sum_k exp(x_k) over the leftmost axis."""
    return jax.nn.logsumexp(x, 0) - math.log(x.shape[0])


def leave_one_out(x: Array) -> Array:
    """x_k - mean_{j != k} x_j along the leftmost axis, K >= 2."""
    count = x.shape[0]
    return (x - x.mean(0)) * (count / (count - 1))


def vimco(x: Array) -> Array:
    """log (1/K) sum_j exp(y_j) with y_k = mean_{j != k} x_j and y_j = x_j elsewhere, one for each k; K >= 2.

    The baselines of Mnih and Rezende (2016): x are log-weights over the leftmost axis.
    """
    count = x.shape[0]
    others = (x.sum(0) - x) / (count - 1)
    eye = jnp.eye(count, dtype=bool).reshape((count, count) + (1,) * (x.ndim - 1))
    return jax.nn.logsumexp(jnp.where(eye, others[:, None], x[None]), 1) - math.log(count)


def linear_schedule(step: Array | int, start: float, end: float, steps: int) -> Array:
    """From `start` at step 0 linearly to `end` at `steps`, constant afterwards."""
    return start + (end - start) * jnp.minimum(step / steps, 1.0)


def clip(x: Array, low: Array | float, high: Array | float) -> Array:
    """x forced into [low, high]."""
    return jnp.minimum(jnp.maximum(x, low), high)


def maximum(x: Array | float, y: Array | float) -> Array:
    """The larger of the two."""
    return jnp.maximum(x, y)


def minimum(x: Array | float, y: Array | float) -> Array:
    """The smaller of the two."""
    return jnp.minimum(x, y)


def softplus(x: Array) -> Array:
    """log(1 + e^x), exact to rounding for every x."""
    return jnp.logaddexp(x, 0.0)


def cholesky(matrix: Array) -> Array:
    """The lower triangular L with L L^T = matrix [.., n, n]; NaN where it is not positive definite to rounding."""
    return jnp.linalg.cholesky(matrix)


def rbf(x: Array, rank: int) -> Array:
    """exp(-|x_i - x_j|^2 / 2) [.., n, n] of points [.., n] (rank 1) or [.., n, d] (rank 2)."""
    points = x[..., None] if rank == 1 else x
    gaps = points[..., :, None, :] - points[..., None, :, :]
    return jnp.exp(-0.5 * (gaps * gaps).sum(-1))


def precision_root(precision: Array) -> Array:
    """The lower Cholesky factor of a precision matrix's inverse."""
    flipped = jnp.linalg.cholesky(jnp.flip(precision, (-2, -1)))
    upper = jnp.swapaxes(jnp.flip(flipped, (-2, -1)), -2, -1)
    identity = jnp.broadcast_to(jnp.eye(precision.shape[-1], dtype=precision.dtype), precision.shape)
    return jax.scipy.linalg.solve_triangular(upper, identity, lower=True)


def checked(x: Array, support: str) -> Array:
    """x where it lies in the support, NaN elsewhere: the run's check of finite values then stops there."""
    return jnp.where(INSIDE[support](x), x, jnp.nan)


# Sums and products of single precision are this far from what they stand for.
_CLOSE = 1e-4


def _rises(x: Array) -> Array:
    return (jnp.diff(x) > 0).all(-1)[..., None]


def _sums_to_one(x: Array) -> Array:
    return ((x >= 0).all(-1) & (jnp.abs(x.sum(-1) - 1) < _CLOSE))[..., None] if x.ndim else x == 1


def _is_factor(x: Array) -> Array:
    upper = (jnp.triu(x, 1) == 0).all((-1, -2))
    return (upper & (jnp.diagonal(x, axis1=-2, axis2=-1) > 0).all(-1))[..., None, None]


def _has_unit_rows(x: Array) -> Array:
    return (jnp.abs((x**2).sum(-1) - 1) < _CLOSE).all(-1)[..., None, None]


def _is_definite(x: Array) -> Array:
    even = (jnp.abs(x - x.mT) <= _CLOSE * (1 + jnp.abs(x))).all((-1, -2))
    return (even & jnp.isfinite(jnp.linalg.cholesky(x)).all((-1, -2)))[..., None, None]


def _is_orthogonal(x: Array) -> Array:
    return (jnp.abs(x.mT @ x - jnp.eye(x.shape[-1], dtype=x.dtype)) < _CLOSE).all((-1, -2))[..., None, None]


INSIDE: dict[str, Callable[[Array], Array]] = {
    "real": jnp.isfinite,
    "positive": lambda x: x > 0,
    "nonnegative": lambda x: x >= 0,
    "unit": lambda x: (x >= 0) & (x <= 1),
    "circular": lambda x: jnp.abs(x) <= math.pi,
    "binary": lambda x: (x == 0) | (x == 1),
    "count": lambda x: (x >= 0) & (x == jnp.floor(x)),
    "integer": lambda x: x == jnp.floor(x),
    "simplex": _sums_to_one,
    "ordered": _rises,
    "positive_ordered": lambda x: _rises(x) & (x[..., :1] > 0),
    "cholesky": _is_factor,
    "correlation_cholesky": lambda x: _is_factor(x) & _has_unit_rows(x),
    "positive_definite": _is_definite,
    "orthogonal": _is_orthogonal,
}

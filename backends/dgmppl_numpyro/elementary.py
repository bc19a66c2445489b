"""Functions of arrays or Python numbers, on which the densities are built."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

Real: TypeAlias = "Array | float"


def log(x: Real) -> Any:
    """Natural logarithm."""
    return math.log(x) if isinstance(x, int | float) else jnp.log(x)


def exp(x: Real) -> Any:
    """e^x."""
    return math.exp(x) if isinstance(x, int | float) else jnp.exp(x)


def lgamma(x: Real) -> Any:
    """log Gamma(x)."""
    return math.lgamma(x) if isinstance(x, int | float) else jax.scipy.special.gammaln(x)


def digamma(x: Real) -> Any:
    """The derivative of log Gamma."""
    return jax.scipy.special.digamma(x)


def log_bessel(x: Real) -> Any:
    """log I_0(x), x >= 0."""
    return jnp.log(jax.scipy.special.i0e(x)) + x


def log_beta(a: Real, b: Real) -> Real:
    """log B(a, b)."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def real_of(x: Real, like: Real) -> Array:
    """x as a real array of the dtype of `like`, where that is one."""
    if isinstance(like, int | float):
        return jnp.asarray(x, jnp.result_type(x, float))
    real = jnp.issubdtype(like.dtype, jnp.floating)
    return jnp.asarray(x, like.dtype if real else jnp.result_type(x, float))


def real_pair(x: Real, y: Real) -> tuple[Array, Array]:
    """Both as real arrays of one dtype."""
    x = real_of(x, y)
    return x, real_of(y, x)


def _real_like(like: Real, other: Real) -> Real:
    """Whichever of the two is a real array; JAX differentiates no function of an integer one."""
    if not isinstance(like, int | float) and jnp.issubdtype(like.dtype, jnp.floating):
        return like
    return other


def xlogy(x: Real, y: Real, like: Real) -> Array:
    """x log y, 0 where x = 0; `like` is an array among them."""
    return jax.scipy.special.xlogy(real_of(x, _real_like(like, y)), real_of(y, _real_like(like, x)))


def xlog1py(x: Real, y: Real, like: Real) -> Array:
    """x log(1 + y), 0 where x = 0; `like` is an array among them."""
    return jax.scipy.special.xlog1py(real_of(x, _real_like(like, y)), real_of(y, _real_like(like, x)))


def log_choose(n: Real, k: Array, like: Array) -> Array:
    """log of the binomial coefficient n over k."""
    k = real_of(k, like)
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)


def log1mexp(x: Real, like: Array) -> Array:
    """log(1 - e^-x) for x > 0."""
    x = real_of(x, like)
    return jnp.where(x < math.log(2.0), jnp.log(-jnp.expm1(-x)), jnp.log1p(-jnp.exp(-x)))


def log_softmax(logits: Array) -> Array:
    """logits - logsumexp(logits) over the last axis."""
    return jax.nn.log_softmax(logits, -1)


def pick(table: Array, index: Array) -> Array:
    """table[..., index] along the last axis, batch axes broadcast."""
    index = index.astype(int)
    if table.ndim == 1:
        return table[index]
    shape = jnp.broadcast_shapes(table.shape[:-1], index.shape)
    table, index = jnp.broadcast_to(table, shape + table.shape[-1:]), jnp.broadcast_to(index, shape)
    return jnp.take_along_axis(table, index[..., None], -1).squeeze(-1)


def identity(like: Array) -> Array:
    """The identity matrix whose size is the last axis of `like`."""
    return jnp.eye(like.shape[-1], dtype=like.dtype)


def log_diagonal(root: Array) -> Array:
    """Sum of the logarithms of a triangular matrix's diagonal: half the log-determinant of L L^T."""
    return jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(-1)


def solve_lower(root: Array, x: Array) -> Array:
    """L^-1 x over the last axis."""
    return solve_lower_matrix(root, x[..., None])[..., 0]


def solve_lower_matrix(root: Array, x: Array) -> Array:
    """L^-1 X for matrices, batch axes broadcast."""
    batch = jnp.broadcast_shapes(root.shape[:-2], x.shape[:-2])
    root, x = jnp.broadcast_to(root, batch + root.shape[-2:]), jnp.broadcast_to(x, batch + x.shape[-2:])
    return jax.scipy.linalg.solve_triangular(root, x, lower=True)

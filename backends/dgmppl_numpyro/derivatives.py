"""Derivatives of a density's logarithm (or of an energy, or a critic) by its argument."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

Scalar = Callable[[Array], Array]


def gradient(function: Scalar, x: Array, rank: int) -> Array:
    """d f / d x at each of a batch of points, shaped like x; itself differentiable by parameters.

    Args:
        function: x [.., *event] -> [..]; no number depends on another event.
        x: the points.
        rank: axes of an event.
    """
    del rank
    return jax.grad(lambda point: function(point).sum())(x)


def directional(function: Scalar, x: Array, v: Array, rank: int) -> tuple[Array, Array]:
    """v . grad f and v^T Hessian v, one number per event (Song et al. 2020, Sliced score matching).

    v may have further axes on the left: several directions at each point.
    """
    x = jnp.broadcast_to(x, v.shape)
    first, second = jax.jvp(lambda point: gradient(function, point, rank), (x,), (v,))
    axes = tuple(range(-rank, 0))
    return (v * first).sum(axes), (v * second).sum(axes)


def laplacian(function: Scalar, x: Array, rank: int) -> tuple[Array, Array]:
    """grad f, shaped like x, and the trace of the Hessian, one number per event: one pass per element."""
    size = math.prod(x.shape[x.ndim - rank :])
    basis = jnp.eye(size, dtype=x.dtype).reshape(size, *x.shape[x.ndim - rank :])

    def along(direction: Array) -> Array:
        return directional(function, x, jnp.broadcast_to(direction, x.shape), rank)[1]

    return gradient(function, x, rank), jax.vmap(along)(basis).sum(0)

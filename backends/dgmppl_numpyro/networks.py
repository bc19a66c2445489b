"""Parts of emitted networks."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import diag, softplus


class Linear(eqx.Module):  # type: ignore[misc]
    """x W^T + b over the last axis, for any batch axes on the left.

    Attributes:
        weight: W, [out, in], torch's layout.
        bias: b, [out]; None where there is none.
    """

    weight: Array
    bias: Array | None

    def __init__(self, inputs: int, outputs: int, key: Array, *, bias: bool = True) -> None:
        """Both uniform in +-1/sqrt(in), as torch draws them."""
        weight_key, bias_key = jax.random.split(key)
        bound = 1.0 / math.sqrt(max(inputs, 1))
        self.weight = jax.random.uniform(weight_key, (outputs, inputs), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound) if bias else None

    def __call__(self, x: Array) -> Array:
        """[.., in] -> [.., out]."""
        h = x @ self.weight.T
        return h if self.bias is None else h + self.bias


class LayerNorm(eqx.Module):  # type: ignore[misc]
    """(x - mean) / sqrt(var + 1e-5) over the last axis, scaled and shifted (Ba et al. 2016).

    Attributes:
        weight, bias: [width], one and zero at the start.
    """

    weight: Array
    bias: Array

    def __init__(self, width: int) -> None:
        self.weight = jnp.ones(width)
        self.bias = jnp.zeros(width)

    def __call__(self, x: Array) -> Array:
        """[.., width] -> [.., width]."""
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
        return centred * scale * self.weight + self.bias


def positive(x: Array) -> Array:
    """softplus(x) + 1e-6: a head on the positive reals, away from zero."""
    return softplus(x) + 1e-6


def scale_tril(x: Array) -> Array:
    """A lower triangular matrix with a positive diagonal from any square one [.., n, n]."""
    diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)
    return jnp.tril(x, -1) + diag(positive(diagonal))

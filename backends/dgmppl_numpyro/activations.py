"""Activations by their names in specs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import softplus


def gelu(x: Array) -> Array:
    """x Phi(x), with the exact normal distribution function (Hendrycks and Gimpel 2016)."""
    return jax.nn.gelu(x, approximate=False)


def leaky_relu(x: Array) -> Array:
    """x where it is positive, else x / 100."""
    return jax.nn.leaky_relu(x, 0.01)


ACTIVATIONS = dict[str, Callable[[Array], Array]](
    relu=jax.nn.relu, tanh=jnp.tanh, silu=jax.nn.silu, gelu=gelu, elu=jax.nn.elu,
    softplus=softplus, leaky_relu=leaky_relu, sigmoid=jax.nn.sigmoid,
)  # fmt: skip

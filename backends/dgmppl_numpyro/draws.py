"""Random numbers, and samples as functions of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import one_hot

Axes = tuple[int | str, ...]

_STANDARD = {"normal": jax.random.normal, "uniform": jax.random.uniform, "gumbel": jax.random.gumbel}


def standard(
    entries: Mapping[str, tuple[str, Axes]], key: Array, sizes: Mapping[str, int], dtype: Any = None
) -> dict[str, Array]:
    """The random numbers of one call of a function.

    Args:
        entries: name -> kind (`normal`, `uniform`, `gumbel` or `library`) and axes, named ones by name.
        key: a key; each entry gets one of its own.
        sizes: length of each named axis.
        dtype: of the arrays; JAX's default where None.

    Returns:
        Arrays by name; for `library` a key, repeated over the batch axes, so that it carries their sizes.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    keys = jax.random.split(key, max(len(entries), 1))
    result = {}
    for entry_key, (name, (kind, axes)) in zip(keys, entries.items(), strict=False):
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)
        if kind == "library":
            result[name] = jnp.broadcast_to(entry_key, shape)
        else:
            result[name] = _STANDARD[kind](entry_key, shape, float if dtype is None else dtype)
    return result


def steps(keys: Array, count: int) -> Array:
    """A key for each step of a loop, [.., count], repeated over the batch axes."""
    return jnp.broadcast_to(jax.random.split(keys.reshape(-1)[0], count), (*keys.shape, count))


def batch(noise: Array, rank: int) -> tuple[int, ...]:
    """The batch axes of an entry of noise whose event has `rank` axes."""
    return tuple(noise.shape[: noise.ndim - rank])


def library(distribution: Any, keys: Array, event: tuple[int, ...]) -> Array:
    """A sample by the library's own sampler, batch axes those of `keys`, then the independent axes `event`."""
    shape = jnp.broadcast_shapes(distribution.batch_shape, keys.shape + event)
    return distribution.expand(shape).sample(keys.reshape(-1)[0])


def bernoulli_probs(probs: Array | float, uniform: Array) -> Array:
    """1 where the uniform lies below p, else 0."""
    return (uniform < probs).astype(uniform.dtype)


def bernoulli_logits(logits: Array | float, uniform: Array) -> Array:
    """1 where the uniform lies below sigmoid(l), else 0."""
    return (uniform < jax.nn.sigmoid(logits)).astype(uniform.dtype)


def categorical_logits(logits: Array, gumbel: Array) -> Array:
    """argmax_k l_k + g_k over the last axis."""
    return jnp.argmax(logits + gumbel, -1)


def categorical_probs(probs: Array, gumbel: Array) -> Array:
    """argmax_k log p_k + g_k over the last axis."""
    return jnp.argmax(jnp.log(probs) + gumbel, -1)


def one_hot_categorical_logits(logits: Array, gumbel: Array) -> Array:
    """The indicator vector of argmax_k l_k + g_k."""
    return one_hot(categorical_logits(logits, gumbel), gumbel.shape[-1], gumbel)


def one_hot_categorical_probs(probs: Array, gumbel: Array) -> Array:
    """The indicator vector of argmax_k log p_k + g_k."""
    return one_hot_categorical_logits(jnp.log(probs), gumbel)

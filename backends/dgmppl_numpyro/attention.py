"""Transformers: pre-norm blocks of attention and a feed-forward layer, written out.

    a = x + attention(norm1(x)),    y = a + second(gelu(first(norm2(a))))

with attention(x) = output(softmax(Q K^T / sqrt(d)) V) in each head (Vaswani et al. 2017; layer norms first, as in Xiong
et al. 2020). Keys have no bias: it would add the same number to all scores of a query, which softmax ignores.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.embedding import Shifted
from dgmppl_numpyro.networks import LayerNorm, Linear

KeysValues: TypeAlias = "tuple[Array, Array]"
Cache: TypeAlias = "tuple[Array | None, tuple[KeysValues, ...]]"


def attend(query: Array, key: Array, value: Array, seen: Array | None) -> Array:
    """softmax(Q K^T / sqrt(d)) V of queries [.., S, d] and keys, values [.., T, d]; `seen` [S, T]: who reads whom."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if seen is not None:
        scores = jnp.where(seen, scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ value


class Attention(eqx.Module):  # type: ignore[misc]
    """Self-attention with several heads: [.., T, width] -> [.., T, width]."""

    heads: int = eqx.field(static=True)
    query: Linear
    key: Linear
    value: Linear
    output: Linear

    def __init__(self, width: int, heads: int, key: Array) -> None:
        keys = jax.random.split(key, 4)
        self.heads = heads
        self.query = Linear(width, width, keys[0])
        self.key = Linear(width, width, keys[1], bias=False)
        self.value = Linear(width, width, keys[2])
        self.output = Linear(width, width, keys[3])

    def __call__(self, x: Array, seen: Array | None = None) -> Array:
        """Each place reads the places that `seen` [T, T] allows; all of them by default."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        return self.output(self._merge(attend(query, key, value, seen)))

    def step(self, cache: KeysValues, i: Array, x: Array) -> tuple[KeysValues, Array]:
        """Place i alone, x [.., width], given the keys and values [.., heads, T, d] of the places before it."""
        query, key, value = (self._split(layer(x[..., None, :])) for layer in (self.query, self.key, self.value))
        keys, values = _written(cache[0], key, i), _written(cache[1], value, i)
        found = attend(query, keys, values, jnp.arange(keys.shape[-2]) <= i)
        return (keys, values), self.output(self._merge(found))[..., 0, :]

    def _split(self, x: Array) -> Array:
        """[.., T, width] -> [.., heads, T, width / heads]."""
        return x.reshape(*x.shape[:-1], self.heads, -1).swapaxes(-2, -3)

    def _merge(self, x: Array) -> Array:
        x = x.swapaxes(-2, -3)
        return x.reshape(*x.shape[:-2], -1)


def _written(cache: Array, entry: Array, i: Array) -> Array:
    """The cache with the entry of place i, which may lack batch axes: the first element reads no earlier one."""
    entry = jnp.broadcast_to(entry, (*cache.shape[:-2], *entry.shape[-2:])).astype(cache.dtype)
    return jax.lax.dynamic_update_slice_in_dim(cache, entry, i, -2)


class Block(eqx.Module):  # type: ignore[misc]
    """Attention, then a feed-forward layer four times as wide; each adds to its input."""

    norm1: LayerNorm
    attention: Attention
    norm2: LayerNorm
    first: Linear
    second: Linear

    def __init__(self, width: int, heads: int, key: Array) -> None:
        keys = jax.random.split(key, 3)
        self.norm1 = LayerNorm(width)
        self.attention = Attention(width, heads, keys[0])
        self.norm2 = LayerNorm(width)
        self.first = Linear(width, 4 * width, keys[1])
        self.second = Linear(4 * width, width, keys[2])

    def __call__(self, x: Array, seen: Array | None = None) -> Array:
        """[.., T, width] -> [.., T, width]."""
        return self._feed(x + self.attention(self.norm1(x), seen))

    def step(self, cache: KeysValues, i: Array, x: Array) -> tuple[KeysValues, Array]:
        """Place i alone: [.., width] -> [.., width]."""
        cache, found = self.attention.step(cache, i, self.norm1(x))
        return cache, self._feed(x + found)

    def _feed(self, x: Array) -> Array:
        return x + self.second(jax.nn.gelu(self.first(self.norm2(x)), approximate=False))


class Transformer(eqx.Module):  # type: ignore[misc]
    """An encoder of sequences: [.., T, inputs] -> [.., T, width], every place reading every other.

    Attributes:
        positions: learned, [T, width].
    """

    embed: Linear
    positions: Array
    blocks: list[Block]
    norm: LayerNorm

    def __init__(self, length: int, inputs: int, key: Array, *, layers: int, heads: int, width: int) -> None:
        keys = jax.random.split(key, layers + 2)
        self.embed = Linear(inputs, width, keys[0])
        self.positions = jax.random.normal(keys[1], (length, width))
        self.blocks = [Block(width, heads, key) for key in keys[2:]]
        self.norm = LayerNorm(width)

    def __call__(self, x: Array) -> Array:
        """[.., T, inputs] -> [.., T, width]."""
        h = self.embed(x) + self.positions
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


class CausalTransformer(eqx.Module):  # type: ignore[misc]
    """A decoder over the D elements of an event: features i depend on the elements visited before the i-th alone.

    Attributes:
        inputs: what place i sees of element i - 1 and of the context.
        positions: learned, [D, width], in the order of the visits.
    """

    length: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)
    inputs: Shifted
    positions: Array
    blocks: list[Block]
    norm: LayerNorm

    def __init__(
        self, length: int, key: Array, *, layers: int, heads: int, width: int,
        states: int | None = None, context: int = 0,
    ) -> None:  # fmt: skip
        """Args: `states` of an integer element, None for other numbers; the flattened `context`'s width."""
        keys = jax.random.split(key, layers + 2)
        self.length, self.heads = length, heads
        self.inputs = Shifted(width, states, context, keys[0])
        self.positions = jax.random.normal(keys[1], (length, width))
        self.blocks = [Block(width, heads, key) for key in keys[2:]]
        self.norm = LayerNorm(width)

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        h = self.inputs(x, context) + self.positions
        seen = jnp.tril(jnp.ones((self.length, self.length), bool))
        for block in self.blocks:
            h = block(h, seen)
        return self.norm(h)

    def start(self, batch: tuple[int, ...], context: Array | None = None) -> Cache:
        """The context's contribution, and keys and values [.., heads, D, width / heads] of each block."""
        batch, given = self.inputs.start(batch, context)
        shape = (*batch, self.heads, self.length, self.positions.shape[-1] // self.heads)
        empty = jnp.zeros(shape, self.positions.dtype)
        return given, tuple((empty, empty) for _ in self.blocks)

    def step(self, cache: Cache, i: Array, previous: Array) -> tuple[Cache, Array]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, blocks = cache
        h, new = self.inputs.step(given, i, previous) + self.positions[i], []
        for block, entry in zip(self.blocks, blocks, strict=True):
            entry, h = block.step(entry, i, h)
            new.append(entry)
        return (given, tuple(new)), self.norm(h)

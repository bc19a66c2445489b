"""Gated recurrent units (Cho et al. 2014), torch's variant and parameters.

r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),   z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + r (W_hn h + b_hn)),   h' = (1 - z) n + z h
"""

from __future__ import annotations

import math
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.embedding import Shifted

Cache: TypeAlias = "tuple[Array | None, Array]"


class Recurrence(eqx.Module):  # type: ignore[misc]
    """The states of a GRU that starts at zero: [.., T, inputs] -> [.., T, width].

    Attributes:
        weight_ih: [3 width, inputs], the gates r, z, n below each other.
        weight_hh: [3 width, width].
        bias_ih, bias_hh: [3 width].
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array

    def __init__(self, inputs: int, width: int, key: Array) -> None:
        """All uniform in +-1/sqrt(width), as torch draws them."""
        keys, bound = jax.random.split(key, 4), 1.0 / math.sqrt(width)
        self.weight_ih = jax.random.uniform(keys[0], (3 * width, inputs), minval=-bound, maxval=bound)
        self.weight_hh = jax.random.uniform(keys[1], (3 * width, width), minval=-bound, maxval=bound)
        self.bias_ih = jax.random.uniform(keys[2], (3 * width,), minval=-bound, maxval=bound)
        self.bias_hh = jax.random.uniform(keys[3], (3 * width,), minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        """All states, in the sequence's order."""
        entered = jnp.moveaxis(x @ self.weight_ih.T + self.bias_ih, -2, 0)
        start = jnp.zeros((*x.shape[:-2], self.weight_hh.shape[-1]), entered.dtype)
        _, states = jax.lax.scan(lambda h, entry: (self._next(h, entry),) * 2, start, entered)
        return jnp.moveaxis(states, 0, -2)

    def step(self, h: Array, x: Array) -> Array:
        """The next state [.., width] from the present one and an input [.., inputs]."""
        return self._next(h, x @ self.weight_ih.T + self.bias_ih)

    def _next(self, h: Array, entered: Array) -> Array:
        reset, update, new = jnp.split(entered, 3, -1)
        reset_h, update_h, new_h = jnp.split(h @ self.weight_hh.T + self.bias_hh, 3, -1)
        update = jax.nn.sigmoid(update + update_h)
        candidate = jnp.tanh(new + jax.nn.sigmoid(reset + reset_h) * new_h)
        return (1.0 - update) * candidate + update * h


class GRU(eqx.Module):  # type: ignore[misc]
    """A sequence to a sequence, [.., T, inputs] -> [.., T, width]: each place reads itself and those on one side."""

    backward: bool = eqx.field(static=True)
    recurrence: Recurrence

    def __init__(self, inputs: int, key: Array, *, width: int, direction: str = "forward") -> None:
        self.backward = direction == "backward"
        self.recurrence = Recurrence(inputs, width, key)

    def __call__(self, x: Array) -> Array:
        """[.., T, inputs] -> [.., T, width]."""
        return jnp.flip(self.recurrence(jnp.flip(x, -2)), -2) if self.backward else self.recurrence(x)


class CausalGRU(eqx.Module):  # type: ignore[misc]
    """A GRU over the D elements of an event: features i depend on the elements visited before the i-th alone.

    Attributes:
        inputs: what place i sees of element i - 1 and of the context.
    """

    inputs: Shifted
    recurrence: Recurrence

    def __init__(self, key: Array, *, width: int, states: int | None = None, context: int = 0) -> None:
        """Args: `states` of an integer element, None for other numbers; the flattened `context`'s width."""
        keys = jax.random.split(key)
        self.inputs = Shifted(width, states, context, keys[0])
        self.recurrence = Recurrence(width, width, keys[1])

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        return self.recurrence(self.inputs(x, context))

    def start(self, batch: tuple[int, ...], context: Array | None = None) -> Cache:
        """The context's contribution and the first state, zero."""
        batch, given = self.inputs.start(batch, context)
        weight = self.recurrence.weight_hh
        return given, jnp.zeros((*batch, weight.shape[-1]), weight.dtype)

    def step(self, cache: Cache, i: Array, previous: Array) -> tuple[Cache, Array]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, h = cache
        h = self.recurrence.step(h, self.inputs.step(given, i, previous))
        return (given, h), h

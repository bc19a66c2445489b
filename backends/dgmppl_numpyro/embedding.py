"""Numbers, integers and times as vectors."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.networks import Linear


def sinusoidal(t: Array, width: int) -> Array:
    """Features sin(1000 t w_j), cos(1000 t w_j) with w_j = 10000^(-2j / width) of times t in [0, 1]: [.., width].

    Vaswani et al. (2017), section 3.5, on the thousand steps of Ho et al. (2020).
    """
    half = width // 2
    exponents = jnp.arange(half, dtype=t.dtype) / half
    angles = 1000.0 * t[..., None] * jnp.exp(-math.log(10000.0) * exponents)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class TimeEmbedding(eqx.Module):  # type: ignore[misc]
    """Sinusoidal features of a time, followed by two linear layers with silu between them: [..] -> [.., width]."""

    width: int = eqx.field(static=True)
    first: Linear
    second: Linear

    def __init__(self, width: int, key: Array) -> None:
        keys = jax.random.split(key)
        self.width = width
        self.first = Linear(width, width, keys[0])
        self.second = Linear(width, width, keys[1])

    def __call__(self, t: Array) -> Array:
        """Times [..] -> [.., width]."""
        features = sinusoidal(t.astype(self.first.weight.dtype), self.width)
        return self.second(jax.nn.silu(self.first(features)))


class Embedding(eqx.Module):  # type: ignore[misc]
    """Rows of a table by integers: [..] -> [.., width].

    Attributes:
        weight: [states, width], standard normal at the start, as torch draws it.
    """

    weight: Array

    def __init__(self, states: int, width: int, key: Array) -> None:
        self.weight = jax.random.normal(key, (states, width))

    def __call__(self, x: Array) -> Array:
        """Integers, whatever their dtype."""
        return self.weight[x.astype(int)]


class Scalars(eqx.Module):  # type: ignore[misc]
    """Each number by itself through one linear layer: [..] -> [.., width]."""

    linear: Linear

    def __init__(self, width: int, key: Array) -> None:
        self.linear = Linear(1, width, key)

    def __call__(self, x: Array) -> Array:
        """Numbers; integers and truth values are made real."""
        return self.linear(x.astype(self.linear.weight.dtype)[..., None])


class Shifted(eqx.Module):  # type: ignore[misc]
    """What each place of a sequence may see of the element before it, and the context: [.., D] -> [.., D, width].

    Place i gets the vector of element i - 1, place 0 a learned start vector, and each the same map of the context.

    Attributes:
        embed: `Embedding` for integers of so many states, `Scalars` for other numbers.
        first: the start vector [width].
        context: the affine map of the context, None where there is none.
    """

    embed: Embedding | Scalars
    first: Array
    context: Linear | None

    def __init__(self, width: int, states: int | None, context: int, key: Array) -> None:
        keys = jax.random.split(key, 3)
        self.embed = Scalars(width, keys[0]) if states is None else Embedding(states, width, keys[0])
        self.first = jax.random.normal(keys[1], (width,))
        self.context = Linear(context, width, keys[2]) if context else None

    def __call__(self, x: Array, context: Array | None) -> Array:
        """Elements [.., D] in the order of the visits and context [.., C]."""
        first = jnp.broadcast_to(self.first, (*x.shape[:-1], 1, *self.first.shape))
        h = jnp.concatenate([first, self.embed(x[..., :-1])], -2)
        given = self.given(context)
        return h if given is None else h + given[..., None, :]

    def start(self, batch: tuple[int, ...], context: Array | None) -> tuple[tuple[int, ...], Array | None]:
        """The batch axes of both, and the context's contribution to every place."""
        given = self.given(context)
        return batch if given is None else jnp.broadcast_shapes(batch, given.shape[:-1]), given

    def given(self, context: Array | None) -> Array | None:
        """The context's contribution to every place, [.., width]; None where there is none."""
        return None if self.context is None or context is None else self.context(context)

    def step(self, given: Array | None, i: Array, previous: Array) -> Array:
        """Place i alone: the vector of the element before it, [..] -> [.., width]."""
        h = jnp.where(i == 0, self.first, self.embed(previous))
        return h if given is None else h + given

"""Parts of emitted causal networks: output i reads only the elements visited before the i-th.

`__call__` maps all elements at once; `units` and `fill` go element by element and compute every unit once, when the
last element that it sees has come. Positions are counted in the order in which elements are visited.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


class MaskedLinear(eqx.Module):  # type: ignore[misc]
    """(W * M) x + b with M_jk = [degree of input k <= degree of output j] (Germain et al. 2015, section 4).

    Degrees spread over a range evenly, unit k of n has degree first + floor(k (stop - first) / n): units are sorted by
    degree, and those of one degree lie next to each other. Context is the first of the inputs and is never masked.

    Attributes:
        weight: W, [out, context + in].
        bias: b, [out].
        seen, degrees: ranges (first, stop) of the degrees of inputs and outputs.
        context: width of the context.
    """

    weight: Array
    bias: Array
    seen: tuple[int, int] = eqx.field(static=True)
    degrees: tuple[int, int] = eqx.field(static=True)
    context: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, seen: tuple[int, int], degrees: tuple[int, int], context: int, key: Array
    ) -> None:
        """Weight and bias uniform in +-1/sqrt(context + in).

        Args:
            inputs: how many units come in, without the context.
            outputs: how many units go out.
            seen: (first, stop), the range of the inputs' degrees.
            degrees: (first, stop), the range of the outputs' degrees.
            context: width of the context.
            key: of the start values.
        """
        weight_key, bias_key = jax.random.split(key)
        bound = 1.0 / math.sqrt(max(context + inputs, 1))
        self.weight = jax.random.uniform(weight_key, (outputs, context + inputs), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)
        self.seen, self.degrees, self.context = seen, degrees, context

    def __call__(self, x: Array) -> Array:
        """[.., context + in] -> [.., out]."""
        outputs, inputs = self.weight.shape
        seen = np.concatenate([np.full(self.context, -1), spread(inputs - self.context, self.seen)])
        mask = jnp.asarray(seen) <= jnp.asarray(spread(outputs, self.degrees))[:, None]
        return x @ (self.weight * mask).T + self.bias

    def units(self, x: Array, i: Array | int) -> Array:
        """The outputs of degree i from the inputs up to degree i, where those above are zero.

        As many as the degree with most of them has; `fill` takes those of degree i.
        """
        count = len(self.bias)
        start, most = block(i, count, self.degrees), most_units(count, self.degrees)
        weight = lax.dynamic_slice_in_dim(self.weight, start, most, 0)
        return x @ weight.T + lax.dynamic_slice_in_dim(self.bias, start, most, 0)

    def room(self, batch: tuple[int, ...], context: Array | None = None) -> Array:
        """The inputs with only the context known; `fill` replaces the zeros behind it."""
        inputs = jnp.zeros((*batch, self.weight.shape[1] - self.context), self.weight.dtype)
        if context is None:
            return inputs
        return jnp.concatenate([jnp.broadcast_to(context, (*batch, context.shape[-1])), inputs], -1)

    def fill(self, x: Array, values: Array, i: Array | int) -> Array:
        """The inputs with those of degree i in their place among `values`, which `units` has computed."""
        count = self.weight.shape[1] - self.context
        start, most = block(i, count, self.seen), most_units(count, self.seen)
        places = start + jnp.arange(most)
        own = (places >= first_unit(i, count, self.seen)) & (places < first_unit(i + 1, count, self.seen))
        old = lax.dynamic_slice_in_dim(x, self.context + start, most, -1)
        return lax.dynamic_update_slice_in_dim(x, jnp.where(own, values, old), self.context + start, -1)


class Order(eqx.Module):  # type: ignore[misc]
    """A visiting order: the k-th entry is the raster index of the element visited k-th."""

    order: tuple[int, ...] = eqx.field(static=True)

    def visit(self, x: Array) -> Array:
        """Elements [.., D] in raster order -> in the order in which they are visited."""
        return x[..., np.asarray(self.order)]

    def restore(self, h: Array) -> Array:
        """Outputs [.., D, K] in visiting order -> in raster order."""
        return h[..., np.argsort(self.order), :]


def spread(count: int, degrees: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The degrees of `count` units, spread evenly over range(first, stop): ascending, [count]."""
    first, stop = degrees
    return first + np.arange(count) * (stop - first) // count


def first_unit(degree: Array | int, count: int, degrees: tuple[int, int]) -> Array:
    """The first of `count` units that has a degree or a higher one."""
    first, stop = degrees
    quotient, rest = divmod(count, stop - first)
    level = jnp.clip(degree - first, 0, stop - first)
    # ceil(count level / levels) in two parts, because the product may exceed 32 bits.
    return quotient * level - (-level * rest) // (stop - first)


def most_units(count: int, degrees: tuple[int, int]) -> int:
    """How many of `count` units share a degree at most."""
    return -(-count // (degrees[1] - degrees[0]))


def block(degree: Array | int, count: int, degrees: tuple[int, int]) -> Array:
    """The start of a run of `most_units` units that holds all of a degree."""
    return jnp.minimum(first_unit(degree, count, degrees), count - most_units(count, degrees))


def number(x: Array, like: Array) -> Array:
    """Elements as the numbers that they are, in the network's precision."""
    return x.astype(like.dtype)


def joint_batch(batch: tuple[int, ...], context: Array) -> tuple[int, ...]:
    """Batch axes and those of a context [.., C], broadcast."""
    return jnp.broadcast_shapes(batch, context.shape[:-1])

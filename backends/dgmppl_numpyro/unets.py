"""U-Nets over lines and images, channels first: residual blocks down and up, the features of each level kept across.

Inside, the channels are last (`networks`).

Ho et al. (2020), appendix B, after Ronneberger et al. (2015). Sides are halved by convolutions of stride 2 and doubled
by repeating every element; a block on the way up reads what its mirror image on the way down returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.activations import ACTIVATIONS
from dgmppl_numpyro.attention import Attention
from dgmppl_numpyro.networks import Conv, GroupNorm, Linear


class UBlock(eqx.Module):  # type: ignore[misc]
    """skip(x) + second(a(norm2(first(a(norm1(x))) + given(c)))) with an activation a: [N, *, in] -> [N, *, out].

    Attributes:
        given: the affine map of what is given, c [N, K], None where nothing is.
        skip: a pixelwise affine map, None where the channels are as many as before: x itself.
    """

    activation: str = eqx.field(static=True)
    norm1: GroupNorm
    first: Conv
    given: Linear | None
    norm2: GroupNorm
    second: Conv
    skip: Conv | None

    def __init__(
        self, axes: int, inputs: int, outputs: int, key: Array, *, given: int, groups: int, activation: str
    ) -> None:
        keys = jax.random.split(key, 4)
        self.activation = activation
        self.norm1 = GroupNorm(groups, inputs)
        self.first = Conv(inputs, outputs, 3, keys[0], padding=1, axes=axes)
        self.given = Linear(given, outputs, keys[1]) if given else None
        self.norm2 = GroupNorm(groups, outputs)
        self.second = Conv(outputs, outputs, 3, keys[2], padding=1, axes=axes)
        self.skip = None if inputs == outputs else Conv(inputs, outputs, 1, keys[3], axes=axes)

    def __call__(self, x: Array, given: Array | None) -> Array:
        """[N, *sides, in] and [N, K] -> [N, *sides, out]."""
        activation = ACTIVATIONS[self.activation]
        h = self.first(activation(self.norm1(x)))
        if self.given is not None:
            h = h + self.given(given).reshape(-1, *[1] * (h.ndim - 2), h.shape[-1])
        h = self.second(activation(self.norm2(h)))
        return h + (x if self.skip is None else self.skip(x))


class Mixing(eqx.Module):  # type: ignore[misc]
    """x + attention(norm(x)), every element of a map reading every other: [N, *sides, C] -> [N, *sides, C]."""

    norm: GroupNorm
    attention: Attention

    def __init__(self, width: int, key: Array, *, groups: int, heads: int) -> None:
        self.norm = GroupNorm(groups, width)
        self.attention = Attention(width, heads, key)

    def __call__(self, x: Array) -> Array:
        """Elements in raster order are the places of a sequence."""
        found = self.attention(self.norm(x).reshape(x.shape[0], -1, x.shape[-1]))
        return x + found.reshape(x.shape)


class UNet(eqx.Module):  # type: ignore[misc]
    """Maps [.., C, *sides], and vectors [.., K] for all of a map, -> maps [.., C', *sides].

    Attributes:
        enter: the affine map of the vectors, None where K is 0.
        down, up: the blocks, in the order in which they are applied.
        shrink, grow: the convolutions between the levels, in that order too.
        mixing: attention at the lowest level, None for none.
    """

    axes: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    enter: Linear | None
    first: Conv
    down: list[UBlock]
    shrink: list[Conv]
    before: UBlock
    mixing: Mixing | None
    after: UBlock
    up: list[UBlock]
    grow: list[Conv]
    norm: GroupNorm
    last: Conv

    def __init__(
        self, axes: int, inputs: int, outputs: int, key: Array, *, given: int, widths: Sequence[int], blocks: int,
        groups: int, heads: int, activation: str,
    ) -> None:  # fmt: skip
        """Args: `axes` of a map; `inputs` C, `outputs` C', `given` K; the channels `widths` of each level."""
        lowest, every = widths[-1], [width for width in widths for _ in range(blocks)]
        keys = iter(jax.random.split(key, 2 * (len(every) + len(widths)) + 4))

        def block(inputs: int, outputs: int) -> UBlock:
            given_width = lowest if given else 0
            return UBlock(axes, inputs, outputs, next(keys), given=given_width, groups=groups, activation=activation)

        self.axes, self.blocks, self.activation = axes, blocks, activation
        self.enter = Linear(given, lowest, next(keys)) if given else None
        self.first = Conv(inputs, widths[0], 3, next(keys), padding=1, axes=axes)
        self.down = [block(width, width) for width in every]
        self.shrink = [Conv(a, b, 3, next(keys), stride=2, padding=1, axes=axes) for a, b in pairwise(widths)]
        self.before = block(lowest, lowest)
        self.mixing = Mixing(lowest, next(keys), groups=groups, heads=heads) if heads else None
        self.after = block(lowest, lowest)
        self.up = [block(2 * width, width) for width in reversed(every)]
        self.grow = [Conv(a, b, 3, next(keys), padding=1, axes=axes) for a, b in pairwise(reversed(widths))]
        self.norm = GroupNorm(groups, widths[0])
        self.last = Conv(widths[0], outputs, 3, next(keys), padding=1, axes=axes)

    def __call__(self, x: Array, given: Array | None = None) -> Array:
        """Batch axes of both broadcast."""
        event = x.shape[-self.axes - 1 :]
        batch = x.shape[: -self.axes - 1]
        if given is not None and self.enter is not None:
            batch = jnp.broadcast_shapes(batch, given.shape[:-1])
            given = ACTIVATIONS[self.activation](self.enter(given))
            given = jnp.broadcast_to(given, (*batch, given.shape[-1])).reshape(-1, given.shape[-1])
        x = jnp.moveaxis(jnp.broadcast_to(x, (*batch, *event)).reshape(-1, *event), 1, -1)
        h, kept = self._descend(self.first(x), given)
        h = self.before(h, given)
        h = self.after(h if self.mixing is None else self.mixing(h), given)
        h = self.last(ACTIVATIONS[self.activation](self.norm(self._ascend(h, kept, given))))
        h = jnp.moveaxis(h, -1, 1)
        return h.reshape(*batch, *h.shape[1:])

    def _descend(self, h: Array, given: Array | None) -> tuple[Array, list[Array]]:
        """The features at the lowest level, and what every block returned."""
        kept: list[Array] = []
        for number, block in enumerate(self.down):
            if number and number % self.blocks == 0:
                h = self.shrink[number // self.blocks - 1](h)
            h = block(h, given)
            kept.append(h)
        return h, kept

    def _ascend(self, h: Array, kept: list[Array], given: Array | None) -> Array:
        """The features at the highest level."""
        for number, block in enumerate(self.up):
            if number and number % self.blocks == 0:
                h = self.grow[number // self.blocks - 1](_doubled(h))
            h = block(jnp.concatenate([h, kept.pop()], -1), given)
        return h


def _doubled(x: Array) -> Array:
    """Every element of a map [N, *sides, C] twice along each side."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis)
    return x

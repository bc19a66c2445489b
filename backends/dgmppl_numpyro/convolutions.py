"""Convolutions over images, channels first, and masked convolutions over the elements of an event.

Inside, the channels are last: XLA's processor backend multiplies matrices, of which a pixel's channels are a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl_numpyro.activations import ACTIVATIONS
from dgmppl_numpyro.embedding import Embedding
from dgmppl_numpyro.networks import Conv, ConvTranspose, GroupNorm, Linear, convolved

Image: TypeAlias = "tuple[int, int, int]"
Space: TypeAlias = "tuple[int, ...]"
Cache: TypeAlias = "tuple[Array | None, Array, tuple[Array, ...]]"


class Encoder(eqx.Module):  # type: ignore[misc]
    """Convolutions of stride 2, each with an activation: images [.., C, H, W] -> vectors [.., features]."""

    activation: str = eqx.field(static=True)
    layers: list[Conv]
    norms: list[GroupNorm]

    def __init__(
        self, channels: int, key: Array, *, widths: Sequence[int], kernel: int, groups: int | None, activation: str
    ) -> None:
        """Args: `channels` of the images; `widths`, the channels behind each convolution; `groups` of the norms."""
        self.activation = activation
        sizes = zip([channels, *widths], widths, jax.random.split(key, len(widths)), strict=False)
        self.layers = [Conv(a, b, kernel, key, stride=2, padding=(kernel - 1) // 2) for a, b, key in sizes]
        self.norms = [] if groups is None else [GroupNorm(groups, b) for b in widths]

    def __call__(self, x: Array) -> Array:
        """[.., C, H, W] -> [.., features], the last feature maps flattened channels first."""
        h = jnp.moveaxis(x.reshape(-1, *x.shape[-3:]), 1, -1)
        for number, layer in enumerate(self.layers):
            h = layer(h)
            h = ACTIVATIONS[self.activation](self.norms[number](h) if self.norms else h)
        return jnp.moveaxis(h, -1, 1).reshape(*x.shape[:-3], math.prod(h.shape[1:]))


class Decoder(eqx.Module):  # type: ignore[misc]
    """Transposed convolutions of stride 2 with activations between them: vectors [.., inputs] -> images [.., C, H, W].

    The sides of the feature maps are those of the image, halved and rounded up for each convolution; a transposed
    convolution gives more than twice the side, of which (kernel - 1) // 2 lines are cut off first, and the rest last.
    """

    activation: str = eqx.field(static=True)
    cut: int = eqx.field(static=True)
    sides: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    start: Image = eqx.field(static=True)
    first: Linear
    layers: list[ConvTranspose]
    norms: list[GroupNorm]

    def __init__(
        self, inputs: int, image: Image, key: Array, *, widths: Sequence[int], kernel: int, groups: int | None,
        activation: str,
    ) -> None:  # fmt: skip
        """Args: `widths`, the channels in front of each convolution; `image` (C, H, W); `groups` of the norms."""
        keys = jax.random.split(key, len(widths) + 1)
        self.activation = activation
        self.cut = (kernel - 1) // 2
        self.sides = tuple(tuple(-(-side // 2**k) for side in image[1:]) for k in range(len(widths), -1, -1))
        self.start = (widths[0], self.sides[0][0], self.sides[0][1])
        self.first = Linear(inputs, math.prod(self.start), keys[0])
        sizes = zip(widths, [*widths[1:], image[0]], keys[1:], strict=True)
        self.layers = [ConvTranspose(a, b, kernel, key) for a, b, key in sizes]
        self.norms = [] if groups is None else [GroupNorm(groups, b) for b in widths]

    def __call__(self, z: Array) -> Array:
        """[.., inputs] -> [.., C, H, W]."""
        h = jnp.moveaxis(self.first(z).reshape(-1, *self.start), 1, -1)
        for number, (layer, (height, width)) in enumerate(zip(self.layers, self.sides[1:], strict=True)):
            h = ACTIVATIONS[self.activation](self.norms[number](h) if self.norms else h)
            h = layer(h)[:, self.cut : self.cut + height, self.cut : self.cut + width]
        h = jnp.moveaxis(h, -1, 1)
        return h.reshape(*z.shape[:-1], *h.shape[1:])


class MaskedConv(eqx.Module):  # type: ignore[misc]
    """A causal convolution over elements in raster order, with one or two axes: [N, *space, in] -> [N, *space, out].

    Along one axis the window holds the `kernel` last elements. Over images (van den Oord et al. 2016) it has kernel //
    2 rows above the element and its own row, of which a mask leaves what stands left. The element itself is seen
    unless `strict` (mask A rather than B).

    Attributes:
        weight: [out, in, kernel], or [out, in, kernel // 2 + 1, kernel].
        bias: [out].
    """

    space: Space = eqx.field(static=True)
    taps: int = eqx.field(static=True)
    pads: tuple[tuple[int, int], ...] = eqx.field(static=True)
    weight: Array
    bias: Array

    def __init__(self, inputs: int, outputs: int, space: Space, kernel: int, strict: bool, key: Array) -> None:
        """Uniform in +-1/sqrt(in * taps), where taps counts the elements that are seen."""
        self.space = space
        half, self.taps = kernel // 2, _taps(len(space), kernel, strict)
        self.pads = ((half, 0), (half, half)) if len(space) == 2 else ((kernel - 1 + strict, 0),)
        window = (half + 1, kernel) if len(space) == 2 else (kernel,)
        keys, bound = jax.random.split(key), 1.0 / math.sqrt(inputs * self.taps)
        self.weight = jax.random.uniform(keys[0], (outputs, inputs, *window), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(keys[1], (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        """[N, *space, in] -> [N, *space, out]."""
        h = convolved(x, self._masked(), self.pads)
        return h[..., : self.space[-1], :] + self.bias

    def start(self, batch: tuple[int, ...]) -> Array:
        """The input so far with the zeros around it, [.., in, *padded]."""
        padded = (size + sum(pads) for size, pads in zip(self.space, self.pads, strict=True))
        return jnp.zeros((*batch, self.weight.shape[1], *padded), self.weight.dtype)

    def write(self, cache: Array, i: Array, x: Array) -> Array:
        """The cache with element i, [.., in]."""
        place = (start + pads[0] for start, pads in zip(_unravel(i, self.space), self.pads, strict=True))
        return cache.at[(..., slice(None), *place)].set(x.astype(cache.dtype))

    def read(self, cache: Array, i: Array) -> Array:
        """The output at element i, [.., out]."""
        rank, window = len(self.space), self.weight.shape[2:]
        starts = (*(0 for _ in cache.shape[:-rank]), *_unravel(i, self.space))
        seen = jax.lax.dynamic_slice(cache, starts, (*cache.shape[:-rank], *window))
        flat = seen.reshape(*seen.shape[: -rank - 1], -1)
        return flat @ self._masked().reshape(len(self.bias), -1).T + self.bias

    def _masked(self) -> Array:
        window = self.weight.shape[2:]
        mask = (np.arange(math.prod(window)) < self.taps).reshape(window)
        return jnp.where(mask, self.weight, 0.0)


def _taps(rank: int, kernel: int, strict: bool) -> int:
    """How many elements a window sees."""
    return kernel if rank == 1 else kernel // 2 * kernel + kernel // 2 + (not strict)


def _unravel(i: Array, space: Space) -> tuple[Array, ...]:
    """The indices of element i in raster order."""
    return (i,) if len(space) == 1 else (i // space[1], i % space[1])


class MaskedBlock(eqx.Module):  # type: ignore[misc]
    """h + conv(activation(h)); gated (van den Oord et al. 2016b): h + mix(tanh(a) sigmoid(b)), (a, b) = conv(h)."""

    activation: str = eqx.field(static=True)
    conv: MaskedConv
    mix: Linear | None

    def __init__(self, width: int, space: Space, kernel: int, gated: bool, activation: str, key: Array) -> None:
        keys = jax.random.split(key)
        self.activation = activation
        self.conv = MaskedConv(width, 2 * width if gated else width, space, kernel, False, keys[0])
        self.mix = Linear(width, width, keys[1]) if gated else None

    def __call__(self, h: Array) -> Array:
        """[N, *space, width] -> [N, *space, width]."""
        return h + self._leave(self.conv(self._enter(h)))

    def start(self, batch: tuple[int, ...]) -> Array:
        """The convolution's input so far."""
        return self.conv.start(batch)

    def step(self, cache: Array, i: Array, h: Array) -> tuple[Array, Array]:
        """Element i alone: [.., width] -> [.., width]."""
        cache = self.conv.write(cache, i, self._enter(h))
        return cache, h + self._leave(self.conv.read(cache, i))

    def _enter(self, h: Array) -> Array:
        return ACTIVATIONS[self.activation](h) if self.mix is None else h

    def _leave(self, h: Array) -> Array:
        if self.mix is None:
            return h
        value, gate = jnp.split(h, 2, -1)
        return self.mix(jnp.tanh(value) * jax.nn.sigmoid(gate))


class CausalConv(eqx.Module):  # type: ignore[misc]
    """Masked convolutions over D elements: features i depend on the elements before the i-th alone.

    Windows of the first convolution leave out the element itself; those of the others hold it.

    Attributes:
        embed: the channels of an integer element, None for other numbers: one channel.
        context: the affine map of the context that is added to every element's features, None where there is none.
    """

    space: Space = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    embed: Embedding | None
    context: Linear | None
    first: MaskedConv
    blocks: list[MaskedBlock]

    def __init__(
        self, space: Space, key: Array, *, layers: int, width: int, kernel: int, gated: bool, activation: str,
        states: int | None = None, context: int = 0,
    ) -> None:  # fmt: skip
        """Args: `space`, the axes of the event; `states` of an integer element; the flattened `context`'s width."""
        keys = jax.random.split(key, layers + 2)
        self.space, self.activation = space, activation
        self.embed = None if states is None else Embedding(states, width, keys[0])
        self.context = Linear(context, width, keys[1]) if context else None
        self.first = MaskedConv(1 if states is None else width, width, space, kernel, True, keys[2])
        self.blocks = [MaskedBlock(width, space, kernel, gated, activation, key) for key in keys[3:]]

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        entered = self._enter(x)
        h = self.first(entered.reshape(-1, *self.space, entered.shape[-1]))
        h = h.reshape(*x.shape, h.shape[-1])
        given = self._given(context)
        h = h if given is None else h + given[..., None, :]
        flat = h.reshape(-1, *self.space, h.shape[-1])
        for block in self.blocks:
            flat = block(flat)
        return ACTIVATIONS[self.activation](flat).reshape(h.shape)

    def start(self, batch: tuple[int, ...], context: Array | None = None) -> Cache:
        """The context's contribution, and each convolution's input so far."""
        given = self._given(context)
        batch = batch if given is None else jnp.broadcast_shapes(batch, given.shape[:-1])
        return given, self.first.start(batch), tuple(block.start(batch) for block in self.blocks)

    def step(self, cache: Cache, i: Array, previous: Array) -> tuple[Cache, Array]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, entered, blocks = cache
        written = self.first.write(entered, jnp.maximum(i - 1, 0), self._enter(previous))
        entered = jnp.where(i == 0, entered, written)
        h, new = self.first.read(entered, i), []
        h = h if given is None else h + given
        for block, entry in zip(self.blocks, blocks, strict=True):
            entry, h = block.step(entry, i, h)
            new.append(entry)
        return (given, entered, tuple(new)), ACTIVATIONS[self.activation](h)

    def _enter(self, x: Array) -> Array:
        """[..] -> [.., channels]."""
        return x.astype(self.first.weight.dtype)[..., None] if self.embed is None else self.embed(x)

    def _given(self, context: Array | None) -> Array | None:
        return None if self.context is None or context is None else self.context(context)

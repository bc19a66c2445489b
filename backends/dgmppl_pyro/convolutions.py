"""Convolutions over images, channels first, and masked convolutions over the elements of an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmppl_pyro.activations import ACTIVATIONS
from dgmppl_pyro.embedding import Embedding

Image: TypeAlias = "tuple[int, int, int]"
Space: TypeAlias = "tuple[int, ...]"
Cache: TypeAlias = "tuple[Tensor | None, Tensor, tuple[Tensor, ...]]"


class Encoder(nn.Module):  # type: ignore[misc]
    """Convolutions of stride 2, each with an activation: images [.., C, H, W] -> vectors [.., features]."""

    def __init__(
        self, channels: int, *, widths: Sequence[int], kernel: int, groups: int | None, activation: str
    ) -> None:
        """Args: `channels` of the images; `widths`, the channels behind each convolution; `groups` of the norms."""
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        pairs = zip([channels, *widths], widths, strict=False)
        self.layers = nn.ModuleList([nn.Conv2d(a, b, kernel, stride=2, padding=(kernel - 1) // 2) for a, b in pairs])
        self.norms = nn.ModuleList([] if groups is None else [nn.GroupNorm(groups, b, eps=1e-5) for b in widths])

    def forward(self, x: Tensor) -> Tensor:
        """[.., C, H, W] -> [.., features], the last feature maps flattened channels first."""
        h = x.reshape(-1, *x.shape[-3:])
        for number, layer in enumerate(self.layers):
            h = layer(h)
            h = self.activation(self.norms[number](h) if self.norms else h)
        return h.reshape(*x.shape[:-3], -1)


class Decoder(nn.Module):  # type: ignore[misc]
    """Transposed convolutions of stride 2 with activations between them: vectors [.., inputs] -> images [.., C, H, W].

    The sides of the feature maps are those of the image, halved and rounded up for each convolution; a transposed
    convolution gives more than twice the side, of which (kernel - 1) // 2 lines are cut off first, and the rest last.
    """

    def __init__(
        self, inputs: int, image: Image, *, widths: Sequence[int], kernel: int, groups: int | None, activation: str
    ) -> None:
        """Args: `widths`, the channels in front of each convolution; `image` (C, H, W); `groups` of the norms."""
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.cut = (kernel - 1) // 2
        self.sides = [tuple(-(-side // 2**k) for side in image[1:]) for k in range(len(widths), -1, -1)]
        self.start = (widths[0], *self.sides[0])
        self.first = nn.Linear(inputs, math.prod(self.start))
        pairs = zip(widths, [*widths[1:], image[0]], strict=True)
        self.layers = nn.ModuleList([nn.ConvTranspose2d(a, b, kernel, stride=2) for a, b in pairs])
        self.norms = nn.ModuleList([] if groups is None else [nn.GroupNorm(groups, b, eps=1e-5) for b in widths])

    def forward(self, z: Tensor) -> Tensor:
        """[.., inputs] -> [.., C, H, W]."""
        h = self.first(z).reshape(-1, *self.start)
        for number, (layer, (height, width)) in enumerate(zip(self.layers, self.sides[1:], strict=True)):
            h = self.activation(self.norms[number](h) if self.norms else h)
            h = layer(h)[..., self.cut : self.cut + height, self.cut : self.cut + width]
        return h.reshape(*z.shape[:-1], *h.shape[-3:])


class MaskedConv(nn.Module):  # type: ignore[misc]
    """A causal convolution over elements in raster order, with one or two axes: [N, in, *space] -> [N, out, *space].

    Along one axis the window holds the `kernel` last elements. Over images (van den Oord et al. 2016) it has kernel //
    2 rows above the element and its own row, of which a mask leaves what stands left. The element itself is seen
    unless `strict` (mask A rather than B).

    Attributes:
        weight: [out, in, kernel], or [out, in, kernel // 2 + 1, kernel].
        bias: [out].
    """

    def __init__(self, inputs: int, outputs: int, space: Space, kernel: int, strict: bool) -> None:
        """Uniform in +-1/sqrt(in * taps), where taps counts the elements that are seen."""
        super().__init__()
        self.space = space
        half, taps = kernel // 2, _taps(len(space), kernel, strict)
        self.pads = ((half, 0), (half, half)) if len(space) == 2 else ((kernel - 1 + strict, 0),)
        self.window = (half + 1, kernel) if len(space) == 2 else (kernel,)
        bound = 1.0 / math.sqrt(inputs * taps)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *self.window).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        mask = (torch.arange(math.prod(self.window)) < taps).reshape(self.window)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, *space] -> [N, out, *space]."""
        padded = F.pad(x, [pad for pads in reversed(self.pads) for pad in pads])
        if len(self.space) == 2:
            return F.conv2d(padded, self.weight * self.mask, self.bias)
        return F.conv1d(padded, self.weight, self.bias)[..., : self.space[0]]

    def start(self, batch: tuple[int, ...]) -> Tensor:
        """The input so far with the zeros around it, [.., in, *padded]."""
        padded = (size + sum(pads) for size, pads in zip(self.space, self.pads, strict=True))
        return self.weight.new_zeros(*batch, self.weight.shape[1], *padded)

    def write(self, cache: Tensor, i: int, x: Tensor) -> Tensor:
        """The cache with element i, [.., in]; a copy where autograd needs what earlier steps read."""
        cache = cache.clone() if torch.is_grad_enabled() else cache
        place = (start + pads[0] for start, pads in zip(_unravel(i, self.space), self.pads, strict=True))
        cache[..., :, *place] = x
        return cache

    def read(self, cache: Tensor, i: int) -> Tensor:
        """The output at element i, [.., out]."""
        starts = zip(_unravel(i, self.space), self.window, strict=True)
        seen = cache[..., *(slice(start, start + size) for start, size in starts)]
        weight = self.weight * self.mask
        return F.linear(seen.flatten(-len(self.space) - 1), weight.flatten(1), self.bias)


def _taps(rank: int, kernel: int, strict: bool) -> int:
    """How many elements a window sees."""
    return kernel if rank == 1 else kernel // 2 * kernel + kernel // 2 + (not strict)


def _unravel(i: int, space: Space) -> Space:
    """The indices of element i in raster order."""
    return (i,) if len(space) == 1 else divmod(i, space[1])


class MaskedBlock(nn.Module):  # type: ignore[misc]
    """h + conv(activation(h)); gated (van den Oord et al. 2016b): h + mix(tanh(a) sigmoid(b)), (a, b) = conv(h)."""

    def __init__(self, width: int, space: Space, kernel: int, gated: bool, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.conv = MaskedConv(width, 2 * width if gated else width, space, kernel, False)
        self.mix = nn.Linear(width, width) if gated else None

    def forward(self, h: Tensor) -> Tensor:
        """[N, width, *space] -> [N, width, *space]."""
        return h + self._leave(self.conv(self._enter(h)).movedim(1, -1)).movedim(-1, 1)

    def start(self, batch: tuple[int, ...]) -> Tensor:
        """The convolution's input so far."""
        return self.conv.start(batch)

    def step(self, cache: Tensor, i: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Element i alone: [.., width] -> [.., width]."""
        cache = self.conv.write(cache, i, self._enter(h))
        return cache, h + self._leave(self.conv.read(cache, i))

    def _enter(self, h: Tensor) -> Tensor:
        return self.activation(h) if self.mix is None else h

    def _leave(self, h: Tensor) -> Tensor:
        if self.mix is None:
            return h
        value, gate = h.chunk(2, -1)
        return self.mix(torch.tanh(value) * torch.sigmoid(gate))


class CausalConv(nn.Module):  # type: ignore[misc]
    """Masked convolutions over D elements: features i depend on the elements before the i-th alone.

    Windows of the first convolution leave out the element itself; those of the others hold it.

    Attributes:
        embed: the channels of an integer element, None for other numbers: one channel.
        context: the affine map of the context that is added to every element's features, None where there is none.
    """

    def __init__(
        self, space: Space, *, layers: int, width: int, kernel: int, gated: bool, activation: str,
        states: int | None = None, context: int = 0,
    ) -> None:  # fmt: skip
        """Args: `space`, the axes of the event; `states` of an integer element; the flattened `context`'s width."""
        super().__init__()
        self.space, self.activation = space, ACTIVATIONS[activation]
        self.embed = None if states is None else Embedding(states, width)
        self.context = nn.Linear(context, width) if context else None
        self.first = MaskedConv(1 if states is None else width, width, space, kernel, True)
        blocks = (MaskedBlock(width, space, kernel, gated, activation) for _ in range(layers - 1))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        entered = self._enter(x)
        h = self.first(entered.mT.reshape(-1, entered.shape[-1], *self.space))
        h = h.reshape(*x.shape[:-1], -1, x.shape[-1])
        given = self._given(context)
        h = h if given is None else h + given[..., None]
        flat = h.reshape(-1, h.shape[-2], *self.space)
        for block in self.blocks:
            flat = block(flat)
        return self.activation(flat).reshape(h.shape).mT

    def start(self, batch: tuple[int, ...], context: Tensor | None = None) -> Cache:
        """The context's contribution, and each convolution's input so far."""
        given = self._given(context)
        batch = batch if given is None else torch.broadcast_shapes(batch, given.shape[:-1])
        return given, self.first.start(batch), tuple(block.start(batch) for block in self.blocks)

    def step(self, cache: Cache, i: int, previous: Tensor) -> tuple[Cache, Tensor]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, entered, blocks = cache
        entered = self.first.write(entered, i - 1, self._enter(previous)) if i else entered
        h, new = self.first.read(entered, i), []
        h = h if given is None else h + given
        for block, entry in zip(self.blocks, blocks, strict=True):
            entry, h = block.step(entry, i, h)
            new.append(entry)
        return (given, entered, tuple(new)), self.activation(h)

    def _enter(self, x: Tensor) -> Tensor:
        """[..] -> [.., channels]."""
        return x.to(self.first.weight.dtype)[..., None] if self.embed is None else self.embed(x)

    def _given(self, context: Tensor | None) -> Tensor | None:
        return None if self.context is None or context is None else self.context(context)

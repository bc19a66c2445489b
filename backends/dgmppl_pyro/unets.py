"""U-Nets over lines and images, channels first: residual blocks down and up, the features of each level kept across.

Ho et al. (2020), appendix B, after Ronneberger et al. (2015). Sides are halved by convolutions of stride 2 and doubled
by repeating every element; a block on the way up reads what its mirror image on the way down returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmppl_pyro.activations import ACTIVATIONS
from dgmppl_pyro.attention import Attention

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}


class UBlock(nn.Module):  # type: ignore[misc]
    """skip(x) + second(a(norm2(first(a(norm1(x))) + given(c)))) with an activation a: [N, in, *] -> [N, out, *].

    Attributes:
        given: the affine map of what is given, c [N, K], None where nothing is.
        skip: a pixelwise affine map, None where the channels are as many as before: x itself.
    """

    def __init__(self, axes: int, inputs: int, outputs: int, *, given: int, groups: int, activation: str) -> None:
        super().__init__()
        conv = CONVOLUTIONS[axes]
        self.activation = ACTIVATIONS[activation]
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-5)
        self.first = conv(inputs, outputs, 3, padding=1)
        self.given = nn.Linear(given, outputs) if given else None
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-5)
        self.second = conv(outputs, outputs, 3, padding=1)
        self.skip = None if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """[N, in, *sides] and [N, K] -> [N, out, *sides]."""
        h = self.first(self.activation(self.norm1(x)))
        if self.given is not None:
            h = h + self.given(given).reshape(*h.shape[:2], *[1] * (h.ndim - 2))
        h = self.second(self.activation(self.norm2(h)))
        return h + (x if self.skip is None else self.skip(x))


class Mixing(nn.Module):  # type: ignore[misc]
    """x + attention(norm(x)), every element of a map reading every other: [N, C, *sides] -> [N, C, *sides]."""

    def __init__(self, width: int, *, groups: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.attention = Attention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        """Elements in raster order are the places of a sequence."""
        found = self.attention(self.norm(x).flatten(2).mT)
        return x + found.mT.reshape(x.shape)


class UNet(nn.Module):  # type: ignore[misc]
    """Maps [.., C, *sides], and vectors [.., K] for all of a map, -> maps [.., C', *sides].

    Attributes:
        enter: the affine map of the vectors, None where K is 0.
        down, up: the blocks, in the order in which they are applied.
        shrink, grow: the convolutions between the levels, in that order too.
        mixing: attention at the lowest level, None for none.
    """

    def __init__(
        self, axes: int, inputs: int, outputs: int, *, given: int, widths: Sequence[int], blocks: int, groups: int,
        heads: int, activation: str,
    ) -> None:  # fmt: skip
        """Args: `axes` of a map; `inputs` C, `outputs` C', `given` K; the channels `widths` of each level."""
        super().__init__()
        conv, lowest, every = CONVOLUTIONS[axes], widths[-1], [width for width in widths for _ in range(blocks)]

        def block(inputs: int, outputs: int) -> UBlock:
            return UBlock(axes, inputs, outputs, given=lowest if given else 0, groups=groups, activation=activation)

        self.axes, self.blocks, self.activation = axes, blocks, ACTIVATIONS[activation]
        self.enter = nn.Linear(given, lowest) if given else None
        self.first = conv(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList([block(width, width) for width in every])
        self.shrink = nn.ModuleList([conv(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)])
        self.before = block(lowest, lowest)
        self.mixing = Mixing(lowest, groups=groups, heads=heads) if heads else None
        self.after = block(lowest, lowest)
        self.up = nn.ModuleList([block(2 * width, width) for width in reversed(every)])
        self.grow = nn.ModuleList([conv(a, b, 3, padding=1) for a, b in pairwise(reversed(widths))])
        self.norm = nn.GroupNorm(groups, widths[0], eps=1e-5)
        self.last = conv(widths[0], outputs, 3, padding=1)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """Batch axes of both broadcast."""
        event = x.shape[-self.axes - 1 :]
        batch = x.shape[: -self.axes - 1]
        if given is not None and self.enter is not None:
            batch = torch.broadcast_shapes(batch, given.shape[:-1])
            given = self.activation(self.enter(given))
            given = given.expand(*batch, -1).reshape(-1, given.shape[-1])
        h, kept = self._descend(self.first(x.expand(*batch, *event).reshape(-1, *event)), given)
        h = self.before(h, given)
        h = self.after(h if self.mixing is None else self.mixing(h), given)
        h = self.last(self.activation(self.norm(self._ascend(h, kept, given))))
        return h.reshape(*batch, *h.shape[1:])

    def _descend(self, h: Tensor, given: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The features at the lowest level, and what every block returned."""
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            if number and number % self.blocks == 0:
                h = self.shrink[number // self.blocks - 1](h)
            h = block(h, given)
            kept.append(h)
        return h, kept

    def _ascend(self, h: Tensor, kept: list[Tensor], given: Tensor | None) -> Tensor:
        """The features at the highest level."""
        for number, block in enumerate(self.up):
            if number and number % self.blocks == 0:
                h = self.grow[number // self.blocks - 1](F.interpolate(h, scale_factor=2.0, mode="nearest"))
            h = block(torch.cat([h, kept.pop()], 1), given)
        return h

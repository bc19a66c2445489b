"""Transformers: pre-norm blocks of attention and a feed-forward layer, written out.

    a = x + attention(norm1(x)),    y = a + second(gelu(first(norm2(a))))

with attention(x) = output(softmax(Q K^T / sqrt(d)) V) in each head (Vaswani et al. 2017; layer norms first, as in Xiong
et al. 2020). Keys have no bias: it would add the same number to all scores of a query, which softmax ignores.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmppl_pyro.embedding import Shifted

KeysValues: TypeAlias = "tuple[Tensor, Tensor]"
Cache: TypeAlias = "tuple[Tensor | None, tuple[KeysValues, ...]]"


def attend(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V of queries [.., S, d] and keys, values [.., T, d]; `seen` [S, T]: who reads whom."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    return torch.softmax(scores, -1) @ value


class Attention(nn.Module):  # type: ignore[misc]
    """Self-attention with several heads: [.., T, width] -> [.., T, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Each place reads the places that `seen` [T, T] allows; all of them by default."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        return self.output(self._merge(attend(query, key, value, seen)))

    def step(self, cache: KeysValues, i: int, x: Tensor) -> tuple[KeysValues, Tensor]:
        """Place i alone, x [.., width], given the keys and values [.., heads, T, d] of the places before it."""
        query, key, value = (self._split(layer(x[..., None, :])) for layer in (self.query, self.key, self.value))
        keys, values = _written(cache[0], key, i), _written(cache[1], value, i)
        found = attend(query, keys[..., : i + 1, :], values[..., : i + 1, :], None)
        return (keys, values), self.output(self._merge(found))[..., 0, :]

    def _split(self, x: Tensor) -> Tensor:
        """[.., T, width] -> [.., heads, T, width / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def _merge(self, x: Tensor) -> Tensor:
        return x.transpose(-2, -3).flatten(-2)


def _written(cache: Tensor, entry: Tensor, i: int) -> Tensor:
    """The cache with the entry of place i; a copy where autograd needs what earlier steps read."""
    cache = cache.clone() if torch.is_grad_enabled() else cache
    cache[..., i : i + 1, :] = entry
    return cache


class Block(nn.Module):  # type: ignore[misc]
    """Attention, then a feed-forward layer four times as wide; each adds to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.first = nn.Linear(width, 4 * width)
        self.second = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """[.., T, width] -> [.., T, width]."""
        return self._feed(x + self.attention(self.norm1(x), seen))

    def step(self, cache: KeysValues, i: int, x: Tensor) -> tuple[KeysValues, Tensor]:
        """Place i alone: [.., width] -> [.., width]."""
        cache, found = self.attention.step(cache, i, self.norm1(x))
        return cache, self._feed(x + found)

    def _feed(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.first(self.norm2(x)), approximate="none"))


class Transformer(nn.Module):  # type: ignore[misc]
    """An encoder of sequences: [.., T, inputs] -> [.., T, width], every place reading every other.

    Attributes:
        positions: learned, [T, width].
    """

    def __init__(self, length: int, inputs: int, *, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """[.., T, inputs] -> [.., T, width]."""
        h = self.embed(x) + self.positions
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


class CausalTransformer(nn.Module):  # type: ignore[misc]
    """A decoder over the D elements of an event: features i depend on the elements visited before the i-th alone.

    Attributes:
        inputs: what place i sees of element i - 1 and of the context.
        positions: learned, [D, width], in the order of the visits.
    """

    def __init__(
        self, length: int, *, layers: int, heads: int, width: int, states: int | None = None, context: int = 0
    ) -> None:
        """Args: `states` of an integer element, None for other numbers; the flattened `context`'s width."""
        super().__init__()
        self.length, self.heads = length, heads
        self.inputs = Shifted(width, states, context)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        h = self.inputs(x, context) + self.positions
        seen = torch.ones(self.length, self.length, dtype=torch.bool, device=h.device).tril()
        for block in self.blocks:
            h = block(h, seen)
        return self.norm(h)

    def start(self, batch: tuple[int, ...], context: Tensor | None = None) -> Cache:
        """The context's contribution, and keys and values [.., heads, D, width / heads] of each block."""
        batch, given = self.inputs.start(batch, context)
        shape = (*batch, self.heads, self.length, self.positions.shape[-1] // self.heads)
        empty = tuple((self.positions.new_zeros(shape), self.positions.new_zeros(shape)) for _ in self.blocks)
        return given, empty

    def step(self, cache: Cache, i: int, previous: Tensor) -> tuple[Cache, Tensor]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, blocks = cache
        h, new = self.inputs.step(given, i, previous) + self.positions[i], []
        for block, entry in zip(self.blocks, blocks, strict=True):
            entry, h = block.step(entry, i, h)
            new.append(entry)
        return (given, tuple(new)), self.norm(h)

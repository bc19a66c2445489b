"""Numbers, integers and times as vectors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoidal(t: Tensor, width: int) -> Tensor:
    """Features sin(1000 t w_j), cos(1000 t w_j) with w_j = 10000^(-2j / width) of times t in [0, 1]: [.., width].

    Vaswani et al. (2017), section 3.5, on the thousand steps of Ho et al. (2020).
    """
    half = width // 2
    exponents = torch.arange(half, dtype=t.dtype, device=t.device) / half
    angles = 1000.0 * t[..., None] * torch.exp(-math.log(10000.0) * exponents)
    return torch.cat([angles.sin(), angles.cos()], -1)


class TimeEmbedding(nn.Module):  # type: ignore[misc]
    """Sinusoidal features of a time, followed by two linear layers with silu between them: [..] -> [.., width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Times [..] -> [.., width]."""
        features = sinusoidal(t.to(self.first.weight.dtype), self.width)
        return self.second(F.silu(self.first(features)))


class Embedding(nn.Module):  # type: ignore[misc]
    """Rows of a table by integers: [..] -> [.., width].

    Attributes:
        weight: [states, width], standard normal at the start, as torch draws it.
    """

    def __init__(self, states: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(states, width))

    def forward(self, x: Tensor) -> Tensor:
        """Integers, whatever their dtype."""
        return F.embedding(x.long(), self.weight)


class Scalars(nn.Module):  # type: ignore[misc]
    """Each number by itself through one linear layer: [..] -> [.., width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, width)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers; integers and truth values are made real."""
        return self.linear(x.to(self.linear.weight.dtype)[..., None])


class Shifted(nn.Module):  # type: ignore[misc]
    """What each place of a sequence may see of the element before it, and the context: [.., D] -> [.., D, width].

    Place i gets the vector of element i - 1, place 0 a learned start vector, and each the same map of the context.

    Attributes:
        embed: `Embedding` for integers of so many states, `Scalars` for other numbers.
        first: the start vector [width].
        context: the affine map of the context, None where there is none.
    """

    def __init__(self, width: int, states: int | None, context: int) -> None:
        super().__init__()
        self.embed = Scalars(width) if states is None else Embedding(states, width)
        self.first = nn.Parameter(torch.randn(width))
        self.context = nn.Linear(context, width) if context else None

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Elements [.., D] in the order of the visits and context [.., C]."""
        first = self.first.expand(*x.shape[:-1], 1, -1)
        h = torch.cat([first, self.embed(x[..., :-1])], -2)
        given = self.given(context)
        return h if given is None else h + given[..., None, :]

    def start(self, batch: tuple[int, ...], context: Tensor | None) -> tuple[tuple[int, ...], Tensor | None]:
        """The batch axes of both, and the context's contribution to every place."""
        given = self.given(context)
        return batch if given is None else torch.broadcast_shapes(batch, given.shape[:-1]), given

    def given(self, context: Tensor | None) -> Tensor | None:
        """The context's contribution to every place, [.., width]; None where there is none."""
        return None if self.context is None or context is None else self.context(context)

    def step(self, given: Tensor | None, i: int, previous: Tensor) -> Tensor:
        """Place i alone: the vector of the element before it, [..] -> [.., width]."""
        h = self.embed(previous) if i else self.first.expand(*previous.shape, -1)
        return h if given is None else h + given

"""Gated recurrent units (Cho et al. 2014), torch's variant and parameters.

r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),   z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + r (W_hn h + b_hn)),   h' = (1 - z) n + z h
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmppl_pyro.embedding import Shifted

Cache: TypeAlias = "tuple[Tensor | None, Tensor]"


class Recurrence(nn.Module):  # type: ignore[misc]
    """The states of a GRU that starts at zero: [.., T, inputs] -> [.., T, width].

    Attributes:
        weight_ih: [3 width, inputs], the gates r, z, n below each other.
        weight_hh: [3 width, width].
        bias_ih, bias_hh: [3 width].
    """

    def __init__(self, inputs: int, width: int) -> None:
        """All uniform in +-1/sqrt(width), as torch draws them."""
        super().__init__()
        bound = 1.0 / math.sqrt(width)
        self.weight_ih = nn.Parameter(torch.empty(3 * width, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(3 * width, width).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """All states, in the sequence's order."""
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        flat = x.reshape(-1, *x.shape[-2:])
        start = flat.new_zeros(1, flat.shape[0], self.weight_hh.shape[-1])
        states, _ = torch.gru(flat, start, weights, True, 1, 0.0, True, False, True)
        return states.reshape(*x.shape[:-1], -1)

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        """The next state [.., width] from the present one and an input [.., inputs]."""
        reset, update, new = F.linear(x, self.weight_ih, self.bias_ih).chunk(3, -1)
        reset_h, update_h, new_h = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
        update = torch.sigmoid(update + update_h)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
        return (1.0 - update) * candidate + update * h


class GRU(nn.Module):  # type: ignore[misc]
    """A sequence to a sequence, [.., T, inputs] -> [.., T, width]: each place reads itself and those on one side."""

    def __init__(self, inputs: int, *, width: int, direction: str = "forward") -> None:
        super().__init__()
        self.backward = direction == "backward"
        self.recurrence = Recurrence(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """[.., T, inputs] -> [.., T, width]."""
        return self.recurrence(x.flip(-2)).flip(-2) if self.backward else self.recurrence(x)


class CausalGRU(nn.Module):  # type: ignore[misc]
    """A GRU over the D elements of an event: features i depend on the elements visited before the i-th alone.

    Attributes:
        inputs: what place i sees of element i - 1 and of the context.
    """

    def __init__(self, *, width: int, states: int | None = None, context: int = 0) -> None:
        """Args: `states` of an integer element, None for other numbers; the flattened `context`'s width."""
        super().__init__()
        self.inputs = Shifted(width, states, context)
        self.recurrence = Recurrence(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Elements [.., D] and context [.., C] -> features [.., D, width], both in the order of the visits."""
        return self.recurrence(self.inputs(x, context))

    def start(self, batch: tuple[int, ...], context: Tensor | None = None) -> Cache:
        """The context's contribution and the first state, zero."""
        batch, given = self.inputs.start(batch, context)
        weight = self.recurrence.weight_hh
        return given, weight.new_zeros(*batch, weight.shape[-1])

    def step(self, cache: Cache, i: int, previous: Tensor) -> tuple[Cache, Tensor]:
        """Features [.., width] of the element visited i-th, given the one visited before it, [..]."""
        given, h = cache
        h = self.recurrence.step(h, self.inputs.step(given, i, previous))
        return (given, h), h

"""Parts of emitted causal networks: output i reads only the elements visited before the i-th.

`forward` maps all elements at once; `units` and `fill` go element by element: a value that has come is added to the
sums of the units behind it, and every unit is computed once, when the last element that it sees has come. Positions are
counted in the order in which elements are visited.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sums(NamedTuple):
    """A layer some of whose inputs have come.

    Attributes:
        sums: b, and what the context and the inputs that have come add to it [.., out], at least in float32.
        none: the outputs of a degree that has none [.., 0], in the layer's precision.
        columns: of W, the inputs of each degree [inputs, out]; [out] where each degree has one.
        inputs: how many there are of each degree.
        firsts: the first output of each degree, and behind them how many outputs there are.
    """

    sums: Tensor
    none: Tensor
    columns: tuple[Tensor, ...]
    inputs: list[int]
    firsts: list[int]


class MaskedLinear(nn.Linear):  # type: ignore[misc]
    """(W * M) x + b with M_jk = [degree of input k <= degree of output j] (Germain et al. 2015, section 4).

    Degrees spread over a range evenly, unit k of n has degree first + floor(k (stop - first) / n): units are sorted by
    degree, and those of one degree lie next to each other. Context is the first of the inputs and is never masked.

    Attributes:
        weight: W, [out, context + in].
        bias: b, [out].
        mask: M, [out, context + in]; not a parameter.
        seen, degrees: ranges (first, stop) of the degrees of inputs and outputs.
        context: width of the context.
    """

    def __init__(
        self, inputs: int, outputs: int, seen: tuple[int, int], degrees: tuple[int, int], context: int = 0
    ) -> None:
        """Weight and bias uniform in +-1/sqrt(context + in).

        Args:
            inputs: how many units come in, without the context.
            outputs: how many units go out.
            seen: (first, stop), the range of the inputs' degrees.
            degrees: (first, stop), the range of the outputs' degrees.
            context: width of the context.
        """
        super().__init__(context + inputs, outputs)
        self.seen, self.degrees, self.context = seen, degrees, context
        visible = spread(inputs, seen) <= spread(outputs, degrees)[:, None]
        # Numbers, because torch multiplies by truth values at half the speed.
        self.register_buffer("mask", F.pad(visible, (context, 0), value=True).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[.., context + in] -> [.., out]."""
        return F.linear(x, self.masked_weight(), self.bias)

    def masked_weight(self) -> Tensor:
        """W * M."""
        return self.weight * self.mask.to(self.weight.dtype)

    def room(self, batch: tuple[int, ...], context: Tensor | None = None) -> Sums:
        """What is known at first, the context; `fill` adds to it."""
        known = self.bias if context is None else F.linear(context, self.weight[:, : self.context], self.bias)
        sums = known.to(torch.promote_types(known.dtype, torch.float32)).expand(*batch, self.out_features)
        inputs = per_degree(self.in_features - self.context, self.seen)
        # The weights of one input lie next to each other here: they are added to all sums at once.
        transposed = self.weight[:, self.context :].t().contiguous()
        columns = transposed.unbind() if set(inputs) == {1} else transposed.split(inputs)
        firsts = list(accumulate(per_degree(self.out_features, self.degrees), initial=0))
        return Sums(sums, sums[..., :0].to(known.dtype), columns, inputs, firsts)

    def units(self, x: Sums, i: int) -> Tensor:
        """The outputs of degree i from the inputs up to degree i: [.., as many as there are]."""
        place = i - self.degrees[0]
        if not 0 <= place < len(x.firsts) - 1 or x.firsts[place] == x.firsts[place + 1]:
            return x.none
        found = x.sums[..., x.firsts[place] : x.firsts[place + 1]]
        return found if found.dtype is x.none.dtype else found.to(x.none.dtype)

    def fill(self, x: Sums, values: Tensor, i: int) -> Sums:
        """Adds the inputs of degree i to all sums: those of lower degrees have been read and are not read again."""
        place = i - self.seen[0]
        if not 0 <= place < len(x.inputs) or not x.inputs[place]:
            return x
        column = x.columns[place]
        # For one input an outer product, in half of the matrix product's time.
        sums = torch.addcmul(x.sums, values, column) if column.ndim == 1 else x.sums + values @ column
        return Sums(sums, *x[1:])


class Order(nn.Module):  # type: ignore[misc]
    """A visiting order: the k-th entry is the raster index of the element visited k-th."""

    def __init__(self, order: tuple[int, ...]) -> None:
        """Neither the order nor its inverse is a parameter."""
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("inverse", torch.argsort(self.order), persistent=False)

    def visit(self, x: Tensor) -> Tensor:
        """Elements [.., D] in raster order -> in the order in which they are visited."""
        return x.index_select(-1, self.order)

    def restore(self, h: Tensor) -> Tensor:
        """Outputs [.., D, K] in visiting order -> in raster order."""
        return h.index_select(-2, self.inverse)


def spread(count: int, degrees: tuple[int, int]) -> Tensor:
    """The degrees of `count` units, spread evenly over range(first, stop): ascending, [count]."""
    first, stop = degrees
    return first + torch.arange(count) * (stop - first) // count


def per_degree(count: int, degrees: tuple[int, int]) -> list[int]:
    """How many of `count` units have each degree."""
    levels = degrees[1] - degrees[0]
    firsts = [-(-count * level // levels) for level in range(levels + 1)]
    return [firsts[level + 1] - firsts[level] for level in range(levels)]


def number(x: Tensor, like: Tensor) -> Tensor:
    """Elements as the numbers that they are, in the network's precision."""
    return x.to(like.dtype)


def joint_batch(batch: tuple[int, ...], context: Tensor) -> tuple[int, ...]:
    """Batch axes and those of a context [.., C], broadcast."""
    return tuple(torch.broadcast_shapes(batch, context.shape[:-1]))

"""Loops over an index that carry values from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Carry = tuple[Any, ...]
Step = Callable[[Carry, tuple[Any, ...], int], tuple[Carry, tuple[Tensor, ...]]]


def scan(
    step: Step,
    carry: Carry,
    inputs: Sequence[tuple[Any, int]],
    ranks: tuple[int, ...],
    positions: range,
    *,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Runs `step(carry, inputs, t)` over positions and stacks what it puts out.

    Args:
        step: one step; gives the next carry and the outputs.
        carry: what the first step is given.
        inputs: (stacked value, event rank of one step): the step's axis stands left of the event; or a list of steps.
        ranks: event rank of each output; the step's axis is put left of it.
        positions: the values of t, one per step.
        reverse: from the last position to the first.

    Returns:
        The outputs of every step, stacked in the order of the positions.
    """
    steps = [value if isinstance(value, list) else value.unbind(-rank - 1) for value, rank in inputs]
    places = range(len(positions))
    outputs: list[tuple[Tensor, ...]] = []
    for place in reversed(places) if reverse else places:
        carry, output = step(carry, tuple(entry[place] for entry in steps), positions[place])
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return tuple(
        torch.stack(torch.broadcast_tensors(*stacked), -rank - 1)
        for stacked, rank in zip(zip(*outputs, strict=True), ranks, strict=True)
    )

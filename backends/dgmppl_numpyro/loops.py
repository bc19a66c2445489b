"""Loops over an index that carry values from step to step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Carry = tuple[Any, ...]
Step = Callable[[Carry, tuple[Any, ...], Any], tuple[Carry, tuple[Array, ...]]]


def scan(
    step: Step,
    carry: Carry,
    inputs: Sequence[tuple[Any, int]],
    ranks: tuple[int, ...],
    positions: range,
    *,
    reverse: bool = False,
) -> tuple[Array, ...]:
    """Runs `step(carry, inputs, t)` over positions, in one compiled loop, and stacks what it puts out.

    Args:
        step: one step; gives the next carry and the outputs.
        carry: what the first step is given; broadcast to what a step gives, which has every batch axis.
        inputs: (stacked value, event rank of one step): the step's axis stands left of the event.
        ranks: event rank of each output; the step's axis is put left of it.
        positions: the values of t, one per step.
        reverse: from the last position to the first.

    Returns:
        The outputs of every step, stacked in the order of the positions.
    """
    steps = tuple(jnp.moveaxis(value, -rank - 1, 0) for value, rank in inputs)
    first = tuple(entry[0] for entry in steps)
    carry = _widened(lambda given: step(given, first, positions[0])[0], carry)

    def body(carry: Carry, entering: tuple[tuple[Any, ...], Array]) -> tuple[Carry, tuple[Array, ...]]:
        entries, position = entering
        return step(carry, entries, position)

    _, outputs = jax.lax.scan(body, carry, (steps, jnp.arange(positions.start, positions.stop)), reverse=reverse)
    return tuple(
        jnp.moveaxis(stacked, 0, stacked.ndim - rank - 1) for stacked, rank in zip(outputs, ranks, strict=True)
    )


def _widened(update: Callable[[Carry], Carry], carry: Carry) -> Carry:
    """The carry in the shapes and types that a step gives: batch axes enter by the first step's inputs."""
    for _ in range(2):
        after = jax.eval_shape(update, carry)
        carry = jax.tree.map(lambda value, like: jnp.broadcast_to(value, like.shape).astype(like.dtype), carry, after)
    return carry

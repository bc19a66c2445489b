"""Shapes along a chain, and the fixed orders of elements."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from dgmppl.ir.bijectors.core import Step
from dgmppl.ir.types import Shape


def image(step: Step, event: Shape, whole: Shape) -> Shape | None:
    """The shape that a step maps an event to, from base to data; None where the event does not fit.

    Args:
        step: the step.
        event: the shape of what it maps.
        whole: the shape of the whole bijector's event: an unsqueezed single channel is [H, W] where that is [H, W].
    """
    if step.kind == "squeeze":
        return _unsqueezed(event, whole) if step.inverted else _squeezed(event)
    if step.kind != "multiscale":
        return event
    inner = scaled(event)
    for part in step.steps:
        inner = None if inner is None else image(part, inner, whole)
    return event if inner is not None and inner == scaled(event) else None


def scaled(event: Shape) -> Shape | None:
    """The part of an event that `multiscale` goes on with: the first half of its leading axis; None where it is odd."""
    return (event[0] // 2, *event[1:]) if event and event[0] % 2 == 0 else None


def _squeezed(event: Shape) -> Shape | None:
    if len(event) not in {2, 3} or event[-1] % 2 or event[-2] % 2:
        return None
    return (4 * math.prod(event[:-2]), event[-2] // 2, event[-1] // 2)


def _unsqueezed(event: Shape, whole: Shape) -> Shape | None:
    if len(event) != 3 or event[0] % 4:
        return None
    channels, height, width = event[0] // 4, 2 * event[1], 2 * event[2]
    return (height, width) if channels == 1 and len(whole) == 2 else (channels, height, width)


def ordering(place: str, size: int) -> tuple[int, ...]:
    """A permutation of 0, ..., size - 1 that leaves nothing in its place, a function of the step's canonical name.

    At size 2 it is the swap; a single element stays where it is.
    """
    seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "little")
    generator, places = np.random.default_rng(seed), np.arange(size)
    order = places
    while size > 1 and (order == places).any():
        order = generator.permutation(size)
    return tuple(order.tolist())

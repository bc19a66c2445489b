"""The parameters of bijector steps under their canonical names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from dgmppl.ir.bijectors.core import Step
from dgmppl.ir.bijectors.shapes import scaled
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.types import Shape

_ZERO = Initializer("constant", 0.0)


def raw_parameters(element: Step) -> tuple[tuple[str, int | None], ...]:
    """The unconstrained parameters of an element transform, per element: (name, how many; None for a scalar).

    A spline with K bins has K widths, K heights and K - 1 inner derivatives; its tails are the identity. At zero each
    transform is the identity.
    """
    bins = element.options.get("bins")
    if element.kind == "spline" and isinstance(bins, int):
        return (("widths", bins), ("heights", bins), ("derivatives", bins - 1))
    return (("shift", None), ("log_scale", None))


def kept_and_moved(step: Step, size: int) -> tuple[int, int]:
    """How many elements a conditioner reads, and how many it transforms.

    `coupling` reads the first floor(D/2) elements and transforms the rest; `autoregressive` does both with all of them.
    """
    return (size // 2, size - size // 2) if step.kind == "coupling" else (size, size)


def step_parameters(step: Step, group: str, event: Shape) -> tuple[ParameterSpec, ...]:
    """The parameters of a step for events of a shape: its conditioner's, those of the steps inside, or its own.

    A conditioner's last layer starts at zero, so that its transform starts as the identity.
    """
    if step.conditioner is not None:
        inner = tuple(replace(parameter, group=group) for parameter in step.conditioner.parameters)
        return inner if step.element is None else (*inner[:-2], *(replace(last, init=_ZERO) for last in inner[-2:]))
    if step.steps:
        half = scaled(event) or event
        return tuple(found for part in step.steps for found in step_parameters(part, group, part.event or half))
    layout = _LAYOUTS.get(step.kind)
    return (
        ()
        if layout is None
        else tuple(
            ParameterSpec(f"{step.path}.{name}", group, shape, start) for name, shape, start in layout(step, event)
        )
    )


def _elementwise(step: Step, event: Shape) -> list[tuple[str, Shape, Initializer]]:
    return [(name, (*event, *(() if count is None else (count,))), _ZERO) for name, count in raw_parameters(step)]


def _lu_linear(step: Step, event: Shape) -> list[tuple[str, Shape, Initializer]]:
    """Of L and U, what lies off their diagonals; the other entries of these squares are never read."""
    del step
    size = math.prod(event)
    square = (size, size)
    return [
        ("lower", square, _ZERO),
        ("upper", square, _ZERO),
        ("log_diagonal", (size,), _ZERO),
        ("bias", (size,), _ZERO),
    ]


def _planar(step: Step, event: Shape) -> list[tuple[str, Shape, Initializer]]:
    """A random weight w and a zero direction u: the identity, from which u has a gradient."""
    del step
    size = math.prod(event)
    weight = Initializer("normal", 1.0 / math.sqrt(size))
    return [("weight", (size,), weight), ("direction", (size,), _ZERO), ("bias", (), _ZERO)]


_LAYOUTS: Mapping[str, Callable[[Step, Shape], list[tuple[str, Shape, Initializer]]]] = {
    "affine": _elementwise,
    "actnorm": _elementwise,
    "spline": _elementwise,
    "lu_linear": _lu_linear,
    "planar": _planar,
}

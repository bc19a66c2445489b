"""Parameters under their canonical names, and the values they start from, the same on every backend."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.types import REAL, Shape, Support


@dataclass(frozen=True, slots=True)
class Initializer:
    """A start value: `uniform` in +-value, `normal` with standard deviation value, `constant` value, `eye`, or `own`.

    `ordered` is evenly spaced from value - 1 to value + 1.

    Attributes:
        draw: seed -> array, where values that are known come first: those of a user's module, or of a finished run.
    """

    kind: str
    value: float = 0.0
    draw: Callable[[int], NDArray[np.float64]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One array of the canonical parameter tree.

    Attributes:
        name: dotted, starting with its group: `decoder.layers.0.weight`.
        group: the top-level name that a player owns.
        shape: in torch's layout.
        init: where it starts, in constrained space.
        support: the set that it is stored and exchanged in; it is optimized through a fixed bijection from the reals.
        trainable: False for buffers (masks, running statistics, standardization constants).
    """

    name: str
    group: str
    shape: Shape
    init: Initializer
    support: Support = REAL
    trainable: bool = True


def initial_value(spec: ParameterSpec, seed: int) -> NDArray[np.float64]:
    """The start value of a parameter; a function of the run's seed and the parameter's name alone."""
    digest = hashlib.sha256(spec.name.encode()).digest()
    generator = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    if spec.init.draw is not None:
        return spec.init.draw(seed)
    match spec.init.kind:
        case "uniform":
            return generator.uniform(-spec.init.value, spec.init.value, spec.shape)
        case "normal":
            return generator.normal(0.0, spec.init.value, spec.shape)
        case "constant":
            return np.full(spec.shape, spec.init.value)
        case "eye":
            return np.broadcast_to(np.eye(spec.shape[-2], spec.shape[-1]), spec.shape).copy()
        case "ordered":
            return np.broadcast_to(spec.init.value + np.linspace(-1.0, 1.0, spec.shape[-1]), spec.shape).copy()
        case kind:
            raise InternalError(f"initializer {kind!r} of {spec.name} is not in the table")


def initial_values(specs: Iterable[ParameterSpec], seed: int) -> dict[str, NDArray[np.float64]]:
    """Start values by canonical name."""
    return {spec.name: initial_value(spec, seed) for spec in specs}


def count(specs: Iterable[ParameterSpec]) -> int:
    """How many trainable numbers there are."""
    return sum(math.prod(spec.shape) for spec in specs if spec.trainable)

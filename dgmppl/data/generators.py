"""Synthetic two-dimensional data sets: independent draws from the densities that the literature compares on.

Each generator maps (size, generator of random numbers) to points `[size, 2]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]
# As text, because `numpy.random` is loaded when it is first named.
Generator: TypeAlias = "Callable[[int, np.random.Generator], Points]"


class Modes(NamedTuple):
    """Where a density has its modes: Gaussians of one standard deviation, equally likely.

    Attributes:
        centres: `[modes, 2]`.
        scale: the standard deviation along each axis.
    """

    centres: Points
    scale: float


def _pair(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Points:
    return np.stack([first, second], axis=-1).astype(np.float64)


def moons(size: int, draw: np.random.Generator) -> Points:
    """Two interleaving half circles of radius 1, with Gaussian noise of standard deviation 0.1."""
    angle = draw.uniform(0.0, np.pi, size)
    upper = draw.integers(0, 2, size) == 0
    x = np.where(upper, np.cos(angle), 1.0 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return _pair(x, y) + 0.1 * draw.standard_normal((size, 2))


def rings(size: int, draw: np.random.Generator) -> Points:
    """Four concentric circles of radii 0.75, 1.5, 2.25 and 3, with noise of standard deviation 0.08."""
    angle = draw.uniform(0.0, 2.0 * np.pi, size)
    radius = 0.75 * draw.integers(1, 5, size)
    return _pair(radius * np.cos(angle), radius * np.sin(angle)) + 0.08 * draw.standard_normal((size, 2))


def checkerboard(size: int, draw: np.random.Generator) -> Points:
    """Uniform on the eight dark squares, each of side 2, of a board over [-4, 4] squared."""
    x = draw.uniform(-2.0, 2.0, size)
    y = draw.uniform(0.0, 1.0, size) - 2.0 * draw.integers(0, 2, size) + np.floor(x) % 2
    return 2.0 * _pair(x, y)


def eight_gaussians(size: int, draw: np.random.Generator) -> Points:
    """Eight Gaussians of standard deviation 0.1 on a circle of radius 2, equally likely."""
    centres, scale = MODES["eight_gaussians"]
    return centres[draw.integers(0, 8, size)] + scale * draw.standard_normal((size, 2))


def two_spirals(size: int, draw: np.random.Generator) -> Points:
    """Two spirals of one and a half turns that start at the origin, with noise of standard deviation 0.1."""
    angle = np.sqrt(draw.uniform(0.0, 1.0, size)) * 3.0 * np.pi
    arm = _pair(-np.cos(angle) * angle, np.sin(angle) * angle) + 0.5 * draw.uniform(0.0, 1.0, (size, 2))
    sign = 1.0 - 2.0 * draw.integers(0, 2, size)
    return sign[:, None] * arm / 3.0 + 0.1 * draw.standard_normal((size, 2))


def swiss_roll(size: int, draw: np.random.Generator) -> Points:
    """The plane section of the Swiss roll, a fifth of its usual size, with noise of standard deviation 0.2."""
    angle = 1.5 * np.pi * (1.0 + 2.0 * draw.uniform(0.0, 1.0, size))
    return _pair(angle * np.cos(angle), angle * np.sin(angle)) / 5.0 + 0.2 * draw.standard_normal((size, 2))


_EIGHTHS = np.arange(8) * (np.pi / 4.0)

# The data sets whose modes are known.
MODES: dict[str, Modes] = {"eight_gaussians": Modes(2.0 * _pair(np.cos(_EIGHTHS), np.sin(_EIGHTHS)), 0.1)}

# The closed table of synthetic data sets.
GENERATORS: dict[str, Generator] = {
    generator.__name__: generator
    for generator in (checkerboard, eight_gaussians, moons, rings, swiss_roll, two_spirals)
}

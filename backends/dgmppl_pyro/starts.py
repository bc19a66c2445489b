"""Where chains start: the densest of several scattered points.

From a point far out in a tail a chain may need all of its warm-up to come in, or stay in a mode of no weight, as there
are in models of differential equations. Of `CANDIDATES` independent points the densest seldom lies so; chains still
start apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmppl_pyro.gradients import ValueAndGradient
from dgmppl_pyro.posterior import RADIUS, Posterior
from dgmppl_pyro.program import mix

CANDIDATES = 32


def densest(posterior: Posterior, energy: ValueAndGradient, seed: int) -> Tensor:
    """A starting point, the densest of points uniform on (-2, 2) per coordinate; see `Posterior.scattered`.

    Args:
        posterior: whose points.
        energy: minus the log density and its gradient.
        seed: of the points.

    Raises:
        RunError: as there, where no candidate has a finite density.
    """
    example = posterior.scattered(seed)
    generator = torch.Generator(example.device).manual_seed(mix(seed, CANDIDATES))
    shape = (CANDIDATES, posterior.size)
    draws = torch.rand(shape, generator=generator, dtype=example.dtype, device=example.device)
    return min((example, *(RADIUS * (2.0 * draws - 1.0))), key=lambda point: _height(energy, point))


def _height(energy: ValueAndGradient, point: Tensor) -> float:
    value, gradient = energy(point)
    return float(value) if torch.isfinite(value) and torch.isfinite(gradient).all() else math.inf

"""Where chains start: the densest of several scattered points.

From a point far out in a tail a chain may need all of its warm-up to come in, or stay in a mode of no weight, as there
are in models of differential equations. Of `CANDIDATES` independent points the densest seldom lies so; chains still
start apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from dgmppl_numpyro.parameters import Flat
from dgmppl_numpyro.posterior import height, initial_points, uniform

CANDIDATES = 32


def densest(
    log_density: Callable[[Flat], Any], shapes: Mapping[str, Any], key: Any, count: int, explain: Callable[[Flat], str]
) -> Flat:
    """Starting points, each the densest of points uniform on (-2, 2) in raw space; see `initial_points`.

    Raises:
        RunError: as there, where no candidate of some chain has a finite density.
    """
    points = uniform(shapes, key, count * CANDIDATES)
    # One after another: all at once a large data set would not fit.
    heights = np.asarray(jax.jit(partial(jax.lax.map, partial(height, log_density)))(points)).reshape(count, CANDIDATES)
    if not np.isfinite(heights).any(1).all():
        return initial_points(log_density, shapes, key, count, explain)
    chosen = heights.argmax(1) + CANDIDATES * np.arange(count)
    return {name: value[chosen] for name, value in points.items()}

"""Do two samples come from one distribution? The maximum mean discrepancy, judged by permutations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def permutation_test(x: Array, y: Array, *, permutations: int = 999, seed: int = 0) -> float:
    """The p-value of MMD^2 under exchange of the two samples (Gretton et al. 2012, eq. 3 and section 4).

    The kernel is Gaussian, its width the median distance of all points. The p-value is exact: (1 + the number of
    permutations with at least as large a statistic) / (1 + permutations), uniform where the distributions are equal.

    Args:
        x: `[N, D]`.
        y: `[M, D]`.
        permutations: how many.
        seed: of the permutations.
    """
    points = np.concatenate([x, y]).astype(np.float64)
    squares = (points**2).sum(1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * points @ points.T, 0.0)
    kernel = np.exp(-distances / np.median(distances[np.triu_indices(len(points), 1)]))
    np.fill_diagonal(kernel, 0.0)
    draw, sides = np.random.default_rng(seed), np.zeros(len(points), dtype=bool)
    sides[: len(x)] = True
    found = _discrepancy(kernel, sides)
    others = sum(_discrepancy(kernel, draw.permutation(sides)) >= found for _ in range(permutations))
    return (1.0 + others) / (1.0 + permutations)


def _discrepancy(kernel: Array, sides: Array) -> float:
    """The unbiased MMD^2 of the points of one side and those of the other; the kernel's diagonal is zero."""
    first = sides.astype(np.float64)
    second = 1.0 - first
    toward = kernel @ first
    n, m = first.sum(), second.sum()
    within, across = first @ toward, second @ toward
    rest = second @ kernel.sum(1) - across
    return float(within / (n * (n - 1.0)) + rest / (m * (m - 1.0)) - 2.0 * across / (n * m))

"""How far samples lie from data, without a density: sliced Wasserstein distance, modes, neighbours, spread.

Every number stands with its standard error; a datum is an array of any shape, which is flattened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.results.evaluation import standard_error

Array: TypeAlias = NDArray[Any]

_NEIGHBOURS = 5


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float


def proportion(hits: Array) -> Estimate:
    """The share p of hits among n independent trials, with its binomial standard error, sqrt(p (1 - p) / n)."""
    share = float(np.mean(hits))
    return Estimate(share, math.sqrt(share * (1.0 - share) / np.size(hits)))


# ---- sliced Wasserstein ---------------------------------------------------------------------------------------------


def sliced_wasserstein(x: Array, y: Array, *, directions: int = 200, seed: int = 0) -> Estimate:
    """SW(p, q) = E_t W_1(t·x, t·y), t uniform on the unit sphere (Bonneel et al. 2015, of order one).

    The empirical distance of two finite samples exceeds that of their distributions by O(1/sqrt(N)) on average, so it
    is compared with that of two samples of the data. The standard error joins those of both samples, by the central
    limit theorem for Kantorovich potentials (del Barrio, Gonzalez-Sanz and Loubes 2024), and that of the directions.

    Args:
        x: `[N, *event]`.
        y: `[M, *event]`.
        directions: how many; one is enough in one dimension.
        seed: of the directions.
    """
    x, y = flat(x), flat(y)
    lines = np.random.default_rng(seed).standard_normal((directions if x.shape[1] > 1 else 1, x.shape[1]))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    distances, of_x, of_y = zip(*(_wasserstein(x @ line, y @ line) for line in lines), strict=True)
    parts = [standard_error(np.mean(potentials, axis=0)) for potentials in (of_x, of_y)]
    parts += [standard_error(np.asarray(distances))] if len(lines) > 1 else []
    return Estimate(float(np.mean(distances)), math.hypot(*parts))


def _wasserstein(a: Array, b: Array) -> tuple[float, Array, Array]:
    """W_1 = integral |F - G| of two samples of numbers, and its potential at each, up to a constant.

    The potential falls with slope one where F > G and rises where F < G, so that E_a[potential] - E_b[potential] = W_1.
    """
    merged = np.concatenate([a, b])
    order = np.argsort(merged, kind="stable")
    difference = np.cumsum(np.where(order < len(a), 1.0 / len(a), -1.0 / len(b)))[:-1]
    gaps = np.diff(merged[order])
    potential = np.empty(len(merged))
    potential[order] = np.concatenate([[0.0], np.cumsum(-np.sign(np.round(difference, 12)) * gaps)])
    return float(np.sum(np.abs(difference) * gaps)), potential[: len(a)], potential[len(a) :]


# ---- modes ----------------------------------------------------------------------------------------------------------


class ModeCoverage(NamedTuple):
    """How samples lie about known modes.

    Attributes:
        covered: modes that have at least the least share of the samples.
        shares: the share of the samples that is near each mode.
        near: the share that is near any, with its binomial standard error.
    """

    covered: int
    shares: Array
    near: Estimate


def mode_coverage(samples: Array, centres: Array, radius: float, least: float = 0.01) -> ModeCoverage:
    """Counts samples within a radius of modes, each sample at its nearest one.

    Args:
        samples: `[N, D]`.
        centres: `[K, D]`.
        radius: a sample is near a mode within this distance.
        least: a mode is covered by at least this share of all samples.
    """
    distances = np.linalg.norm(samples[:, None, :] - centres[None, :, :], axis=-1)
    near = distances.min(axis=1) <= radius
    shares = np.bincount(distances.argmin(axis=1)[near], minlength=len(centres)) / len(samples)
    return ModeCoverage(int((shares >= least).sum()), shares, proportion(near))


# ---- neighbours and spread ------------------------------------------------------------------------------------------


def neighbour_coverage(data: Array, samples: Array, neighbours: int = _NEIGHBOURS) -> float:
    """The share of data rows that have a sample no farther than their k-th nearest other row.

    Naeem et al. 2020. Independent of the dimension and the scale; 0 where no row has one.
    """
    data, samples = flat(data), flat(samples)
    # The nearest row of a datum is itself.
    reach = np.partition(pairwise(data, data), neighbours, axis=1)[:, neighbours]
    return float((pairwise(data, samples).min(axis=1) <= reach).mean())


def expected_coverage(rows: int, samples: int, neighbours: int = _NEIGHBOURS) -> float:
    """What `neighbour_coverage` is on average where samples and data have one continuous distribution.

    A row has none of M samples in its ball if its k nearest among N - 1 rows and M samples are rows:
    1 - prod_{i<k} (N - 1 - i) / (N - 1 + M - i) (Naeem et al. 2020).
    """
    return 1.0 - math.prod((rows - 1 - i) / (rows - 1 + samples - i) for i in range(neighbours))


def spread(values: Array) -> float:
    """The mean distance between two different rows."""
    values = flat(values)
    return float(pairwise(values, values).sum() / (len(values) * (len(values) - 1)))


def over_blocks(statistic: Callable[[Array, Array], float], data: Array, samples: Array, blocks: int) -> Estimate:
    """A statistic of data and samples over disjoint blocks of both: its mean, with the error of independent values."""
    pairs = zip(np.array_split(data, blocks), np.array_split(samples, blocks), strict=True)
    values = np.array([statistic(*pair) for pair in pairs])
    return Estimate(float(values.mean()), standard_error(values))


def flat(values: Array) -> Array:
    """Each datum as a vector of real numbers, `[N, D]`."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def pairwise(x: Array, y: Array) -> Array:
    """Euclidean distances, `[N, M]`."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2.0 * x @ y.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

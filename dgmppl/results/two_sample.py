"""Do two samples come from one distribution? Kernel discrepancies, the exact Wasserstein distance, a classifier.

Every number stands with its standard error; a datum is an array of any shape, which is flattened.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import loaded_libraries_alone
from dgmppl.results.distances import Estimate, flat, pairwise, proportion
from dgmppl.results.evaluation import standard_error

Array: TypeAlias = NDArray[Any]


# ---- kernel discrepancies -------------------------------------------------------------------------------------------


def mmd(x: Array, y: Array, *, width: float | None = None) -> Estimate:
    """MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), k(a, b) = exp(-|a - b|^2 / (2 width^2)), without bias.

    Gretton et al. 2012, lemma 6. Zero for equal distributions alone; an estimate may be negative.

    Args:
        x: `[N, *event]`.
        y: `[M, *event]`.
        width: of the kernel; None for the median distance of two of all points, over sqrt(2).
    """
    x, y = flat(x), flat(y)
    if width is None:
        width = median_distance(np.concatenate([x, y])) / math.sqrt(2.0)
    scale = 2.0 * max(width, np.finfo(np.float64).tiny) ** 2
    return _discrepancy(*(np.exp(-(pairwise(a, b) ** 2) / scale) for a, b in ((x, x), (y, y), (x, y))))


def energy_distance(x: Array, y: Array) -> Estimate:
    """2 E|x - y| - E|x - x'| - E|y - y'|, without bias: the discrepancy of the kernel -|a - b|.

    Székely and Rizzo 2013. Zero for equal distributions alone; an estimate may be negative.

    Args:
        x: `[N, *event]`.
        y: `[M, *event]`.
    """
    x, y = flat(x), flat(y)
    return _discrepancy(*(-pairwise(a, b) for a, b in ((x, x), (y, y), (x, y))))


def median_distance(points: Array) -> float:
    """The median distance between two different rows."""
    return float(np.median(pairwise(points, points)[np.triu_indices(len(points), 1)]))


def _discrepancy(within_x: Array, within_y: Array, across: Array) -> Estimate:
    """The U-statistic of three Gram matrices, and the jackknife's standard error over the rows of both samples.

    Where both distributions are equal the statistic is degenerate, and the jackknife's error is too large rather than
    too small (Efron and Stein 1981).
    """
    n, m = across.shape
    sums_x = within_x.sum(1) - np.diag(within_x)
    sums_y = within_y.sum(1) - np.diag(within_y)
    total_x, total_y, total = sums_x.sum(), sums_y.sum(), across.sum()

    def statistic(x: Any, y: Any, between: Any, rows: int, columns: int) -> Any:
        return x / (rows * (rows - 1)) + y / (columns * (columns - 1)) - 2.0 * between / (rows * columns)

    value = float(statistic(total_x, total_y, total, n, m))
    if min(n, m) < 3:
        return Estimate(value, float("nan"))
    without_x = statistic(total_x - 2.0 * sums_x, total_y, total - across.sum(1), n - 1, m)
    without_y = statistic(total_x, total_y - 2.0 * sums_y, total - across.sum(0), n, m - 1)
    return Estimate(value, math.sqrt(sum((len(one) - 1) * float(np.var(one)) for one in (without_x, without_y))))


# ---- exact transport ------------------------------------------------------------------------------------------------


def wasserstein(x: Array, y: Array) -> Estimate:
    """W_1 of two empirical distributions under the Euclidean distance, by network simplex.

    It exceeds that of the distributions by O(N^(-1/D)) on average. The standard error is that of the Kantorovich
    potentials' means (del Barrio, Gonzalez-Sanz and Loubes 2024), which says nothing of this bias.

    Args:
        x: `[N, *event]`.
        y: `[M, *event]`.
    """
    with loaded_libraries_alone():
        import ot

    x, y = flat(x), flat(y)
    weights = [np.full(len(values), 1.0 / len(values)) for values in (x, y)]
    value, found = ot.emd2(*weights, pairwise(x, y), log=True, numItermax=1_000_000)
    return Estimate(float(value), math.hypot(*(standard_error(found[key]) for key in ("u", "v"))))


# ---- a classifier ---------------------------------------------------------------------------------------------------


def classifier_accuracy(x: Array, y: Array, *, seed: int = 0) -> Estimate:
    """How often a classifier tells held-out members of two samples apart: 1/2 where it cannot.

    Lopez-Paz and Oquab 2017, section 3: a perceptron of two layers learns on a random half of both samples, which are
    standardized, and is judged on the other half, with the binomial standard error.

    Args:
        x: `[N, *event]`.
        y: `[M, *event]`.
        seed: of the split and of the perceptron.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points = np.concatenate([flat(x), flat(y)])
    labels = np.repeat([0, 1], [len(x), len(y)])
    train, test, of_train, of_test = train_test_split(points, labels, test_size=0.5, stratify=labels, random_state=seed)
    perceptron = MLPClassifier((64, 64), early_stopping=True, max_iter=500, random_state=seed)
    classifier = make_pipeline(StandardScaler(), perceptron).fit(train, of_train)
    return proportion(classifier.predict(test) == of_test)

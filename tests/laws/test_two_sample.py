"""Distances between samples, against closed forms and replications."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, wasserstein_distance

from dgmppl.results.distances import Estimate
from dgmppl.results.two_sample import classifier_accuracy, energy_distance, median_distance, mmd, wasserstein

Array = NDArray[np.float64]

SHIFT, WIDTH, ROWS = 0.7, 0.8, 120


def normals(shift: float, seed: int, rows: int = ROWS) -> tuple[Array, Array]:
    """Samples of N(0, 1) and N(shift, 1)."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((rows, 1)), draw.standard_normal((rows, 1)) + shift


def true_mmd(shift: float) -> float:
    """MMD^2 of N(0, 1) and N(shift, 1): E k(a, b) = s / sqrt(s^2 + 2) exp(-d^2 / (2 (s^2 + 2)))."""
    variance = WIDTH**2 + 2.0
    return 2.0 * WIDTH / math.sqrt(variance) * (1.0 - math.exp(-(shift**2) / (2.0 * variance)))


def true_energy(shift: float) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| with x - y ~ N(-shift, 2)."""
    root = math.sqrt(2.0)
    across = 2.0 * root * norm.pdf(shift / root) + shift * (1.0 - 2.0 * norm.cdf(-shift / root))
    return float(2.0 * across - 2.0 * 2.0 / math.sqrt(math.pi))


def squared_discrepancy(x: Array, y: Array) -> Estimate:
    return mmd(x, y, width=WIDTH)


@pytest.mark.parametrize(
    ("statistic", "truth"), [(squared_discrepancy, true_mmd), (energy_distance, true_energy)], ids=["mmd", "energy"]
)
@pytest.mark.parametrize("shift", [0.0, SHIFT])
def test_discrepancies_are_unbiased_and_know_their_error(
    statistic: Callable[[Array, Array], Estimate], truth: Callable[[float], float], shift: float
) -> None:
    found = [statistic(*normals(shift, seed)) for seed in range(300)]
    values = np.array([one.value for one in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() - truth(shift)) < 4.0 * spread / math.sqrt(len(values))
    # The mean square of the errors stated is the variance found, and not below it where the statistic is degenerate.
    stated = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert stated > 0.85 * spread
    assert shift == 0.0 or stated < 1.15 * spread


def test_the_kernel_is_as_wide_as_the_median_distance() -> None:
    x, y = normals(SHIFT, 0)
    width = median_distance(np.concatenate([x, y])) / math.sqrt(2.0)
    assert mmd(x, y) == mmd(x, y, width=width)
    assert mmd(1000.0 * x, 1000.0 * y).value == pytest.approx(mmd(x, y).value, rel=1e-9)


def test_exact_transport_is_scipy_s_on_the_line() -> None:
    x, y = normals(SHIFT, 1)
    assert wasserstein(x, y).value == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-9)


def test_exact_transport_of_a_shift_is_its_length() -> None:
    x = np.random.default_rng(2).standard_normal((50, 3, 2))
    assert wasserstein(x, x + 0.5).value == pytest.approx(0.5 * math.sqrt(6.0), rel=1e-9)


def test_exact_transport_knows_its_error() -> None:
    found = [wasserstein(*normals(2.0, seed)) for seed in range(200)]
    spread = np.std([one.value for one in found], ddof=1)
    stated = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert 0.85 < stated / spread < 1.15


def test_a_classifier_tells_apart_what_differs() -> None:
    draw = np.random.default_rng(3)
    x, y = draw.standard_normal((600, 2)), draw.standard_normal((600, 2))
    alike = classifier_accuracy(x, y)
    assert abs(alike.value - 0.5) < 4.0 * alike.standard_error
    # The best rule of two normals a distance d apart is right with probability Phi(d / 2).
    apart = classifier_accuracy(x, y + np.array([2.0, 0.0]))
    assert norm.cdf(1.0) - 0.06 < apart.value < norm.cdf(1.0) + 3.0 * apart.standard_error

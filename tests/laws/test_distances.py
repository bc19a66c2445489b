"""Distances between samples: closed forms, reference implementations, and standard errors against replications."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from dgmppl.data.generators import GENERATORS, MODES
from dgmppl.results.distances import (
    expected_coverage,
    mode_coverage,
    neighbour_coverage,
    over_blocks,
    sliced_wasserstein,
    spread,
)


def test_one_dimension_is_scipy_s_wasserstein_distance() -> None:
    from scipy.stats import wasserstein_distance

    draw = np.random.default_rng(0)
    x, y = draw.normal(size=40), 0.3 + 2.0 * draw.normal(size=70)
    assert sliced_wasserstein(x, y).value == pytest.approx(wasserstein_distance(x, y), rel=1e-12)


def test_a_shift_is_its_length_times_the_mean_projection() -> None:
    """W_1 between x and x + s along a line is |t·s|; on the circle E|t·s| = (2 / pi) |s|."""
    x = np.random.default_rng(0).normal(size=(50, 2))
    found = sliced_wasserstein(x, x + np.array([3.0, 4.0]), directions=4000)
    error = 5.0 * math.sqrt(0.5 - (2.0 / math.pi) ** 2) / math.sqrt(4000)
    assert abs(found.value - 5.0 * 2.0 / math.pi) < 3.0 * error


def test_the_standard_error_is_that_of_replications() -> None:
    draw = np.random.default_rng(1)
    pairs = [(draw.normal(size=(300, 2)), 0.5 + 1.5 * draw.normal(size=(400, 2))) for _ in range(150)]
    found = [sliced_wasserstein(*pair, directions=100, seed=number) for number, pair in enumerate(pairs)]
    spread_found = np.std([one.value for one in found], ddof=1)
    # The relative error of a standard deviation of 150 values is 1 / sqrt(2 * 149) = 0.058.
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread_found, rel=0.2)


def test_every_event_shape_is_flattened() -> None:
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(30, 2, 3)), draw.normal(size=(30, 2, 3))
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x.reshape(30, 6), y.reshape(30, 6))


def test_data_cover_their_own_modes() -> None:
    centres, scale = MODES["eight_gaussians"]
    points = GENERATORS["eight_gaussians"](4000, np.random.default_rng(0))
    found = mode_coverage(points, centres, 3.0 * scale)
    assert found.covered == 8
    # A plane Gaussian has exp(-9 / 2) of its mass beyond three standard deviations.
    expected = 1.0 - math.exp(-4.5)
    assert abs(found.near.value - expected) < 3.0 * math.sqrt(expected * (1.0 - expected) / 4000)
    assert found.shares.sum() == pytest.approx(found.near.value)


def test_a_mode_is_covered_by_its_share_of_all_samples() -> None:
    centres = np.array([[0.0, 0.0], [5.0, 0.0]])
    samples = np.concatenate([np.zeros((98, 2)), [[5.0, 0.29]], [[5.0, 0.31]]])
    found = mode_coverage(samples, centres, 0.3)
    assert (found.covered, found.near.value) == (2, 0.99)
    assert mode_coverage(samples, centres, 0.3, least=0.02).covered == 1


def test_coverage_is_what_it_is_expected_to_be_where_the_model_is_perfect() -> None:
    draw = np.random.default_rng(3)
    found = [neighbour_coverage(draw.normal(size=(40, 3)), draw.normal(size=(60, 3))) for _ in range(200)]
    error = np.std(found, ddof=1) / math.sqrt(200)
    assert abs(np.mean(found) - expected_coverage(40, 60)) < 3.0 * error


def test_expected_coverage_counts_orders() -> None:
    """Of all orders of two other rows and three samples by distance, those with a sample among the first two."""
    orders = set(itertools.permutations("rrsss"))
    covered = sum("s" in order[:2] for order in orders) / len(orders)
    assert expected_coverage(3, 3, neighbours=2) == pytest.approx(covered)


def test_coverage_and_spread_fall_with_the_modes() -> None:
    data, drawn = (GENERATORS["eight_gaussians"](400, np.random.default_rng(seed)) for seed in (0, 1))
    half = np.abs(drawn)
    assert neighbour_coverage(data, drawn) > 0.9
    assert neighbour_coverage(data, half) < 0.6
    assert spread(half) < 0.75 * spread(data)


def test_spread_is_the_mean_over_pairs() -> None:
    values = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
    assert spread(values) == pytest.approx((5.0 + 4.0 + 3.0) / 3.0)


def test_blocks_have_the_error_of_a_mean() -> None:
    draw = np.random.default_rng(4)
    found = over_blocks(lambda one, other: one.mean() - other.mean(), draw.normal(size=800), draw.normal(size=800), 8)
    assert found.standard_error == pytest.approx(math.sqrt(2.0 / 800), rel=0.75)
    assert abs(found.value) < 4.0 * math.sqrt(2.0 / 800)

"""Synthetic data sets: their stated geometry, and reproducibility."""

import numpy as np
import pytest

from dgmppl.data.generators import GENERATORS


@pytest.mark.parametrize("name", GENERATORS)
def test_shape_and_seed(name: str) -> None:
    first, again, other = (GENERATORS[name](200, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (200, 2)
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_eight_gaussians_radius_and_spread() -> None:
    points = GENERATORS["eight_gaussians"](40_000, np.random.default_rng(0))
    angles = np.arange(8) * np.pi / 4
    centres = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    distance = np.linalg.norm(points[:, None] - centres, axis=-1)
    nearest = distance.argmin(axis=1)
    # A squared deviation in the plane has mean 2 * 0.1**2 and, over 40000 draws, a standard error of 1e-4.
    assert (distance.min(axis=1) ** 2).mean() == pytest.approx(0.02, abs=5e-4)
    assert np.bincount(nearest).min() > 4_600


def test_checkerboard_covers_the_dark_squares_only() -> None:
    points = GENERATORS["checkerboard"](5_000, np.random.default_rng(0))
    squares = np.floor(points / 2).astype(int)
    assert ((squares.sum(axis=1) % 2) == 0).all()
    assert len({tuple(square) for square in squares}) == 8
    assert np.abs(points).max() <= 4


def test_rings_have_four_radii() -> None:
    radius = np.linalg.norm(GENERATORS["rings"](5_000, np.random.default_rng(0)), axis=1)
    gap = np.abs(radius[:, None] - np.array([0.75, 1.5, 2.25, 3.0])).min(axis=1)
    assert np.sqrt((gap**2).mean()) == pytest.approx(0.08, abs=0.01)

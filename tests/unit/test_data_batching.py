"""Batches: every row once per pass, one size, resumable, unbiased."""

import numpy as np
import pytest

from dgmppl.data import Batches
from dgmppl.errors import RunError


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (12, 4), (7, 7), (5, 100), (1, 1), (9, 8)])
def test_every_pass_visits_every_row_exactly_once(rows: int, size: int) -> None:
    batches = Batches(rows, size, seed=3)
    passes = 4
    stream = np.concatenate([next(batches) for _ in range(batches.steps_for(passes))])
    for epoch in range(passes):
        np.testing.assert_array_equal(np.sort(stream[epoch * rows : (epoch + 1) * rows]), np.arange(rows))


def test_every_batch_has_the_same_size() -> None:
    batches = Batches(10, 3, seed=0)
    assert {len(next(batches)) for _ in range(40)} == {3}


def test_epochs_and_seeds_differ_and_a_seed_repeats() -> None:
    batches, again, other = Batches(50, 5, 1), Batches(50, 5, 1), Batches(50, 5, 2)
    assert not np.array_equal(batches.order(0), batches.order(1))
    assert not np.array_equal(batches.order(0), other.order(0))
    np.testing.assert_array_equal(batches.order(3), again.order(3))


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 17])
def test_resume_gives_the_same_stream(taken: int) -> None:
    straight, first, second = (Batches(10, 3, seed=5) for _ in range(3))
    for _ in range(taken):
        next(straight), next(first)
    second.restore(first.state())
    assert second.step == taken
    for _ in range(12):
        np.testing.assert_array_equal(next(second), next(straight))


def test_full_batch_keeps_the_order() -> None:
    batches = Batches(4, None, seed=0)
    assert batches.scale == 1.0
    for _ in range(3):
        np.testing.assert_array_equal(next(batches), np.arange(4))


def test_scaled_batch_sums_are_unbiased_over_whole_passes() -> None:
    values = np.arange(10.0) ** 2
    batches = Batches(10, 4, seed=0)
    estimates = [batches.scale * values[next(batches)].sum() for _ in range(5 * 20)]
    assert np.mean(estimates) == pytest.approx(values.sum())


def test_a_state_of_another_run_is_refused() -> None:
    with pytest.raises(RunError, match="size"):
        Batches(10, 4, seed=0).restore(Batches(10, 5, seed=0).state())
    with pytest.raises(RunError):
        Batches(0, 4, seed=0)

"""Beginnings of factorized events: what may be given, and where it goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgmppl.api.completion import factorized, prefix
from dgmppl.compiler import front
from dgmppl.errors import RunError


def _site(order: str = "raster") -> tuple[Any, Any]:
    spec = {
        "dgmppl": 1,
        "name": "bits",
        "data": {"b": {"shape": [2, 3], "support": "binary"}},
        "networks": {"n": f"made([8], order={order})"},
        "model": {"b[i]": "Bernoulli(logits=n(b[:i]))"},
    }
    program = front(spec).program
    return program, factorized(program)["b"]


def test_first_elements_are_placed_in_the_order_of_the_network() -> None:
    program, site = _site()
    values, known = prefix(program, site, [1, 0, 1, 1], 2)
    np.testing.assert_array_equal(values, np.broadcast_to([[1, 0, 1], [1, 0, 0]], (2, 2, 3)))
    np.testing.assert_array_equal(known, np.broadcast_to([[1, 1, 1], [1, 0, 0]], (2, 2, 3)).astype(bool))
    program, site = _site("reverse")
    values, known = prefix(program, site, [1, 0], 1)
    np.testing.assert_array_equal(values[0], [[0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(known[0], [[0, 0, 0], [0, 1, 1]])


def test_whole_events_say_by_nan_what_is_unknown() -> None:
    program, site = _site()
    given = np.array([[1, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    values, known = prefix(program, site, given, 3)
    assert known.sum() == 3
    assert values[:, 0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros(7), "at most 6 elements"),
        (np.array([[np.nan, 1, np.nan], [np.nan, np.nan, np.nan]]), "without a gap"),
        (np.zeros((4, 2)), r"\[3, m\]"),
    ],
)
def test_what_is_no_beginning_is_refused(given: Any, reason: str) -> None:
    program, site = _site()
    with pytest.raises(RunError, match=reason):
        prefix(program, site, given, 3)

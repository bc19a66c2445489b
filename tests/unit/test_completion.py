"""What may be given of an event that a sampler completes, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from dgmppl.api.completion import completed, known, prefix
from dgmppl.cli.options import values as of_arguments
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
    return program, completed(program)["b"]


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


def _diffusion() -> tuple[Any, Any]:
    spec = {
        "dgmppl": 1,
        "name": "maps",
        "data": {"x": {"shape": [2, 3], "support": "real"}},
        "networks": {"n": "mlp([8], time=embedding(4))"},
        "model": {"x": "Diffusion(n, steps=4)"},
    }
    program = front(spec).program
    return program, completed(program)["x"]


def test_any_elements_of_a_diffusion_may_be_given() -> None:
    program, site = _diffusion()
    values, where = known(program, site, [[np.nan, 2.0, np.nan], [0.5, np.nan, 0.0]], 4)
    np.testing.assert_array_equal(values, np.broadcast_to([[0.0, 2.0, 0.0], [0.5, 0.0, 0.0]], (4, 2, 3)))
    np.testing.assert_array_equal(where, np.broadcast_to([[0, 1, 0], [1, 0, 1]], (4, 2, 3)).astype(bool))
    assert not known(program, site, None, 4)[1].any()


@pytest.mark.parametrize(("given", "reason"), [(np.zeros(2), "whole events"), ("half.txt", "no array of numbers")])
def test_what_is_no_event_of_a_diffusion_is_refused(given: Any, reason: str) -> None:
    program, site = _diffusion()
    with pytest.raises(RunError, match=reason):
        known(program, site, given, 3)


def test_the_command_line_takes_arrays_from_files(tmp_path: Path) -> None:
    half = np.array([[np.nan, 2.0, np.nan], [0.5, np.nan, 0.0]])
    np.save(tmp_path / "half.npy", half)
    given = of_arguments([f"x={tmp_path / 'half.npy'}", "y=3"])
    assert given is not None
    assert given["y"] == 3
    np.testing.assert_array_equal(given["x"], half)
    with pytest.raises(typer.BadParameter, match="cannot be read"):
        of_arguments([f"x={tmp_path / 'whole.npy'}"])

"""Data against the distributions of their columns, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import dgmppl as dg
from dgmppl.cli import app
from dgmppl.compiler import check
from dgmppl.errors import SpecError


def spec(density: str, column: Any) -> dict[str, Any]:
    return {"dgmppl": 1, "name": "test", "data": {"x": column}, "model": {"x": density}}


def said(density: str, column: Any, **bindings: Any) -> str:
    found = check(spec(density, column), bindings=bindings or None)
    return "\n".join(one.render() for one in found if one.code == "data-likelihood")


@pytest.mark.parametrize(
    ("density", "values", "expected", "found", "fix"),
    [
        ("Bernoulli(0.5)", [0, 5, 16], "binary", "the value 16 in row 3", "binarize(8)"),
        ("Categorical(probs=[0.5, 0.5])", [0, 1, 2], "integer(2)", "the value 2 in row 3", "3 classes"),
        ("LogNormal(0, 1)", [0.5, -1.5], "positive", "the value -1.5 in row 2", "`Normal`"),
        ("LogNormal(0, 1)", [0, 3], "positive", "the value 0 in row 1", "ZeroInflated"),
        ("Beta(1, 1)", [0.5, 1.5], "unit", "the value 1.5 in row 2", "unit()"),
        ("Beta(1, 1)", [0, 3], "unit", "the value 3 in row 2", "dequantize(4)"),
        ("Poisson(3)", [2, 2.5], "count", "the value 2.5 in row 2, which is no integer", "binarize(t)"),
        ("Dirichlet([1, 1])", [[0.5, 0.5], [0.5, 0.25]], "simplex", "the sum 0.75 in row 2", "by its sum"),
    ],
)
def test_values_outside_the_support(density: str, values: Any, expected: str, found: str, fix: str) -> None:
    message = said(density, values)
    assert "the data of 'x' do not fit its distribution" in message
    for part in (f"expected: {expected}", f"found: {found}", fix):
        assert part in message


@pytest.mark.parametrize(
    ("density", "values"),
    [
        ("Bernoulli(0.5)", [0, 1, 1]),
        ("Categorical(probs=[0.5, 0.5])", [0, 1, 1]),
        ("Normal(0, 1)", [0, 1.5]),
        ("LogNormal(0, 1)", [1.5, 2, 3]),
        ("LogNormal(0, 1)", [None, 0.5, 1]),
        ("Poisson(3)", [2, 4, 0]),
        ("Dirichlet([1, 1])", [[0.5, 0.5], [0.25, 0.75]]),
    ],
)
def test_values_inside_the_support(density: str, values: Any) -> None:
    assert said(density, values) == ""


def test_transformed_values_are_the_ones_that_count() -> None:
    column = {"dataset": "digits.features", "transform": "standardize()"}
    assert "after the transforms" in said("LogNormal(0, 1)", column)


def test_a_column_without_values_is_checked_by_its_declaration() -> None:
    assert "found: real" in said("Bernoulli(0.5)", {"shape": [], "support": "real"})


@pytest.mark.parametrize("as_file", [False, True])
def test_data_bound_at_run_time(as_file: bool, tmp_path: Path) -> None:
    values = np.array([0.5, 2.0, -3.0])
    program = dg.compile(spec("LogNormal(m, 1)", {"shape": []}) | {"parameters": {"m": "learned(zeros)"}})
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(SpecError) as caught:
        program.fit({"x": str(tmp_path / "x.npy")} if as_file else values)
    (problem,) = caught.value.diagnostics
    assert problem.code == "data-likelihood"
    assert "found: the value -3 in row 3" in problem.render()


def test_files_bound_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "dgmppl: 1\nname: test\ndata: {x: {shape: []}}\nparameters: {m: learned(positive)}\nmodel: {x: Poisson(m)}\n",
        encoding="utf-8",
    )
    np.save(tmp_path / "x.npy", np.array([1.0, 2.5]))
    command = ["fit", str(path), "--data", f"x={tmp_path / 'x.npy'}", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, SpecError)
    assert "found: the value 2.5 in row 2, which is no integer" in result.exception.diagnostics[0].render()


def test_a_held_out_row_beyond_the_range_of_the_training_rows() -> None:
    column = {"values": [0.5, 1.5, 2.5, 3.5], "transform": "unit()", "split": {"test": 2, "seed": 0}}
    message = said("Beta(2, 2)", column)
    assert "after the transforms" in message
    assert "divide by a range that holds all rows" in message
    assert said("Normal(0, 1)", column) == ""

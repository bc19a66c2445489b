"""Data from end to end: every source into a model with a known density, scores of new data, samples back to files."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from scipy import stats

import dgmppl as dg
from dgmppl.api.discrete import DEQUANTIZED
from dgmppl.api.export import read_columns, sample_frame, write_samples
from dgmppl.compiler import check
from dgmppl.source import Diagnostic

VALUES = np.random.default_rng(0).normal(50.0, 20.0, size=(12, 2))


def spec(data: str, model: str = "x: Normal(0, 1, shape=2)", parameters: str = "") -> str:
    entries = "\n".join(f"  {line}" for line in data.splitlines())
    return f"dgmppl: 1\nname: t\ndata:\n{entries}\n{parameters}model:\n  {model}\n"


def initial(data: str, model: str = "x: Normal(0, 1, shape=2)", bindings: Any = None, parameters: str = "") -> dg.Fit:
    return dg.compile(spec(data, model, parameters), "numpyro", bindings).initial()


def standardized(x: np.ndarray) -> np.ndarray:
    """Log density in the data's own units of N(0, 1) on standardized columns: that of N(mean, sd) itself."""
    return np.asarray(stats.norm(VALUES.mean(0), VALUES.std(0)).logpdf(x).sum(1))


def written(folder: Path, name: str) -> str:
    """The values as a file of any format, and how a spec selects them."""
    path, frame = folder / name, pd.DataFrame(VALUES, columns=["a", "b"])
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)
        case ".npy":
            np.save(path, VALUES)
        case ".npz":
            np.savez(path, v=VALUES, w=np.ones(12))
        case ".nc":
            xr.Dataset({"v": (("row", "column"), VALUES)}).to_netcdf(path, engine="h5netcdf")
    return f"{path}, key: v" if path.suffix == ".npz" else str(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npy", "t.npz", "t.nc"])
def test_every_format_gives_the_same_density(tmp_path: Path, name: str) -> None:
    fit = initial(f"x: {{file: {written(tmp_path, name)}, transform: standardize()}}")
    np.testing.assert_allclose(fit.log_prob(), standardized(VALUES), rtol=1e-4)


OBJECTS = {
    "array": VALUES,
    "list": VALUES.tolist(),
    "pandas": pd.DataFrame(VALUES, columns=["a", "b"]),
    "polars": pl.DataFrame({"a": VALUES[:, 0], "b": VALUES[:, 1]}),
    "data array": xr.DataArray(VALUES, dims=("row", "column")),
    "data set": xr.Dataset({"x": (("row", "column"), VALUES)}),
    "mapping": {"x": VALUES},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_bound_and_scored(name: str) -> None:
    program = dg.compile(spec("x: {shape: [2], transform: standardize()}"), "numpyro").bound(OBJECTS[name])
    fit = program.initial()
    np.testing.assert_allclose(fit.log_prob(), standardized(VALUES), rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob(OBJECTS[name]), standardized(VALUES), rtol=1e-4)


def test_columns_are_found_by_the_names_that_the_spec_selects(tmp_path: Path) -> None:
    table = pd.DataFrame({"b": VALUES[:, 1], "id": range(12), "a": VALUES[:, 0]})
    table.to_csv(tmp_path / "t.csv", index=False)
    fit = initial(f"x: {{file: {tmp_path / 't.csv'}, columns: {{except: [id]}}, transform: standardize()}}")
    expected = standardized(VALUES)
    np.testing.assert_allclose(fit.log_prob(table), expected, rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob(pl.from_pandas(table)), expected, rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob({"a": VALUES[:, 0], "b": VALUES[:, 1]}), expected, rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob(read_columns(fit, [str(tmp_path / "t.csv")])), expected, rtol=1e-4)
    with pytest.raises(dg.RunError, match=r"no data column 'y'"):
        fit.log_prob({"y": VALUES})


# ---- bits per dimension ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "model", "status"),
    [
        ("[flatten(), dequantize(17)]", "x: Beta(1, 1, shape=64)", "bound"),
        # The log-odds of a uniform variable are logistic.
        ("[dequantize(17), logit(0), flatten()]", "x: Logistic(0, 1, shape=64)", "bound"),
        ("flatten()", "x: Categorical(probs=ones(17) / 17, shape=64)", "exact"),
        ("[one_hot(), flatten()]", "x: Bernoulli(0.5, shape=1088)", "exact"),
    ],
)
def test_bits_per_dimension_of_uniform_models(transform: str, model: str, status: str) -> None:
    fit = initial(f"x: {{dataset: digits.images, transform: {transform}, split: {{test: 20}}}}", model)
    metric = fit.evaluate()["metrics"][0]
    uniform = math.log2(17) if "Bernoulli" not in model else 17.0  # 17 fair coins for each one-hot vector
    assert metric["bits_per_dim"] == pytest.approx(uniform, rel=1e-5)
    assert metric["value"] == pytest.approx(-64 * uniform * math.log(2), rel=1e-5)
    assert (metric["status"], DEQUANTIZED in metric["why"]) == (status, status == "bound")


def test_a_dequantized_density_bounds_the_probability() -> None:
    """P(x) = integral of p over the cell; the mean over noise of log p stays below its logarithm."""
    data = "x: {values: [0, 1, 2, 3], support: integer(4), transform: dequantize(4)}"
    fit = initial(data, "x: Beta(2, 5)")
    edges = np.arange(5) / 4
    exact = np.log(np.diff(stats.beta(2, 5).cdf(edges)))
    draws = np.stack([fit.log_prob(np.arange(4), seed=seed) for seed in range(300)])
    error = draws.std(0, ddof=1) / math.sqrt(300)
    assert (draws.mean(0) < exact + 4 * error).all()
    cells = [np.linspace(low, high, 4001)[1:-1] for low, high in itertools.pairwise(edges)]
    bound = [np.mean(stats.beta(2, 5).logpdf(cell)) - math.log(4) for cell in cells]
    assert (np.abs(draws.mean(0) - bound) < 4 * error + 1e-2).all()


def test_continuous_data_have_no_bits() -> None:
    assert "bits_per_dim" not in initial("x: iris.features", "x: Normal(0, 1, shape=4)").evaluate()["metrics"][0]


# ---- own units ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "model", "kind", "low", "high"),
    [
        ("x: {dataset: digits.target, transform: dequantize(10)}", "x: Beta(1, 1)", "i", 0, 9),
        ("x: {dataset: digits.target}", "x: Categorical(probs=ones(10) / 10)", "i", 0, 9),
        ("x: {dataset: digits.target, transform: unit()}", "x: Beta(1, 1)", "f", 0, 9),
        ("x: {dataset: digits.target, transform: standardize()}", "x: Normal(0, 1)", "f", -20, 30),
    ],
)
def test_samples_come_back_in_the_datas_units(data: str, model: str, kind: str, low: float, high: float) -> None:
    drawn = initial(data, model).sample(500, seed=1)
    assert drawn.dtype.kind == kind
    assert low <= drawn.min()
    assert drawn.max() <= high
    assert kind == "f" or set(np.unique(drawn)) == set(range(10))


def test_samples_as_files_come_back_in(tmp_path: Path) -> None:
    table = pd.DataFrame({"town": ["a, b", 'say "c"', "d"] * 20})
    fit = dg.compile(
        spec("town: {shape: []}", "town: Categorical(probs=ones(3) / 3)"), bindings={"town": table}
    ).initial()
    frame = sample_frame(fit, 40, seed=3)
    assert set(frame["town"]) == set(table["town"])
    for name in ("s.csv", "s.tsv", "s.parquet"):
        write_samples(fit, tmp_path / name, 40, None, 3)
        again = read_columns(fit, [str(tmp_path / name)])
        assert list(again["town"]) == list(frame["town"])
        np.testing.assert_allclose(fit.log_prob(again), np.full(40, -math.log(3)), rtol=1e-5)
    with pytest.raises(dg.RunError, match=r"\.parquet"):
        write_samples(fit, tmp_path / "s.xlsx", 4, None, 3)


def test_sample_columns_keep_the_tables_names(tmp_path: Path) -> None:
    fit = initial(f"x: {{file: {written(tmp_path, 't.csv')}, transform: standardize()}}")
    assert list(sample_frame(fit, 3).columns) == ["a", "b"]


# ---- data that do not fit -------------------------------------------------------------------------------------------


PAIRS, REALS, DIGITS = np.array([[1.5, 2.5], [2.5, 1.5]]), np.array([0.5, 1.5, 2.5]), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("data", "model", "training", "given", "message"),
    [
        ("x: {shape: [2]}", "x: Normal(0, 1, shape=2)", PAIRS, [[1.0, np.nan]], r"element \[1\] of row 1 is missing"),
        ("x: {shape: [2]}", "x: Normal(0, 1, shape=2)", PAIRS, [[1.0, np.inf]], r"\[1\] of row 1 holds an infinite"),
        ("x: {shape: [2]}", "x: Normal(0, 1, shape=2)", PAIRS, [[1.0]], r"shape \[1, 1\], expected \[rows, 2\]"),
        ("x: {shape: []}", "x: Poisson(3)", DIGITS, [1, 2.5], "row 2 holds 2.5: the support is count"),
        (
            "x: {shape: []}",
            "x: Categorical(probs=ones(3) / 3)",
            DIGITS,
            [0, 3],
            "row 2 holds 3: the support is integer",
        ),
        (
            "x: {shape: [], transform: dequantize(4)}",
            "x: Beta(1, 1)",
            DIGITS,
            [3, 4],
            "row 2 holds 4: dequantize needs",
        ),
        (
            "x: {shape: [], transform: logit(0)}",
            "x: Normal(0, 1)",
            REALS / 4,
            [0.5, 1.5],
            "row 2 holds 1.5: logit needs",
        ),
        ("x: {shape: []}", "x: Normal(0, 1)", REALS, ["1", "a"], "row 2 holds the label 'a'"),
        ("x: {shape: []}", "x: Normal(0, 1)", REALS, [], "no rows"),
    ],
)
def test_scored_data_are_checked(data: str, model: str, training: Any, given: Any, message: str) -> None:
    fit = initial(data, model, {"x": training})
    with pytest.raises(dg.RunError, match=message):
        fit.log_prob(given)


def test_all_problems_at_once_none_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,income,town\n31,1.5,a\n?,inf,b\n40,2.5,\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1\n")
    table = tmp_path / "t.csv"
    found = check(spec("\n".join((
        f"a: {{file: {table}, column: age}}", f"b: {{file: {table}, column: income}}",
        f"c: {{file: {table}, column: town, missing: error}}", f"d: {{file: {table}, column: twon}}",
        f"e: {{file: {tmp_path / 'ragged.csv'}}}", f"f: {{file: {tmp_path / 'gone.npy'}}}",
        f"g: {{file: {tmp_path}}}", "h: {dataset: digits.images, transform: [standardize(), dequantize(17)]}",
    )), "b: Normal(0, 1)"))  # fmt: skip
    problems = [problem for problem in found if isinstance(problem, Diagnostic) and problem.code.startswith("data-")]
    assert [(problem.message[0], problem.code) for problem in problems][:8] == [
        ("a", "data-type"), ("b", "data-support"), ("c", "data-missing-entries"), ("d", "data-unknown-column"),
        ("e", "data-ragged"), ("f", "data-file-missing"), ("g", "data-empty"), ("h", "data-transform-input"),
    ]  # fmt: skip
    assert all(problem.span is not None for problem in problems)


def test_likelihoods_are_checked_with_column_row_and_suggestion(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,town\n0,1,x\n1,16,y\n")

    def only(data: str, model: str) -> Diagnostic:
        (problem,) = check(spec(data, model))
        return problem

    table = tmp_path / "t.csv"
    problem = only(f"x: {{file: {table}, columns: [a, b]}}", "x: Bernoulli(0.5, shape=2)")
    assert problem.found == "the value 16 in row 2 of column `b`"
    assert "binarize(8)" in str(problem.fix)
    assert "Categorical" in str(problem.fix)
    problem = only(f"x: {{file: {table}, column: town}}", "x: Normal(0, 1)")
    assert problem.found == "2 labels: x, y"
    problem = only("x: [1, 2, 3]", "x: Categorical(probs=ones(3) / 3)")
    assert "count from 0" in str(problem.fix)


def test_missing_elements_do_not_count_in_the_density() -> None:
    """Columns standardized, one entry missing: the density of the others, in the data's own units."""
    gaps = VALUES.copy()
    gaps[3, 1] = np.nan
    fit = initial("x: {shape: [2], transform: standardize()}", bindings={"x": gaps})
    mean, sd = np.nanmean(gaps, axis=0), np.nanstd(gaps, axis=0)
    expected = np.nansum(stats.norm(mean, sd).logpdf(gaps), axis=1)
    np.testing.assert_allclose(fit.log_prob(), expected, rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob(gaps), expected, rtol=1e-4)


def test_integers_beyond_32_bits_do_not_wrap() -> None:
    fit = initial("x: {shape: []}", "x: Normal(0, 1e12)", {"x": np.array([2**40, -(2**40), 5])})
    np.testing.assert_allclose(fit.log_prob(), stats.norm(0, 1e12).logpdf([2.0**40, -(2.0**40), 5.0]), rtol=1e-5)


def test_files_on_the_command_line_take_a_key(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, v=VALUES, w=VALUES + 1)
    fit = initial("x: {shape: [2], transform: standardize()}", bindings={"x": f"{path}:v"})
    np.testing.assert_allclose(fit.log_prob(), standardized(VALUES), rtol=1e-4)
    np.testing.assert_allclose(fit.log_prob(read_columns(fit, [f"x={path}:w"])), standardized(VALUES + 1), rtol=1e-4)
    with pytest.raises(dg.RunError, match="holds v, w, none of which is 'u'"):
        read_columns(fit, [f"x={path}:u"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_a_mapped_file_trains(tmp_path: Path, backend: str) -> None:
    """Maximum likelihood of a normal is the mean; the file stays as it is."""
    np.save(tmp_path / "x.npy", VALUES)
    before = (tmp_path / "x.npy").read_bytes()
    data, parameters = f"x: {{file: {tmp_path / 'x.npy'}}}", "parameters:\n  m: learned(normal(2))\n"
    program = dg.compile(spec(data, "x: Normal(m, 20)", parameters), backend, overrides=["train.optimizer=adam(1.0)"])
    fit = program.fit(steps=300)
    np.testing.assert_allclose(fit.parameters["m"], VALUES.mean(0), atol=0.5)
    assert (tmp_path / "x.npy").read_bytes() == before


def test_classes_of_images_are_classified(tmp_path: Path) -> None:
    from PIL import Image

    for place in range(6):
        folder = tmp_path / "faces" / ("dark" if place % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 10 if place % 2 else 250).save(folder / f"{place}.png")
    data = f"x: {{file: {tmp_path / 'faces'}, key: images}}\ny: {{file: {tmp_path / 'faces'}, key: labels}}"
    fit = initial(data, "y: Bernoulli(logits=0.1 * (mean(x) - 128))")
    expected = np.log(1 / (1 + np.exp(-0.1 * (128 - 10)))) * 3
    np.testing.assert_allclose(fit.log_prob()[:3].sum(), expected, atol=1e-6)  # dark ones, coded 0, stand first
    assert set(fit.sample(6)) == {"dark", "light"}

"""`describe`: shapes, supports, levels, and every mistake at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmppl.data import describe
from dgmppl.errors import SpecError
from dgmppl.ir.data import DataSchema
from dgmppl.ir.types import BINARY, REAL, UNIT, Dtype, integer
from dgmppl.spec.reader import read

SPECS = Path(__file__).parents[2] / "specs"
UNBOUND = {"deep_markov": {"x"}, "garch": {"sigma0"}, "hmm": {"x"}, "transformer": {"x"}}


def schema(data: dict[str, Any], folder: Path | None = None, **bindings: Any) -> DataSchema:
    declarations = read({"dgmppl": 1, "name": "test", "data": data}).data
    if folder is not None:
        declarations = tuple(_in(folder, declaration) for declaration in declarations)
    return describe(declarations, bindings)


def _in(folder: Path, declaration: Any) -> Any:
    from dataclasses import replace

    return replace(declaration, base=str(folder))


def codes(data: dict[str, Any], folder: Path | None = None, **bindings: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        schema(data, folder, **bindings)
    return [problem.code for problem in caught.value.diagnostics]


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_canonical_spec_describes(path: Path) -> None:
    found = describe(read(path).data)
    assert {name for name, column in found.items() if column.bound_at_run_time} == UNBOUND.get(path.stem, set())
    assert all(column.support is not None or column.dtype is Dtype.INTEGER for column in found.values())


def test_digits() -> None:
    found = schema({
        "x": {"dataset": "digits.images"},
        "b": {"dataset": "digits.images", "transform": ["flatten()", "binarize(8)"]},
        "u": {"dataset": "digits.images", "transform": ["dequantize(17)", "logit(1e-6)"]},
    })  # fmt: skip
    assert (found["x"].shape, found["x"].support, found["x"].rows, found["x"].distinct) == (
        (8, 8),
        integer(17),
        1797,
        17,
    )
    assert (found["b"].shape, found["b"].support, found["b"].raw_shape) == ((64,), BINARY, (8, 8))
    assert (found["u"].support, found["u"].discrete_bins, found["u"].raw_support) == (REAL, 17, integer(17))
    assert found.rows == 1797


def test_a_fraction_makes_a_column_real_and_whole_numbers_leave_it_open() -> None:
    found = schema(
        {"a": [1.5, 2, 3], "b": [0, 1, 1], "c": ["no", "yes", "no"], "d": {"values": [1, 2, 3], "support": "real"}}
    )
    assert (found["a"].dtype, found["a"].support) == (Dtype.REAL, REAL)
    assert (found["b"].dtype, found["b"].support) == (Dtype.INTEGER, None)
    assert (found["c"].support, found["c"].levels, found["c"].coded) == (BINARY, ("no", "yes"), True)
    assert (found["d"].dtype, found["d"].support) == (Dtype.REAL, REAL)


def test_levels_are_sorted_labels_and_sorted_numbers() -> None:
    found = schema({"s": ["b", "a", "c", "a"], "n": [10, 9, 2, 10]})
    assert found.levels == {"s": ("a", "b", "c"), "n": ("2", "9", "10")}


def test_extremes_name_their_rows() -> None:
    column = schema({"x": [[3, 1], [7, 2], [0, 5]]})["x"]
    assert column.lowest is not None
    assert (column.lowest.value, column.lowest.row) == (0, 3)
    assert column.highest is not None
    assert (column.highest.value, column.highest.row) == (7, 2)


def test_whole_makes_one_event() -> None:
    found = schema({"y": {"values": [1.5, 2, 3], "whole": True}, "z": "log(y)"})
    assert (found["y"].shape, found["y"].rows, found.rows) == ((3,), 1, 1)
    assert (found["z"].shape, found["z"].whole) == ((3,), True)


def test_unbound_columns_have_types_and_no_values() -> None:
    found = schema({
        "x": {"shape": [4, 4], "support": "integer(8)", "transform": ["flatten()", "dequantize(8)"]},
        "n": "sum(x)",
    })  # fmt: skip
    x = found["x"]
    assert (x.shape, x.support, x.rows, x.bound_at_run_time, x.lowest) == ((16,), UNIT, None, True, None)
    assert (found["n"].shape, found["n"].bound_at_run_time, found["n"].derived_from) == ((), True, ("x",))
    assert found.rows is None


def test_a_split_of_one_column_is_that_of_the_rows() -> None:
    found = schema({"x": {"dataset": "iris.features", "split": {"test": 0.2, "validation": 10}}, "y": "iris.target"})
    assert (found.rows, dict(found.split_rows)) == (150, {"train": 110, "validation": 10, "test": 30})


def test_what_is_fitted_does_not_depend_on_a_run() -> None:
    data = {"x": {"dataset": "digits.images", "transform": ["dequantize(17)", "standardize(per=all)"]}}
    assert schema(data)["x"] == schema(data)["x"]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,income\n1,2\n3,4\n")
    found = codes(
        {
            "a": {"file": "t.csv", "column": "incme"},
            "b": {"dataset": "digit.images"},
            "c": {"file": "gone.csv", "column": "x"},
            "d": {"values": [1, 5], "support": "binary"},
            "e": [1, 2, 3],
            "f": [1, 2],
        },
        tmp_path,
    )
    assert found == ["data-unknown-column", "data-unknown-dataset", "data-file-missing", "data-support", "data-rows"]


def test_a_failed_source_does_not_blame_what_reads_it() -> None:
    assert codes({"x": {"dataset": "moon"}, "n": "sum(x)", "m": "2 * n"}) == ["data-unknown-dataset"]


def test_support_names_column_row_and_value() -> None:
    with pytest.raises(
        SpecError, match=r"y: row 2 is outside the declared support(.|\n)*expected: binary(.|\n)*found: 5"
    ):
        schema({"y": {"values": [0, 5, 1], "support": "binary"}})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"x": [[1, 2], [3]]}, "data-ragged"),
        ({"x": [1, "a"]}, "data-type"),
        ({"x": []}, "data-empty"),
        ({"x": {"values": [1, None], "missing": "error"}}, "data-missing-entries"),
        ({"x": {"values": [1, 2], "split": {"test": 2}}}, "data-split"),
        ({"x": {"values": [1, 2], "whole": True, "split": {"test": 1}}}, "data-split"),
        ({"x": "digits"}, "data-unknown-dataset"),
        ({"x": {"dataset": "digits.images", "size": 10}}, "data-option"),
        ({"x": ["a", "b"], "y": {"values": [1, 2, 3], "per": "x"}}, "data-per"),
        ({"x": ["a", "b"], "y": {"values": [1, 2], "per": "z"}}, "data-per"),
        ({"x": [1.5, 2], "y": {"values": [1, 2], "per": "x"}}, "data-per"),
        ({"x": {"values": ["a", "b"], "transform": "standardize()"}}, "data-transform-input"),
        ({"x": [1, 2], "y": "gradient(x)"}, "data-expression"),
        ({"x": [-1, 2], "y": "log(x)"}, "data-expression"),
        ({"x": [[1, 2], [3, 4]], "y": "x[5]"}, "data-expression"),
        (
            {"x": {"values": [1, 2, 3], "split": {"test": 1, "seed": 0}},
             "y": {"values": [1, 2, 3], "split": {"test": 1, "seed": 1}}},
            "data-split",
        ),
    ],
)  # fmt: skip
def test_refused(data: dict[str, Any], code: str) -> None:
    assert codes(data) == [code]


def test_bindings_replace_sources_and_are_checked() -> None:
    data = {"x": {"shape": [2], "support": "real"}}
    assert schema(data, x=np.zeros((5, 2)))["x"].rows == 5
    assert codes(data, x=np.zeros((5, 3))) == ["data-binding"]
    assert codes(data, x=np.float64(1)) == ["data-binding"]
    assert codes(data, x=np.zeros((5, 2)), z=1) == ["data-binding"]
    assert codes({"x": {"shape": [], "support": "positive"}}, x=[1.0, -2.0]) == ["data-support"]


def test_bindings_of_data_frames_and_labelled_arrays() -> None:
    import pandas
    import xarray

    frame = pandas.DataFrame({"x": pandas.array([1, None, 3], dtype="Int64"), "g": ["u", "v", "u"]})
    found = schema({"x": {"shape": []}, "g": {"shape": []}}, x=frame, g=frame["g"])
    assert found["x"].missing
    assert found["x"].dtype is Dtype.INTEGER
    assert found["g"].levels == ("u", "v")
    array = xarray.DataArray(np.ones((3, 2)), dims=("row", "feature"))
    assert schema({"x": {"shape": [2]}}, x=array)["x"].rows == 3


def test_an_unbound_source_has_no_domain_errors() -> None:
    found = schema({"x": {"shape": [2], "support": "positive"}, "y": "log(x)"})
    assert (found["y"].shape, found["y"].bound_at_run_time) == ((2,), True)


def test_what_a_branch_discards_need_not_be_finite() -> None:
    found = schema({"x": [0, 1, 4], "y": "where(x > 0, sqrt(x) / x, 0)"})
    assert found["y"].highest is not None
    assert found["y"].highest.value == 1.0


def test_bound_lists_of_arrays_and_odd_objects() -> None:
    data = {"x": {"shape": [2]}}
    assert schema(data, x=[np.zeros(2), np.ones(2)])["x"].rows == 2
    assert codes(data, x=[10**400, 1]) == ["data-type"]
    assert codes(data, x=object()) == ["data-binding"]
    assert codes(data, x=np.array([[1, 2], [3]], dtype=object)) == ["data-binding"]


@pytest.mark.parametrize("expression", ["dot(x, x)", "x @ x", "transpose(x)", "x[0]", "cumsum(x)"])
def test_rows_are_never_taken_for_an_axis_of_the_event(expression: str) -> None:
    assert codes({"x": [1, 2, 3], "y": expression}) == ["data-expression"]

"""Objects of pandas, polars and xarray: their values, gaps and labels, and the types that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

from dgmppl.data import describe, load
from dgmppl.errors import SpecError
from dgmppl.ir.types import integer
from dgmppl.spec.syntax import DataDeclaration


def column(**options: Any) -> list[DataDeclaration]:
    return [DataDeclaration("y", "shape", [], tuple(options.items()))]


SERIES = {
    "nullable integers": pd.Series([3, None, 1], dtype="Int64"),
    "nullable reals": pd.Series([3, None, 1], dtype="Float32"),
    "objects": pd.Series([3, None, 1.0], dtype=object),
    "polars integers": pl.Series([3, None, 1]),
    "polars reals": pl.Series([3.0, None, 1.0]),
    "xarray": xr.DataArray([3.0, np.nan, 1.0]),
    "list": [3, None, 1],
}
LABELS = {
    "categories": pd.Series(pd.Categorical(["b", None, "a"], categories=["z", "b", "a"])),
    "strings": pd.Series(["b", None, "a"], dtype="string"),
    "objects": pd.Series(["b", None, "a"], dtype=object),
    "polars strings": pl.Series(["b", None, "a"]),
    "polars categories": pl.Series(["b", None, "a"], dtype=pl.Categorical),
    "polars enumeration": pl.Series(["b", None, "a"], dtype=pl.Enum(["z", "b", "a"])),
    "list": ["b", None, "a"],
}
BOOLEANS = {
    "pandas": pd.Series([True, None, False], dtype="boolean"),
    "polars": pl.Series([True, None, False]),
}


@pytest.mark.parametrize("name", SERIES)
def test_numbers_with_gaps(name: str) -> None:
    part = load(column(), {"y": SERIES[name]}, seed=0).train
    np.testing.assert_array_equal(part.raw["y"], [3, np.nan, 1])
    np.testing.assert_array_equal(part.masks["y"], [True, False, True])


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_coded_in_sorted_order(name: str) -> None:
    schema = describe(column(), {"y": LABELS[name]})
    assert schema["y"].levels == ("a", "b")
    part = load(column(), {"y": LABELS[name]}, seed=0).train
    np.testing.assert_array_equal(part.arrays["y"][part.masks["y"]], [1, 0])


@pytest.mark.parametrize("name", BOOLEANS)
def test_truth_values_are_zero_and_one(name: str) -> None:
    np.testing.assert_array_equal(load(column(), {"y": BOOLEANS[name]}, seed=0).train.raw["y"], [1, np.nan, 0])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])), "dates"),
        (pd.Series(pd.to_timedelta([1, 2], unit="D")), "time spans"),
        (pl.Series([1, 2], dtype=pl.Date), "dates"),
        (np.array([1 + 2j]), "complex"),
        (np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), "records"),
        (np.array([2**63 + 5], dtype=np.uint64), "row 1 holds 9223372036854775813"),
        (np.array([[1.0, 2.0], [3.0, -np.inf]]), r"element \[1\] of row 2 holds an infinite value"),
        (pd.Series([1, "a", 2], dtype=object), "row 1 holds `1`, which is neither a number nor a label"),
        (np.array([b"\xff"]), "not UTF-8"),
    ],
)
def test_other_types_are_refused_with_a_fix_or_a_place(values: Any, found: str) -> None:
    with pytest.raises(SpecError, match=found) as caught:
        describe([DataDeclaration("y", "shape", list(np.shape(values)[1:]))], {"y": values})
    assert {item.code for item in caught.value.diagnostics} <= {"data-type", "data-support"}


def test_half_precision_and_foreign_byte_order() -> None:
    for values in (np.array([0.5, 1.5], dtype=np.float16), np.array([0.5, 1.5], dtype=">f8")):
        np.testing.assert_array_equal(load(column(), {"y": values}, seed=0).train.arrays["y"], [0.5, 1.5])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_is_selected_from(make: Any) -> None:
    frame = make({"income": [1.5, 2.5], "a": [1, 2], "b": [3, 4], "y": [7, 8]})

    def values(**options: Any) -> list[Any]:
        declaration = DataDeclaration("y", "file", "gone.csv", tuple(options.items()))
        return load([declaration], {"y": frame}, seed=0).train.arrays["y"].tolist()

    assert values(column="income") == [1.5, 2.5]
    assert values(columns=["b", "a"]) == [[3, 1], [4, 2]]
    assert values(column="elsewhere") == [7, 8]
    assert values() == [7, 8]


def test_frames_with_repeated_names_are_refused() -> None:
    frame = pd.DataFrame(np.ones((2, 2)), columns=["y", "y"])
    with pytest.raises(SpecError, match="two columns named `y`"):
        describe(column(), {"y": frame})


def test_an_xarray_data_set_is_selected_from_by_key() -> None:
    data = xr.Dataset({"a": ("row", [1.5, 2.5]), "y": ("row", [3.5, 4.5])})
    assert load(column(), {"y": data}, seed=0).train.arrays["y"].tolist() == [3.5, 4.5]
    assert load(column(key="a"), {"y": data}, seed=0).train.arrays["y"].tolist() == [1.5, 2.5]


def test_files_bound_at_run_time_take_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", images=np.array([1, 2]), labels=np.array([3, 4]))
    Path("t.csv").write_text("a,b\n1,2\n3,4\n")

    def values(text: str, shape: list[int] | None = None) -> list[Any]:
        return load([DataDeclaration("y", "shape", shape or [])], {"y": text}, seed=0).train.arrays["y"].tolist()

    assert values("a.npz:labels") == [3, 4]
    assert values("t.csv:b") == [2, 4]
    assert values("t.csv:b,a", [2]) == [[2, 1], [4, 3]]
    with pytest.raises(SpecError, match=r"no array `label`(.|\n)*did you mean `labels`"):
        values("a.npz:label")


def test_unsigned_bytes_keep_their_range() -> None:
    schema = describe([DataDeclaration("y", "shape", [2])], {"y": np.array([[0, 255]], dtype=np.uint8)})
    assert schema["y"].support == integer(256)

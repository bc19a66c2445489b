"""Files: every format, what is selected from it, and what is wrong with it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgmppl.data.contents import Arrays, FileError, Table
from dgmppl.data.files import read_file
from dgmppl.data.sources import Library, read_source
from dgmppl.data.text_tables import NULLS, parse_cells
from dgmppl.errors import SpecError
from dgmppl.spec.syntax import DataDeclaration


def found(folder: Path, name: str, **options: Any) -> np.ndarray:
    return read_source(DataDeclaration("x", "file", name, tuple(options.items()), base=str(folder)), Library()).array


def test_csv_numbers_labels_and_gaps(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeffa, b\n1,"u, v"\n\nNA,\n2.5e0,w\n', encoding="utf-8")
    content = read_file(tmp_path / "t.csv")
    assert isinstance(content, Table)
    np.testing.assert_array_equal(content.columns["a"], [1, np.nan, 2.5])
    assert content.columns["b"].tolist() == ["u, v", None, "w"]
    assert np.isnan(parse_cells(sorted(NULLS))).all()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("a,b\n1,2\n3\n", "data-ragged", "line 3"),
        ("", "data-file-unreadable", "header"),
        ("a,a\n1,2\n", "data-file-unreadable", "two columns named `a`"),
        ("1,2\n3,4\n", "data-file-unreadable", "numbers where the column names belong"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, code: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FileError, match=words) as caught:
        read_file(tmp_path / "t.csv")
    assert caught.value.code == code


def test_arrays_by_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", images=np.ones((3, 2)), labels=np.arange(3))
    np.save(tmp_path / "one.npy", np.arange(4))
    np.testing.assert_array_equal(found(tmp_path, "two.npz", key="labels"), [0, 1, 2])
    np.testing.assert_array_equal(found(tmp_path, "one.npy"), [0, 1, 2, 3])
    with pytest.raises(SpecError, match=r"holds no array `label`(.|\n)*did you mean `labels`\?"):
        found(tmp_path, "two.npz", key="label")
    with pytest.raises(SpecError, match="several arrays"):
        found(tmp_path, "two.npz")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FileError) as caught:
        read_file(tmp_path / "objects.npy")
    assert caught.value.code == "data-file-unreadable"


def test_damaged_unknown_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "t.xlsx").write_text("x")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xff\n")
    expected = {
        "bad.npz": "data-file-unreadable", "t.xlsx": "data-file-format",
        "latin.csv": "data-file-unreadable", "gone.csv": "data-file-missing",
    }  # fmt: skip
    for name, code in expected.items():
        with pytest.raises(FileError) as caught:
            read_file(tmp_path / name)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["x1", "x2", "y"]),
        ("x*", ["x1", "x2"]),
        (["y", "x1"], ["y", "x1"]),
        (["x*"], ["x1", "x2"]),
        ({"except": ["y"]}, ["x1", "x2"]),
        ({"except": "x*"}, ["y"]),
    ],
)
def test_columns(tmp_path: Path, chosen: Any, names: list[str]) -> None:
    (tmp_path / "t.csv").write_text("x1,x2,y\n1,2,3\n4,5,6\n")
    table = {"x1": [1, 4], "x2": [2, 5], "y": [3, 6]}
    options = {} if chosen is None else {"columns": chosen}
    expected = np.stack([table[name] for name in names], axis=-1)
    np.testing.assert_array_equal(found(tmp_path, "t.csv", **options), expected)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"column": "z"}, "data-unknown-column"),
        ({"columns": ["x1", "z"]}, "data-unknown-column"),
        ({"columns": "q*"}, "data-unknown-column"),
        ({"columns": {"except": ["z"]}}, "data-unknown-column"),
        ({"columns": {"except": ["*"]}}, "data-option"),
        ({"columns": ["x1", "g"]}, "data-type"),
        ({"column": "x1", "columns": ["x1"]}, "data-option"),
        ({"key": "x1"}, "data-option"),
    ],
)
def test_refused_selections(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    (tmp_path / "t.csv").write_text("x1,g\n1,a\n2,b\n")
    with pytest.raises(SpecError) as caught:
        found(tmp_path, "t.csv", **options)
    assert [problem.code for problem in caught.value.diagnostics] == [code]


def test_netcdf(tmp_path: Path) -> None:
    import xarray

    xarray.Dataset({"y": ("t", np.arange(3.0)), "u": ("t", np.ones(3))}).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    np.testing.assert_array_equal(found(tmp_path, "d.nc", key="y"), [0, 1, 2])


def test_a_folder_of_images(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for place, shade in enumerate((0, 255)):
        pillow.fromarray(np.full((2, 3), shade, dtype=np.uint8)).save(tmp_path / f"{place}.png")
    content = read_file(tmp_path)
    assert isinstance(content, Arrays)
    assert content.arrays[None].shape == (2, 2, 3)
    assert content.arrays[None].max(axis=(1, 2)).tolist() == [0, 255]
    pillow.fromarray(np.zeros((4, 3), dtype=np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(FileError, match="different sizes"):
        read_file(tmp_path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(FileError) as caught:
        read_file(tmp_path / "t.parquet")
    assert (caught.value.code, caught.value.fix) == ("data-library", "pip install 'dgmppl[arrow]'")

"""Formats of data files: each read back exactly, shards of them joined, and what is wrong with damaged ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dgmppl.data.contents import Arrays, FileError, Table
from dgmppl.data.files import READERS, read_file, read_files
from dgmppl.data.sources import Library, read_source
from dgmppl.errors import SpecError
from dgmppl.spec.syntax import DataDeclaration

FRAME = pd.DataFrame({"age": [31.5, np.nan, 7.0], "town": ["Åbo", None, 'say "hi"\nto, me']})


def write_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["people/age"] = FRAME["age"].to_numpy()
        file["town"] = ["a", "b", "c"]


def write_netcdf(engine: str) -> Callable[[Path], object]:
    import xarray

    return lambda path: xarray.Dataset({"age": ("row", FRAME["age"].to_numpy())}).to_netcdf(path, engine=engine)


TABLES: dict[str, Callable[[Path], object]] = {
    "t.csv": lambda path: FRAME.to_csv(path, index=False),
    "t.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "wide.csv": lambda path: FRAME.to_csv(path, index=False, encoding="utf-16"),
    "bom.csv": lambda path: FRAME.to_csv(path, index=False, encoding="utf-8-sig"),
    "t.parquet": lambda path: FRAME.to_parquet(path),
    "t.feather": lambda path: FRAME.to_feather(path),
    "t.arrow": lambda path: FRAME.to_feather(path),
}
ARRAYS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "t.npy": (lambda path: np.save(path, FRAME["age"].to_numpy()), None),
    "t.npz": (lambda path: np.savez(path, age=FRAME["age"].to_numpy()), "age"),
    "t.nc": (write_netcdf("h5netcdf"), "age"),
    "classic.nc": (write_netcdf("scipy"), "age"),
    "t.h5": (write_hdf5, "people/age"),
    "t.hdf5": (write_hdf5, "people/age"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    TABLES[name](tmp_path / name)
    content = read_file(tmp_path / name)
    assert isinstance(content, Table)
    np.testing.assert_array_equal(content.columns["age"], FRAME["age"])
    assert [None if pd.isna(town) else town for town in content.columns["town"]] == ["Åbo", None, 'say "hi"\nto, me']


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(tmp_path: Path, name: str) -> None:
    write, key = ARRAYS[name]
    write(tmp_path / name)
    content = read_file(tmp_path / name)
    assert isinstance(content, Arrays)
    np.testing.assert_array_equal(content.arrays[key], FRAME["age"])


def test_every_ending_of_the_table_is_tested() -> None:
    assert {Path(name).suffix for name in (*TABLES, *ARRAYS)} == set(READERS)


def test_an_arrow_stream_is_read_too(tmp_path: Path) -> None:
    import pyarrow

    table = pyarrow.Table.from_pandas(FRAME)
    with pyarrow.ipc.new_stream(tmp_path / "s.arrow", table.schema) as writer:
        writer.write_table(table)
    content = read_file(tmp_path / "s.arrow")
    assert isinstance(content, Table)
    np.testing.assert_array_equal(content.columns["age"], FRAME["age"])


@pytest.mark.parametrize("name", sorted({*READERS} - {".csv", ".tsv"}))
@pytest.mark.parametrize("damage", [b"", b"\x00\xff" * 40, b"CDF\x01", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"ARROW1"])
def test_damaged_files_are_diagnosed(tmp_path: Path, name: str, damage: bytes) -> None:
    path = tmp_path / f"bad{name}"
    path.write_bytes(damage)
    with pytest.raises(FileError) as caught:
        read_file(path)
    assert caught.value.code == "data-file-unreadable"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("cut", [0.3, 0.9])
@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.npy", "t.npz", "t.nc", "t.h5"])
def test_truncated_files_are_diagnosed(tmp_path: Path, name: str, cut: float) -> None:
    write = TABLES.get(name) or ARRAYS[name][0]
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(FileError, match="cannot be read"):
        read_file(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("a;b\n1;2\n", "separated by `;`, not by commas", "decimal points"),
        ("a\tb\n1\t2\n", "separated by tabs", "name it .tsv"),
        ("a,b\n1,2\n3,\0\n", "line 3 holds a zero byte", None),
        ('a,b\n1,"2\n', "badly quoted", "double a quote"),
        ("a,b\n1,2,3\n", "3 values in line 2, but 2 columns", "leave a missing one empty"),
        ('a,b\n"x\ny",1\n2\n', "1 value in line 4", None),
        ("a,,c\n1,2,3\n", "empty names", "names each column"),
    ],
)
def test_bad_text_tables(tmp_path: Path, text: str, message: str, fix: str | None) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_file(tmp_path / "t.csv")
    assert fix is None or fix in (caught.value.fix or "")


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a\nb\nå\n".encode("latin-1"))
    with pytest.raises(FileError, match="line 3") as caught:
        read_file(tmp_path / "t.csv")
    assert "iconv" in str(caught.value.fix)


@pytest.mark.parametrize("ending", [".json", ".txt", ".xlsx", ".pkl", ".gz"])
def test_refused_formats_list_the_supported_ones(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"t{ending}").write_text("1")
    with pytest.raises(FileError) as caught:
        read_file(tmp_path / f"t{ending}")
    assert caught.value.code == "data-file-format"
    assert all(known in str(caught.value.fix) for known in READERS)


def declared(folder: Path, name: str, **options: Any) -> DataDeclaration:
    return DataDeclaration("x", "file", name, tuple(options.items()), base=str(folder))


@pytest.mark.parametrize("selection", [{"column": "a"}, {"columns": ["a", "b"]}, {}])
def test_a_word_among_numbers_is_no_label(tmp_path: Path, selection: dict[str, Any]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,5\n2,6\n?,7\n4,8\n")
    with pytest.raises(SpecError, match=r"row 3 of column `a` of t\.csv holds `\?` among 3 numbers"):
        read_source(declared(tmp_path, "t.csv", **selection), Library())
    np.testing.assert_array_equal(read_source(declared(tmp_path, "t.csv", column="b"), Library()).array, [5, 6, 7, 8])


def test_large_integers_stay_exact(tmp_path: Path) -> None:
    identities = [2**53 + 1, 2**53 + 3, 2**62]
    (tmp_path / "t.csv").write_text("id\n" + "\n".join(map(str, identities)))
    assert read_source(declared(tmp_path, "t.csv"), Library()).array.tolist() == identities


# ---- images ---------------------------------------------------------------------------------------------------------


def save(path: Path, shade: int, size: tuple[int, int] = (2, 3), mode: str = "L") -> None:
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.new(mode, size, shade).save(path)


def test_images_are_sorted_and_palettes_are_colours(tmp_path: Path) -> None:
    for name, shade in (("b.png", 2), ("a.png", 1), ("c.png", 3)):
        save(tmp_path / name, shade)
    content = read_file(tmp_path)
    assert isinstance(content, Arrays)
    assert content.arrays[None].shape == (3, 3, 2)
    assert content.arrays[None][:, 0, 0].tolist() == [1, 2, 3]
    save(tmp_path / "bits" / "one.png", 1, mode="1")
    save(tmp_path / "palette" / "one.png", 7, mode="P")
    bits, palette = read_file(tmp_path / "bits"), read_file(tmp_path / "palette")
    assert isinstance(bits, Arrays)
    assert isinstance(palette, Arrays)
    assert bits.arrays[None].max() == 255
    assert palette.arrays[None].shape == (1, 3, 2, 3)


def test_folders_of_classes_give_labels(tmp_path: Path) -> None:
    for name, shade in (("dog/2.png", 20), ("cat/1.png", 10), ("dog/1.png", 30)):
        save(tmp_path / name, shade)
    content = read_file(tmp_path)
    assert isinstance(content, Arrays)
    assert content.arrays["labels"].tolist() == ["cat", "dog", "dog"]
    assert content.arrays["images"][:, 0, 0].tolist() == [10, 30, 20]


def test_bad_images_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.png", 1, size=(2, 4))
    with pytest.raises(FileError, match=r"different sizes: a\.png is 3 x 2, b\.png is 4 x 2"):
        read_file(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(FileError, match=r"b\.png is no image, or damaged"):
        read_file(tmp_path)


# ---- shards ---------------------------------------------------------------------------------------------------------


def test_shards_are_joined_in_sorted_order(tmp_path: Path) -> None:
    rows = np.arange(12.5, 24.5).reshape(6, 2)
    for place in range(3):
        np.save(tmp_path / f"part-{place}.npy", rows[2 * place : 2 * place + 2])
        frame = pd.DataFrame(rows[2 * place : 2 * place + 2], columns=["a", "b"])
        frame.to_parquet(tmp_path / f"part-{place}.parquet")
        frame.to_csv(tmp_path / f"part-{place}.csv", index=False)
    np.testing.assert_array_equal(read_source(declared(tmp_path, "part-*.npy"), Library()).array, rows)
    for ending in ("parquet", "csv"):
        found = read_source(declared(tmp_path, f"part-*.{ending}", columns=["b", "a"]), Library())
        np.testing.assert_array_equal(found.array, rows[:, ::-1])


def test_shards_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "p-0.npy", np.ones((2, 3)))
    np.save(tmp_path / "p-1.npy", np.ones((2, 4)))
    with pytest.raises(FileError, match=r"shape \[4\] in p-1\.npy, \[3\] in p-0\.npy"):
        read_files(tmp_path / "p-*.npy")
    (tmp_path / "q-0.csv").write_text("a,b\n1,2\n")
    (tmp_path / "q-1.csv").write_text("a,c\n1,2\n")
    with pytest.raises(FileError, match=r"a, c in q-1\.csv, a, b in q-0\.csv"):
        read_files(tmp_path / "q-*.csv")
    (tmp_path / "q-1.csv").write_text("a,b\n1\n")
    with pytest.raises(FileError, match=r"q-1\.csv, which has 1 value in line 2"):
        read_files(tmp_path / "q-*.csv")
    with pytest.raises(FileError, match="matches no file"):
        read_files(tmp_path / "r-*.csv")

"""Data files: tables by column name, or arrays by key. No format is read that can carry code."""

from __future__ import annotations

import csv
import importlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.source import nearest

Array: TypeAlias = npt.NDArray[Any]

# What stands for a missing entry in a text table.
NULLS = frozenset({"", "NA", "NaN", "nan", "null", "NULL"})
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by name, of equal length."""

    columns: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Arrays:
    """Arrays by key; a file with a single unnamed array has the key None."""

    arrays: Mapping[str | None, Array]


Content: TypeAlias = Table | Arrays


class FileError(Exception):
    """What is wrong with a file; the caller knows the place in the spec and makes the diagnostic.

    Attributes:
        code: a diagnostic code.
        message: what is wrong, as a clause after the file's name.
        fix: what to do about it.
    """

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


def read_file(path: Path) -> Content:
    """Read a file, or a folder of images, by the ending of its name.

    Raises:
        FileError: where it does not exist, has an unknown format, needs a missing library, or is damaged.
    """
    if not path.exists():
        raise FileError("data-file-missing", "does not exist", _near(path))
    reader = _read_images if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        endings = " ".join(sorted(READERS))
        raise FileError(
            "data-file-format",
            f"has an ending that is not read: `{path.suffix}`",
            f"use one of {endings}, or a folder of images",
        )
    try:
        return reader(path)
    except (OSError, ValueError, KeyError, EOFError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
        raise FileError("data-file-unreadable", f"cannot be read: {_first_line(error)}") from error


def _near(path: Path) -> str | None:
    """What there is instead of a missing file."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent.name}"
    there = sorted(item.name for item in path.parent.iterdir())
    close = nearest(path.name, there)
    if close is not None:
        return f"did you mean {close}?"
    alike = [name for name in there if name.endswith(path.suffix)]
    return f"files there: {', '.join(alike[:5])}" if alike else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FileError(
            "data-library", f"needs the library {package}, which is not installed", f"pip install {package}"
        ) from error


def _read_csv(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError("data-file-unreadable", f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    reader = csv.reader(text.splitlines(keepends=True))
    header = [name.strip() for name in next(reader, [])]
    rows: list[list[str]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            message = f"has {len(row)} values in line {reader.line_num}, but {len(header)} columns"
            raise FileError("data-ragged", message, "give each row one value a column; leave a missing one empty: a,,c")
        rows.append(row)
    _check_header(header)
    cells = zip(*rows, strict=True) if rows else ([] for _ in header)
    return Table({name: parse_cells(list(column)) for name, column in zip(header, cells, strict=True)})


def _check_header(header: list[str]) -> None:
    if not header or "" in header or len(set(header)) < len(header):
        fix = "the first line names each column once: age,income"
        raise FileError("data-file-unreadable", "has no header line, or one with empty or repeated names", fix)
    if all(_is_number(name) for name in header):
        raise FileError(
            "data-file-unreadable", "has numbers where the column names belong", "add a first line such as x,y"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def parse_cells(cells: list[str]) -> Array:
    """Cells of text as numbers, with NaN where one is missing; as labels, with None, if some cell is no number."""
    stripped = [cell.strip() for cell in cells]
    try:
        return np.array([float("nan") if cell in NULLS else float(cell) for cell in stripped], dtype=np.float64)
    except ValueError:
        return np.array([None if cell in NULLS else cell for cell in stripped], dtype=object)


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return Arrays({key: archive[key] for key in archive.files})


def _read_npy(path: Path) -> Arrays:
    return Arrays({None: np.load(path, allow_pickle=False)})


def _read_parquet(path: Path) -> Table:
    parquet = _library("pyarrow.parquet", "pyarrow")
    return _arrow_table(parquet.read_table(path))


def _read_arrow(path: Path) -> Table:
    feather = _library("pyarrow.feather", "pyarrow")
    return _arrow_table(feather.read_table(path))


def _arrow_table(table: Any) -> Table:
    return Table({name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names})


def _read_netcdf(path: Path) -> Arrays:
    xarray = _library("xarray", "xarray")
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        return Arrays({str(name): np.asarray(data[name].values) for name in data.data_vars})


def _read_images(folder: Path) -> Arrays:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not paths:
        raise FileError("data-empty", f"holds no image ({' '.join(sorted(_IMAGES))})")
    pillow = _library("PIL.Image", "pillow")
    images = []
    for path in paths:
        with pillow.open(path) as image:
            images.append(np.asarray(image, dtype=np.uint8))
        if images[-1].shape != images[0].shape:
            sizes = f"{paths[0].name} is {_size(images[0])}, {path.name} is {_size(images[-1])}"
            message = f"holds images of different sizes: {sizes}"
            raise FileError("data-ragged", message, "resize them to one size and mode")
    return Arrays({None: np.stack(images)})


def _size(image: Array) -> str:
    return " x ".join(map(str, image.shape))


# The closed table of readers, by ending.
READERS: dict[str, Callable[[Path], Content]] = {
    ".arrow": _read_arrow,
    ".csv": _read_csv,
    ".nc": _read_netcdf,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}

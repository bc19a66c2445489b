"""Data files by the ending of their name. No format is read that can carry code."""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.contents import Arrays, Content, FileError, Table, joined
from dgmppl.data.images import read_images
from dgmppl.data.text_tables import read_text_table
from dgmppl.source import nearest

Array: TypeAlias = npt.NDArray[Any]

__all__ = ["READERS", "Arrays", "Content", "FileError", "Table", "read_file", "read_files"]

# What to do with files of formats that are not read.
_ADVICE = {
    ".gz": "unpack it",
    ".json": "save records as .csv or .parquet, arrays as .npz",
    ".pickle": "pickles can run code; save arrays as .npz",
    ".pkl": "pickles can run code; save arrays as .npz",
    ".pt": "pickles can run code; save arrays as .npz",
    ".txt": "name it .csv where commas separate its columns, .tsv where tabs do",
    ".xlsx": "save the sheet as .csv",
    ".zip": "unpack it",
}


def read_files(path: Path) -> Content:
    """Read a file, a folder of images, or the files that a pattern such as `part-*.npy` matches, in sorted order.

    Raises:
        FileError: where one does not exist, has an unknown format, needs a missing library, or is damaged, or where
            the files of a pattern do not fit together.
    """
    if not glob.has_magic(path.name) or os.path.exists(path):
        return read_file(path)
    # A path's own `glob` raises for patterns such as `a**b`.
    names = glob.glob(path.name, root_dir=path.parent) if os.path.isdir(path.parent) else []
    shards = [path.parent / name for name in sorted(names)]
    if not shards:
        raise FileError("data-file-missing", "matches no file", _near(path))
    return joined(dict(_shards(shards)))


def _shards(paths: list[Path]) -> Iterator[tuple[str, Content]]:
    for path in paths:
        try:
            yield path.name, read_file(path)
        except FileError as problem:
            raise FileError(problem.code, f"is wrong in {path.name}, which {problem.message}", problem.fix) from problem


def read_file(path: Path) -> Content:
    """Read a file, or a folder of images.

    Raises:
        FileError: where it does not exist, has an unknown format, needs a missing library, or is damaged.
    """
    if not os.path.exists(path):  # unlike the method of a path, false for a name that no file can have
        raise FileError("data-file-missing", "does not exist", _near(path))
    ending = path.suffix.lower()
    reader = read_images if path.is_dir() else READERS.get(ending)
    if reader is None:
        raise FileError("data-file-format", f"has an ending that is not read: `{path.suffix}`", _advice(ending))
    try:
        return reader(path)
    except FileError:
        raise
    except Exception as error:  # what the formats' libraries raise on damaged files is not documented
        message, fix = _damaged(error)
        raise FileError("data-file-unreadable", message, fix) from error


def _advice(ending: str) -> str:
    known = f"use one of {' '.join(sorted(READERS))}, or a folder of images"
    return f"{_ADVICE[ending]}; {known}" if ending in _ADVICE else known


def _damaged(error: Exception) -> tuple[str, str | None]:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if "pickle" in text or "Python objects" in text:
        return "cannot be read: it is damaged, or holds Python objects", "save arrays of numbers or of text"
    return f"cannot be read: {text}", None


def _near(path: Path) -> str | None:
    """What there is instead of a missing file."""
    if not os.path.isdir(path.parent):
        return f"there is no folder {path.parent.name}"
    there = sorted(item.name for item in path.parent.iterdir())
    close = nearest(path.name, there)
    if close is not None:
        return f"did you mean {close}?"
    alike = [name for name in there if name.endswith(path.suffix)]
    return f"files there: {', '.join(alike[:5])}" if alike else None


def _read_npz(path: Path) -> Arrays:
    # NumPy leaves a file open that it opened itself and could not read.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        # NumPy gives a member that is no array as its bytes.
        found = {key: archive[key] for key in archive.files}
        return Arrays({key: value for key, value in found.items() if isinstance(value, np.ndarray)})


def _read_npy(path: Path) -> Arrays:
    """The array, mapped into memory: what is not looked at is not read."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return Arrays({None: np.asarray(mapped)})


def _pyarrow(module: str) -> Any:
    """A module of the optional library that reads Arrow and Parquet."""
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ImportError as error:
        message = "needs the library pyarrow, which is not installed"
        raise FileError("data-library", message, "pip install 'dgmppl[arrow]'") from error


def _read_parquet(path: Path) -> Table:
    return _arrow_table(_pyarrow("parquet").read_table(path))


def _read_arrow(path: Path) -> Table:
    """An Arrow IPC file (Feather version 2 is the same), Feather version 1, or an Arrow stream."""
    with path.open("rb") as file:
        mark = file.read(4)
    if mark in (b"ARRO", b"FEA1"):
        return _arrow_table(_pyarrow("feather").read_table(path))
    with _pyarrow("ipc").open_stream(path) as stream:
        return _arrow_table(stream.read_all())


def _arrow_table(table: Any) -> Table:
    repeated = next((name for at, name in enumerate(table.column_names) if name in table.column_names[:at]), None)
    if repeated is not None:
        raise FileError("data-file-unreadable", f"has two columns named `{repeated}`", "rename one of them")
    return Table({name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names})


def _read_netcdf(path: Path) -> Arrays:
    """The variables of a netCDF file; version 3 through SciPy, version 4 through h5netcdf."""
    import xarray

    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    with xarray.open_dataset(path, engine="scipy" if classic else "h5netcdf") as data:
        return Arrays({str(name): np.asarray(data[name].values) for name in data.data_vars})


def _read_hdf5(path: Path) -> Arrays:
    """The arrays of an HDF5 file, by their path in it: `group/images`."""
    import h5py

    arrays: dict[str | None, Array] = {}

    def enter(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype) is not None
            arrays[name] = np.asarray((item.asstr() if text else item)[()])

    with h5py.File(path, "r") as file:
        file.visititems(enter)
    return Arrays(arrays)


# The closed table of readers, by ending.
READERS: dict[str, Callable[[Path], Content]] = {
    ".arrow": _read_arrow,
    ".csv": read_text_table,
    ".feather": _read_arrow,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".nc": _read_netcdf,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".tsv": read_text_table,
}

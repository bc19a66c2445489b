"""Objects of pandas, polars and xarray as NumPy arrays; none of these libraries is imported to recognize them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.contents import Arrays, Content, FileError, Table
from dgmppl.data.encoding import ValuesError, nested

Array: TypeAlias = npt.NDArray[Any]

_FRAMES = ("pandas", "polars")


def content_of(value: Any) -> Content | None:
    """The columns of a data frame, or the variables of an xarray data set; None for anything else.

    Raises:
        FileError: where two columns have one name.
    """
    package, kind = _origin(value)
    if package in _FRAMES and kind == "DataFrame":
        return Table(_columns(value))
    if package == "xarray" and kind == "Dataset":
        return Arrays({str(name): np.asarray(value[name].values) for name in value.data_vars})
    return None


def array_of(value: Any) -> Array:
    """An array, a list, a series, a labelled array, or anything that NumPy takes.

    Raises:
        ValuesError: for a ragged list, or one that mixes numbers and labels.
    """
    package, kind = _origin(value)
    if package in _FRAMES and kind == "Series":
        return _series(value, package)
    if package in _FRAMES and kind == "DataFrame":
        columns = _columns(value)
        return np.stack(list(columns.values()), axis=-1) if columns else np.zeros((len(value), 0))
    try:
        return nested(_listed(value)) if isinstance(value, list | tuple) else np.asarray(value)
    except RecursionError:
        raise ValuesError("data-type", "it is a list in lists without end") from None
    except (TypeError, ValueError) as error:  # what an object's own conversion says
        raise ValuesError("data-type", f"it is no array: {error}") from error


def _origin(value: Any) -> tuple[str, str]:
    return type(value).__module__.split(".")[0], type(value).__name__


def _columns(frame: Any) -> dict[str, Array]:
    package = _origin(frame)[0]
    names = [str(name) for name in frame.columns]
    repeated = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if repeated is not None:
        raise FileError("data-file-unreadable", f"has two columns named `{repeated}`", "rename one of them")
    return {name: _series(frame[key], package) for name, key in zip(names, frame.columns, strict=True)}


def _series(series: Any, package: str) -> Array:
    """A column's values; gaps of pandas' nullable types, which have no truth value, become None."""
    array = np.asarray(series.to_numpy())
    if package == "pandas" and array.dtype.kind == "O":
        return np.asarray(series.astype(object).where(series.notna(), None).to_numpy())
    return array


def _listed(rows: Any) -> list[Any]:
    return [row.tolist() if isinstance(row, np.ndarray | np.generic) else _plain(row) for row in rows]


def _plain(row: Any) -> Any:
    return _listed(row) if isinstance(row, list | tuple) else row

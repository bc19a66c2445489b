"""Data that are given when a run starts: arrays, data frames, labelled arrays, or paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.files import Arrays, Table
from dgmppl.data.options import flag_option, refusal, shape_source
from dgmppl.data.sources import Found, Library, read_path, select
from dgmppl.data.values import ValuesError, nested
from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic, nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]
Bindings: TypeAlias = Mapping[str, Any]


def check_names(bindings: Bindings, names: Iterable[str]) -> list[Diagnostic]:
    """One diagnostic for each bound name that the spec does not declare."""
    known = list(names)
    return [
        Diagnostic(
            "data-binding",
            f"data are bound to `{name}`, which the spec does not declare",
            expected=", ".join(known) or "no data",
            fix=f"did you mean `{close}`?" if (close := nearest(name, known)) else None,
        )
        for name in bindings
        if name not in known
    ]


def bound_source(declaration: DataDeclaration, binding: Any, library: Library) -> Found:
    """The array that a binding gives to a declaration, checked against its declared shape.

    Args:
        declaration: any but an expression; a binding replaces its source.
        binding: an array, a list, a path, or a pandas, polars or xarray object.
        library: files that were read before.

    Raises:
        SpecError: where it cannot be read or has another shape.
    """
    if declaration.kind == "expression":
        raise refusal("data-binding", "it is computed from other data and cannot be bound", declaration)
    found = _read(declaration, binding, library)
    if declaration.kind == "shape":
        _check_shape(declaration, found.array)
    return found


def _read(declaration: DataDeclaration, binding: Any, library: Library) -> Found:
    if isinstance(binding, str | Path):
        here = DataDeclaration(declaration.name, "file", str(binding), declaration.options, span=declaration.span)
        return read_path(here, str(binding), library)
    package, kind = type(binding).__module__.split(".")[0], type(binding).__name__
    match package, kind:
        case "pandas" | "polars", "DataFrame":
            return _from_frame(declaration, {str(name): _series(binding[name], package) for name in binding.columns})
        case "pandas" | "polars", "Series":
            return Found(_series(binding, package))
        case "xarray", "Dataset":
            return select(
                declaration, "the data set", Arrays({str(name): np.asarray(binding[name]) for name in binding})
            )
    try:
        return Found(nested(_listed(binding)) if isinstance(binding, list) else np.asarray(binding))
    except ValuesError as problem:
        raise refusal(problem.code, problem.message, declaration) from problem


def _listed(rows: list[Any]) -> list[Any]:
    return [row.tolist() if isinstance(row, np.ndarray | np.generic) else row for row in rows]


def _from_frame(declaration: DataDeclaration, columns: dict[str, Array]) -> Found:
    """A frame's column of the variable's own name, unless the declaration selects others."""
    selects = declaration.option("column") is not None or declaration.option("columns") is not None
    if not selects and declaration.name in columns:
        return Found(columns[declaration.name], beside=columns)
    return select(declaration, "the data frame", Table(columns))


def _series(series: Any, package: str) -> Array:
    array = series.to_numpy()
    if package == "pandas" and array.dtype.kind == "O":
        # Extension types mark gaps by an object that has no truth value.
        array = series.astype(object).where(series.notna(), None).to_numpy()
    return np.asarray(array)


def _check_shape(declaration: DataDeclaration, array: Array) -> None:
    declared = shape_source(declaration)
    whole = flag_option(declaration, "whole")
    event = array.shape if whole else array.shape[1:]
    if (array.ndim > 0 or whole) and event == declared:
        return
    rows = "" if whole else "rows, "
    raise SpecError([
        Diagnostic(
            "data-binding", f"{declaration.name}: the bound array has another shape than declared", declaration.span,
            expected=f"[{rows}{', '.join(map(str, declared))}]".replace(", ]", "]"), found=str(list(array.shape)),
        )
    ])  # fmt: skip

"""Data that are given when a run starts: arrays, data frames, labelled arrays, or paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from dgmppl.data.contents import Content, FileError, Table
from dgmppl.data.encoding import ValuesError
from dgmppl.data.frames import array_of, content_of
from dgmppl.data.options import flag_option, plain, refusal, shape_source
from dgmppl.data.sources import Found, Library, read_argument, select
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
        return read_argument(here, str(binding), library)
    try:
        content = content_of(binding)
        if content is None:
            return Found(array_of(binding))
    except FileError as problem:
        message = f"the bound data {problem.message}"
        raise refusal("data-binding", message, declaration, fix=problem.fix) from problem
    except ValuesError as problem:
        raise refusal(problem.code, problem.text(), declaration, fix=problem.fix) from problem
    return _selected(declaration, content)


def _selected(declaration: DataDeclaration, content: Content) -> Found:
    """What the declaration selects where that is there; else the column, or array, of the variable's own name."""
    entries: Mapping[Any, Array] = content.columns if isinstance(content, Table) else content.arrays
    wanted = plain(declaration.option("column" if isinstance(content, Table) else "key"))
    several = isinstance(content, Table) and declaration.option("columns") is not None
    if declaration.name in entries and wanted not in entries and not several:
        return Found(entries[declaration.name], beside=content.columns if isinstance(content, Table) else {})
    return select(declaration, "the data frame" if isinstance(content, Table) else "the data set", content)


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

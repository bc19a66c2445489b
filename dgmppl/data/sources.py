"""From a declaration to the array that it names, rows first, before labels are coded and splits are made."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data import datasets
from dgmppl.data.contents import Arrays, Content, FileError, Odd, Table
from dgmppl.data.encoding import ValuesError, nested
from dgmppl.data.files import read_files
from dgmppl.data.options import Plain, describe_plain, plain, refusal, text_option
from dgmppl.errors import SpecError
from dgmppl.ir.types import Support
from dgmppl.source import nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]

# The options that select from what a source holds.
_SELECTING = ("key", "column", "columns")


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds.

    Attributes:
        array: of any element type, rows first.
        support: what the data set implies.
        fields: the table columns on the last axis.
        beside: the other columns of the same table, by which a level is found.
    """

    array: Array
    support: Support | None = None
    fields: tuple[str, ...] | None = None
    beside: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Library:
    """Files and data sets that were read before, so that columns of one file read it once."""

    files: dict[Path, Content] = field(default_factory=dict)
    sets: dict[str, dict[str, datasets.Field]] = field(default_factory=dict)

    def file(self, path: Path) -> Content:
        """The content of a file, a folder of images, or the files of a pattern."""
        if path not in self.files:
            self.files[path] = read_files(path)
        return self.files[path]


def read_source(declaration: DataDeclaration, library: Library) -> Found:
    """The array of a `dataset`, `file` or `inline` source.

    Raises:
        SpecError: where it cannot be read or does not hold what is asked for.
    """
    match declaration.kind:
        case "dataset":
            array, support = datasets.read_dataset(declaration, library.sets)
            return Found(array, support)
        case "inline":
            return _inline(declaration)
    return read_path(declaration, str(plain(declaration.source)), library)


def read_test_source(declaration: DataDeclaration, library: Library) -> Found | None:
    """The array of `test: {file: ...}` or `test: {dataset: ...}`; None without one.

    It is selected like the training data unless it says otherwise.

    Raises:
        SpecError: where it cannot be read.
    """
    test = plain(declaration.option("test"))
    if test is None:
        return None
    kinds = [kind for kind in ("file", "dataset") if isinstance(test, dict) and isinstance(test.get(kind), str)]
    if not isinstance(test, dict) or len(kinds) != 1 or not set(test) <= {*kinds, *_SELECTING}:
        raise refusal(
            "data-option", "`test` names no source", declaration, "test", found=describe_plain(test),
            expected="test: {file: PATH} or {dataset: NAME}, with key, column or columns where they differ",
        )  # fmt: skip
    selection = {key: value for key, value in test.items() if key not in kinds}
    kept = tuple((key, value) for key, value in declaration.options if key not in selection)
    options = (*kept, *selection.items())
    spans = (*declaration.spans, *_moved(declaration))
    return read_source(
        replace(declaration, kind=kinds[0], source=test[kinds[0]], options=options, spans=spans), library
    )


def _moved(declaration: DataDeclaration) -> tuple[Any, ...]:
    """The place of `test`, for whatever is wrong with its file."""
    span = dict(declaration.spans).get("test")
    return () if span is None else tuple((key, span) for key in ("file", "dataset", *_SELECTING))


def _inline(declaration: DataDeclaration) -> Found:
    rows = plain(declaration.source)
    if not isinstance(rows, list):
        raise refusal("data-type", "an inline source is a list of rows", declaration, found=describe_plain(rows))
    try:
        return Found(nested(rows))
    except ValuesError as problem:
        raise refusal(problem.code, problem.text(), declaration, fix=problem.fix) from problem


def read_path(declaration: DataDeclaration, name: str, library: Library) -> Found:
    """The array that a declaration selects from a file or a folder.

    Args:
        declaration: whose `key`, `column` and `columns` select.
        name: the path as written; a relative one starts at the declaration's folder.
        library: what was read before.

    Raises:
        SpecError: where the file cannot be read or lacks what is selected.
    """
    return select(declaration, name, _content(declaration, name, library))


def read_argument(declaration: DataDeclaration, text: str, library: Library) -> Found:
    """The array that a command line's `FILE` or `FILE:key` names; for tables `FILE:column` or `FILE:a,b`.

    Raises:
        SpecError: where the file cannot be read or lacks what is selected.
    """
    name, key = split_argument(text)
    if key is None:
        return read_path(declaration, text, library)
    content = _content(declaration, name, library)
    kept = tuple((option, value) for option, value in declaration.options if option not in _SELECTING)
    selection = ("key", key) if isinstance(content, Arrays) else _column_option(key)
    return select(replace(declaration, options=(*kept, selection)), name, content)


def split_argument(text: str) -> tuple[str, str | None]:
    """`FILE:key` as its parts; the key is None for a plain path, of which a colon may be part."""
    name, _, key = text.rpartition(":")
    # A single letter before the colon is a Windows drive.
    plain_path = len(name) < 2 or not key or set(key) & set("/\\") or os.path.exists(text)
    return (text, None) if plain_path else (name, key)


def _column_option(key: str) -> tuple[str, Any]:
    plural = "," in key or "*" in key
    return ("columns", [part.strip() for part in key.split(",")]) if plural else ("column", key)


def _content(declaration: DataDeclaration, name: str, library: Library) -> Content:
    try:
        return library.file(Path(declaration.base, os.path.expanduser(name)))
    except FileError as problem:
        raise refusal(problem.code, f"{name} {problem.message}", declaration, "file", fix=problem.fix) from problem


def select(declaration: DataDeclaration, name: str, content: Content) -> Found:
    """The array that `key`, `column` or `columns` select.

    Raises:
        SpecError: for a selection that the content does not have.
    """
    if isinstance(content, Table):
        return _from_table(declaration, name, content)
    return _from_arrays(declaration, name, content)


def _from_arrays(declaration: DataDeclaration, name: str, content: Arrays) -> Found:
    for option in ("column", "columns"):
        if declaration.option(option) is not None:
            raise refusal(
                "data-option",
                f"{name} holds arrays, not columns",
                declaration,
                option,
                fix="select an array with `key`",
            )
    key = text_option(declaration, "key")
    known = [item for item in content.arrays if item is not None]
    if key is None and len(content.arrays) == 1:
        return Found(next(iter(content.arrays.values())))
    if key in content.arrays and key is not None:
        return Found(content.arrays[key])
    if not known:
        raise refusal(
            "data-option", f"{name} holds a single array without a name", declaration, "key", fix="leave out `key`"
        )
    message = f"{name} holds several arrays" if key is None else f"{name} holds no array `{key}`"
    raise _unknown(declaration, "key", message, key, known)


def _from_table(declaration: DataDeclaration, name: str, table: Table) -> Found:
    columns = table.columns
    if declaration.option("key") is not None:
        raise refusal("data-option", f"{name} is a table", declaration, "key", fix="select with `column` or `columns`")
    column, chosen = text_option(declaration, "column"), plain(declaration.option("columns"))
    if column is not None and chosen is not None:
        raise refusal(
            "data-option", "`column` and `columns` exclude each other", declaration, "columns", fix="keep one of them"
        )
    if column is not None or (chosen is None and len(columns) == 1):
        selected = column if column is not None else next(iter(columns))
        if selected not in columns:
            raise _unknown(declaration, "column", f"{name} has no column `{selected}`", selected, list(columns))
        if selected in table.odd:
            raise _odd_cell(declaration, f"column `{selected}` of {name}", "column", table.odd[selected])
        return Found(columns[selected], beside={key: value for key, value in columns.items() if key != selected})
    names = _chosen(declaration, name, chosen, list(columns))
    parts = [columns[item] for item in names]
    for item, part in zip(names, parts, strict=True):
        if item in table.odd:
            raise _odd_cell(declaration, f"column `{item}` of {name}", "columns", table.odd[item])
        if part.dtype.kind not in "fiub":
            raise _labels(declaration, f"column `{item}` of {name}", item, part)
    beside = {key: value for key, value in columns.items() if key not in names}
    return Found(np.stack(parts, axis=-1), fields=tuple(names), beside=beside)


def _odd_cell(declaration: DataDeclaration, what: str, option: str, odd: Odd) -> SpecError:
    message = f"row {odd.row} of {what} holds `{odd.cell}` among {odd.others} numbers"
    fix = "leave the cell empty where the value is missing; where the numbers are names, write a letter before each"
    return refusal("data-type", message, declaration, option, fix=fix)


def _labels(declaration: DataDeclaration, what: str, column: str, values: Array) -> SpecError:
    dates = values.dtype.kind in "mM"
    message = f"{what} holds {'dates' if dates else 'labels'}, which cannot stand beside other columns"
    alone = "" if dates else f"select it alone (`column: {column}`), or "
    fix = f"{alone}leave it out (`columns: {{except: [{column}]}}`)"
    return refusal("data-type", message, declaration, "columns", fix=fix)


def _chosen(declaration: DataDeclaration, name: str, chosen: Plain, known: list[str]) -> list[str]:
    """The columns that `columns` selects: all, a pattern, a list of names and patterns, or all but some."""
    match chosen:
        case None:
            return known
        case str():
            return _matching(declaration, name, [chosen], known)
        case list() if chosen:
            return _matching(declaration, name, chosen, known)
        case {"except": dropped, **others} if not others:
            left_out = _matching(declaration, name, dropped if isinstance(dropped, list) else [dropped], known)
            if rest := [item for item in known if item not in left_out]:
                return rest
    raise refusal(
        "data-option", "`columns` selects nothing", declaration, "columns",
        expected="a list, a pattern such as x*, or {except: [y]}", found=describe_plain(chosen),
    )  # fmt: skip


def _matching(declaration: DataDeclaration, name: str, patterns: list[Plain], known: list[str]) -> list[str]:
    """The columns that names and patterns stand for, in the order of the patterns, each once."""
    names: list[str] = []
    for pattern in map(str, patterns):
        matches = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not matches:
            wild = "*" in pattern or "?" in pattern
            message = f"no column of {name} matches `{pattern}`" if wild else f"{name} has no column `{pattern}`"
            raise _unknown(declaration, "columns", message, pattern, known)
        names.extend(item for item in matches if item not in names)
    return names


def _unknown(declaration: DataDeclaration, option: str, message: str, name: str | None, known: list[str]) -> Exception:
    close = nearest(name or "", known)
    listed = ", ".join(known[:20]) + (f", ... ({len(known)} in all)" if len(known) > 20 else "")
    return refusal(
        "data-unknown-column", message, declaration, option,
        expected=listed, fix=f"did you mean `{close}`?" if close else None,
        instead=(name, close) if name and close else None,
    )  # fmt: skip

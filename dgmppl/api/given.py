"""What a user has in hand, by the name of the spec's variable that it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.data.contents import Arrays, FileError, Table
from dgmppl.data.frames import content_of
from dgmppl.data.options import plain
from dgmppl.errors import RunError
from dgmppl.ir.program import Program
from dgmppl.source import nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = NDArray[Any]
Declarations: TypeAlias = Sequence[DataDeclaration]


def named_columns(program: Program, declarations: Declarations, given: Any) -> dict[str, Any]:
    """What was given, by the variable that it is.

    Args:
        program: the typed program.
        declarations: the `data` section: a variable is also found under the table columns that it selects.
        given: an array (of the only observed variable), a data frame, a mapping of columns, or xarray data.

    Raises:
        RunError: an array that may be several variables, or a column of a mapping that the spec does not have.
    """
    content = _content(given)
    if content is not None:
        entries = content.columns if isinstance(content, Table) else content.arrays
        return found_in(program, declarations, {str(key): value for key, value in entries.items()}) or _sole(
            program, given
        )
    if isinstance(given, Mapping):
        return _of_mapping(program, declarations, {str(name): value for name, value in given.items()})
    name = getattr(given, "name", None)
    if isinstance(name, str) and name in program.columns:
        return {name: given}
    only = [site.name for site in program.observed] or list(program.columns)
    if len(only) != 1:
        raise RunError(f"an array alone does not say which column it is; give a mapping of {', '.join(only)}")
    return {only[0]: given}


def bindings_of(program: Program, declarations: Declarations, given: Any) -> dict[str, Any]:
    """The same, for compiling: a frame stays one, so that columns keep their names and levels find their rows.

    Raises:
        RunError: see `named_columns`.
    """
    found = named_columns(program, declarations, given)
    return dict.fromkeys(found, given) if isinstance(_content(given), Table) and _tabular(found, given) else found


def _tabular(found: Mapping[str, Any], given: Any) -> bool:
    """Whether the columns were found by name in the frame, rather than being the frame as a whole."""
    return not any(value is given for value in found.values())


def _content(given: Any) -> Table | Arrays | None:
    try:
        return content_of(given)
    except FileError as problem:
        raise RunError(f"the data {problem}") from problem


def _sole(program: Program, frame: Any) -> dict[str, Any]:
    """A frame without any of the spec's names, where the spec has a single column."""
    return {next(iter(program.columns)): frame} if len(program.columns) == 1 else {}


def _of_mapping(program: Program, declarations: Declarations, given: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: value for name, value in given.items() if name in program.columns}
    rest = {name: value for name, value in given.items() if name not in named}
    others = [declaration for declaration in declarations if declaration.name not in named]
    found = found_in(program, others, rest)
    used = {key for declaration in others if declaration.name in found for key in _sources(program, declaration)}
    unknown = next((name for name in rest if name not in used), None)
    if unknown is not None:
        close = nearest(unknown, program.columns)
        meant = f"; did you mean {close!r}?" if close else f"; the spec has {', '.join(program.columns)}"
        raise RunError(f"there is no data column {unknown!r}{meant}")
    return {**named, **found}


def found_in(program: Program, declarations: Declarations, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The variables among the columns of a table or the arrays of an archive.

    A variable is the entry that it selects (`column: income`, `key: images`), the entry of its own name, the columns
    that it was made of, side by side, or its elements, `x.0`, `x.1`, ..., as samples are written to a table. What the
    spec computes from other variables is left to the reader of these.
    """
    found: dict[str, Any] = {}
    for declaration in declarations:
        if declaration.kind == "expression":
            continue
        sources = _sources(program, declaration)
        shape = program.columns[declaration.name].raw_shape
        elements = [f"{declaration.name}.{place}" for place in range(math.prod(shape))] if shape else []
        if len(sources) == 1 and sources[0] in entries:
            found[declaration.name] = entries[sources[0]]
        elif declaration.name in entries:
            found[declaration.name] = entries[declaration.name]
        elif len(sources) > 1 and all(name in entries for name in sources):
            found[declaration.name] = np.stack([np.asarray(entries[name]) for name in sources], axis=-1)
        elif elements and all(name in entries for name in elements):
            side_by_side = np.stack([np.asarray(entries[name]) for name in elements], axis=-1)
            found[declaration.name] = side_by_side.reshape(-1, *shape)
    return found


def _sources(program: Program, declaration: DataDeclaration) -> tuple[str, ...]:
    """The table columns, or the array, that a declaration reads."""
    column = program.columns[declaration.name]
    if column.fields is not None:
        return column.fields
    selected = [plain(declaration.option(option)) for option in ("column", "key")]
    return tuple(name for name in selected if isinstance(name, str))

"""What a data file holds, whatever its format: a table of columns, or arrays by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


# NumPy's kinds of element types that hold labels: objects, text, bytes.
LABEL_KINDS = frozenset("OUS")


@dataclass(frozen=True, slots=True)
class Odd:
    """The first cell of text in a column of numbers.

    Attributes:
        row: of the table, from 1.
        cell: what stands there.
        others: how many cells of the column are numbers.
    """

    row: int
    cell: str
    others: int


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by name, of equal length.

    Attributes:
        columns: one array per column.
        odd: columns of which most cells are numbers and some are not, which a text file cannot tell from labels.
    """

    columns: Mapping[str, Array]
    odd: Mapping[str, Odd] = field(default_factory=dict)


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


def joined(parts: Mapping[str, Content]) -> Content:
    """The rows of several files, one below the other.

    Args:
        parts: at least one content, by the file's name, in the order of the rows.

    Raises:
        FileError: where one has other columns, keys, shapes or kinds of values than the first.
    """
    first_name, first = next(iter(parts.items()))
    if len(parts) == 1:
        return first
    entries = {name: _entries(content) for name, content in parts.items()}
    for name, content in parts.items():
        if type(content) is not type(first) or set(entries[name]) != set(entries[first_name]):
            raise FileError("data-ragged", f"holds {_listed(entries[name])} in {name}, {_listed(entries[first_name])} "
                            f"in {first_name}", "give all files the same columns or keys")  # fmt: skip
    arrays = {key: _below([(name, entries[name][key]) for name in parts]) for key in entries[first_name]}
    if isinstance(first, Arrays):
        return Arrays(arrays)
    return Table({str(key): array for key, array in arrays.items()}, _odd(parts))


def _entries(content: Content) -> dict[str | None, Array]:
    found: dict[str | None, Array] = {}
    found.update(content.arrays if isinstance(content, Arrays) else content.columns.items())
    return found


def _listed(entries: Mapping[str | None, Array]) -> str:
    return ", ".join("one array" if key is None else key for key in entries) or "nothing"


def _below(parts: list[tuple[str, Array]]) -> Array:
    """Arrays one below the other, in the element type that holds them all."""
    first_name, first = parts[0]
    for name, array in parts:
        if array.ndim == 0 or array.shape[1:] != first.shape[1:]:
            message = f"holds rows of shape {list(array.shape[1:])} in {name}, {list(first.shape[1:])} in {first_name}"
            raise FileError("data-ragged", message, "give all files rows of one shape")
        if (array.dtype.kind in LABEL_KINDS) != (first.dtype.kind in LABEL_KINDS):
            raise FileError("data-ragged", f"holds labels in one of {first_name} and {name}, numbers in the other")
    return np.concatenate([array for _, array in parts])


def _odd(parts: Mapping[str, Content]) -> dict[str, Odd]:
    """Odd cells, their rows counted over all files."""
    found: dict[str, Odd] = {}
    before = 0
    for content in parts.values():
        assert isinstance(content, Table)
        for key, odd in content.odd.items():
            found.setdefault(key, Odd(before + odd.row, odd.cell, odd.others))
        before += max((len(column) for column in content.columns.values()), default=0)
    return found

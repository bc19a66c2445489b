"""Draws as tables: one row per draw, one column per element."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.ir.program import Program

Array: TypeAlias = NDArray[Any]


def columns(program: Program, drawn: Mapping[str, Array]) -> dict[str, Array]:
    """Draws `[N, *event]` by variable as columns `[N]` by name.

    A scalar keeps its name, the elements of a vector that was read from table columns get theirs, and any other element
    is called by its place in row-major order: `x.0`, `x.1`, ...
    """
    found: dict[str, Array] = {}
    for name, values in drawn.items():
        flat = values.reshape(len(values), -1)
        found |= zip(_headers(program, name, values, {*drawn, *found}), flat.T, strict=True)
    return found


def _headers(program: Program, name: str, values: Array, taken: set[str]) -> list[str]:
    if values.ndim == 1:
        return [name]
    declared = program.columns.get(name)
    fields = declared.fields if declared is not None else None
    if fields is not None and values.ndim == 2 and values.shape[1] == len(fields) and not taken & set(fields):
        return list(fields)
    return [f"{name}.{place}" for place in range(int(np.prod(values.shape[1:])))]


def to_text(table: Mapping[str, Array], delimiter: str = ",") -> str:
    """A text table, quoted as RFC 4180 has it; numbers with all the digits that tell them apart."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return text.getvalue()

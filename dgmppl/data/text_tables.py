"""Text tables: `.csv` and `.tsv`, in UTF-8 or, with a byte-order mark, UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.contents import FileError, Odd, Table
from dgmppl.data.encoding import numbers

Array: TypeAlias = npt.NDArray[Any]

# What stands for a missing entry.
NULLS = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL"})

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OTHER_DELIMITERS = (";", "\t", "|", ",")


def read_text_table(path: Path) -> Table:
    """A table whose first line names the columns; cells are quoted as RFC 4180 has it.

    Raises:
        FileError: for text in another encoding, a header that names no columns, or rows of another length.
    """
    delimiter = _DELIMITERS[path.suffix.lower()]
    text = _decoded(path.read_bytes())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, delimiter)
        rows = _rows(reader, len(header))
    except csv.Error as error:
        message = f"is badly quoted in line {reader.line_num}: {error}"
        raise FileError("data-file-unreadable", message, 'double a quote inside a quoted cell: "6"" pipe"') from error
    cells = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in header]
    named = dict(zip(header, cells, strict=True))
    odd = {name: odd for name, column in named.items() if (odd := _odd_cell(column)) is not None}
    return Table({name: parse_cells(column) for name, column in named.items()}, odd)


def _decoded(raw: bytes) -> str:
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"is not UTF-8 text: {error.reason} in line {line}, byte {error.start}"
        raise FileError("data-file-unreadable", message, "iconv -f latin1 -t utf-8 FILE > NEW") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise FileError("data-file-unreadable", f"is no text: line {line} holds a zero byte")
    if not text.strip():
        raise FileError("data-file-unreadable", "is empty: it has no header line", _HEADER_FIX)
    return text


_HEADER_FIX = "the first line names each column once: age,income"


def _check_header(header: list[str], delimiter: str) -> None:
    other = next((mark for mark in _OTHER_DELIMITERS if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        what = {"\t": "tabs", ",": "commas"}.get(other, f"`{other}`")
        wanted = "commas" if delimiter == "," else "tabs"
        fix = {"\t": "name it .tsv", ",": "name it .csv"}.get(other, f"save it with {wanted}, and decimal points")
        raise FileError("data-file-unreadable", f"is separated by {what}, not by {wanted}", fix)
    repeated = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if repeated is not None and repeated:
        raise FileError("data-file-unreadable", f"has two columns named `{repeated}`", _HEADER_FIX)
    if not header or "" in header:
        raise FileError("data-file-unreadable", "has no header line, or one with empty names", _HEADER_FIX)
    if all(is_number(name) for name in header):
        fix = "add a first line such as " + ("x,y" if delimiter == "," else "x and y with a tab between")
        raise FileError("data-file-unreadable", "has numbers where the column names belong", fix)


def _rows(reader: Any, width: int) -> list[list[str]]:
    rows: list[list[str]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != width:
            count = f"{len(row)} value" + ("s" if len(row) != 1 else "")
            columns = f"{width} column" + ("s" if width != 1 else "")
            message = f"has {count} in line {reader.line_num}, but {columns}"
            raise FileError("data-ragged", message, "give each row one value a column; leave a missing one empty: a,,c")
        rows.append(row)
    return rows


def is_number(cell: str) -> bool:
    """Whether a cell is a number; Python's digit groups `1_000` are none."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def parse_cells(cells: list[str]) -> Array:
    """Cells of text as numbers, with NaN where one is missing; as labels, with None, if some cell is no number."""
    stripped = [cell.strip() for cell in cells]
    try:
        return _numbers(stripped)
    except ValueError:
        return np.array([None if cell in NULLS else cell for cell in stripped], dtype=object)


def _numbers(cells: list[str]) -> Array:
    """Numbers; integers that float64 does not tell apart stay integers where the column has no gap."""
    if any("_" in cell for cell in cells):
        raise ValueError("digit groups")
    array = np.array([float("nan") if cell in NULLS else float(cell) for cell in cells], dtype=np.float64)
    if array.size and bool((np.abs(array) >= 2.0**53).any()) and all(cell.lstrip("+-").isdecimal() for cell in cells):
        return numbers([int(cell) for cell in cells])
    return array


def _odd_cell(cells: list[str]) -> Odd | None:
    """The first cell that is no number, where most are numbers."""
    there = [(row, cell.strip()) for row, cell in enumerate(cells, start=1) if cell.strip() not in NULLS]
    others = [(row, cell) for row, cell in there if not is_number(cell)]
    count = len(there) - len(others)
    return Odd(*others[0], count) if others and count > len(others) else None

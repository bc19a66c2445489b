"""Arrays of any kind as `Values`: whole numbers become integers, labels sorted codes, gaps a mask."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.values import Values, first
from dgmppl.ir.types import BINARY, Support, integer

Array: TypeAlias = npt.NDArray[Any]

_NUMBERS = (bool, int, float, np.number, np.bool_, decimal.Decimal)
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)

# How pandas marks a gap in columns of objects; its package is not imported to recognize it.
_GAP_TYPES = frozenset({"NAType", "NaTType"})

# Neither NumPy nor the backends have more.
_MOST_AXES = 32

# Integers of this size and above are not told apart by float64.
_EXACT = 2**53

# What to do about element types that are no data, by NumPy's kind.
_REFUSED_KINDS = {
    "M": ("dates or times", "store numbers, such as the days since the first date"),
    "m": ("time spans", "store numbers, such as hours"),
    "c": ("complex numbers", "store real and imaginary parts as two columns"),
    "V": ("records", "store each field as an array of its own"),
}


class ValuesError(Exception):
    """Values that cannot be data; the caller knows the place in the spec and makes the diagnostic.

    Attributes:
        code: a diagnostic code.
        message: what is wrong; with a position, what that place holds.
        position: of the first wrong element, from 0; None where the array as a whole is wrong.
        fix: what to do about it.
    """

    def __init__(
        self, code: str, message: str, position: tuple[int, ...] | None = None, fix: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.position, self.fix = code, message, position, fix

    def text(self, fields: Sequence[str] | None = None, *, whole: bool = False) -> str:
        """The message after its place, where it has one."""
        return (
            self.message
            if self.position is None
            else f"{position_text(self.position, fields, whole=whole)} {self.message}"
        )


def position_text(position: Sequence[int], fields: Sequence[str] | None = None, *, whole: bool = False) -> str:
    """A position as a reader counts it: the row from 1, the rest by column name or as indices from 0.

    Args:
        position: of an element of `[rows, *event]`.
        fields: the names of the table columns on the last axis.
        whole: the single row is one event, whose leading axis takes the place of rows.
    """
    row, *rest = position[1:] if whole and len(position) > 1 else position
    if fields is not None and rest:
        return f"row {row + 1} of column `{fields[rest[-1]]}`"
    return f"element [{', '.join(map(str, rest))}] of row {row + 1}" if rest else f"row {row + 1}"


def encode(
    array: Array, *, support: Support | None = None, fields: tuple[str, ...] | None = None, narrow: bool = False
) -> Values:
    """An array of any kind as `Values`.

    Args:
        array: numbers or labels.
        support: what the source implies.
        fields: the names of the table columns on the last axis.
        narrow: numbers of fewer than 64 bits stay as they are; else they become int64 or float64.

    Raises:
        ValuesError: for infinite values, integers beyond 64 bits, or values that are neither numbers nor labels.
    """
    if array.dtype.kind == "S":
        array = _decoded(array)
    if array.dtype.kind == "U":
        array = _text(array)
    if array.dtype.kind == "O":
        array = _objects(array)
    match array.dtype.kind:
        case "O":
            return _labelled(array)
        case "b" | "u" | "i":
            return _integers(array, support, fields, narrow)
        case "f":
            small = array.astype(np.float32) if array.dtype.itemsize < 4 else array
            return _real(small if narrow and small.dtype.itemsize < 8 else small.astype(np.float64, copy=False),
                         support, fields)  # fmt: skip
    what, fix = _REFUSED_KINDS.get(array.dtype.kind, ("neither numbers nor labels", None))
    raise ValuesError("data-type", f"the values are {what} ({array.dtype})", fix=fix)


def _decoded(array: Array) -> Array:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise ValuesError("data-type", "the labels are bytes that are not UTF-8 text", fix="decode them") from error


def _text(array: Array) -> Array:
    """Strings as objects; a damaged file may hold code points that no text has."""
    try:
        return array.astype(object)
    except (SystemError, ValueError) as error:
        raise ValuesError("data-type", "the labels are no text: their code points are beyond Unicode") from error


def _integers(array: Array, support: Support | None, fields: tuple[str, ...] | None, narrow: bool) -> Values:
    if array.dtype == np.uint64:
        beyond = first(array, lambda part: part > np.iinfo(np.int64).max)
        if beyond is not None:
            message = f"holds {array[beyond]}, which is beyond 64-bit integers"
            fix = "store it as text where it is a name, else as a real number"
            raise ValuesError("data-type", message, beyond, fix)
    bound = integer(256) if array.dtype == np.uint8 else None
    kept = narrow and array.dtype.kind != "b" and array.dtype.itemsize < 8
    return Values(array if kept else array.astype(np.int64, copy=False), support=support or bound, fields=fields)


def _real(array: Array, support: Support | None, fields: tuple[str, ...] | None) -> Values:
    """Reals with NaN as gaps; a copy is made only where there are gaps, or where all values are whole."""
    observed: Array | None = None
    if first(array, lambda part: ~np.isfinite(part)) is not None:
        infinite = first(array, np.isinf)
        if infinite is not None:
            fix = "leave the entry empty where it is missing, else drop the row"
            raise ValuesError("data-support", "holds an infinite value", infinite, fix)
        observed = ~np.isnan(array)
        array = np.where(observed, array, array.dtype.type(0))
    whole = first(array, lambda part: (part != np.floor(part)) | (np.abs(part) >= _EXACT)) is None
    return Values(array.astype(np.int64) if whole else array, observed, support=support, fields=fields)


def _is_gap(entry: Any) -> bool:
    return entry is None or type(entry).__name__ in _GAP_TYPES or (
        isinstance(entry, float | np.floating) and bool(np.isnan(entry))
    )  # fmt: skip


def _objects(array: Array) -> Array:
    """Objects as numbers where each is one or is missing; else unchanged, with None for what is missing."""
    entries = [None if _is_gap(entry) else entry for entry in array.ravel().tolist()]
    if entries and all(isinstance(entry, list | tuple | np.ndarray) for entry in entries):
        return nested([np.asarray(entry).tolist() for entry in entries])
    if all(entry is None or isinstance(entry, _NUMBERS) for entry in entries):
        return numbers(entries).reshape(array.shape)
    cleaned = np.empty(len(entries), dtype=object)
    cleaned[:] = entries
    return cleaned.reshape(array.shape)


def numbers(entries: Sequence[Any]) -> Array:
    """Numbers and None as one array: integers stay exact where all are there and fit 64 bits; None becomes NaN.

    Raises:
        ValuesError: for a number that no float64 holds.
    """
    if entries and all(isinstance(entry, int | np.integer) for entry in entries):
        try:
            return np.array([int(entry) for entry in entries], dtype=np.int64)
        except OverflowError:
            pass  # as real numbers
    try:
        return np.array([np.nan if entry is None else float(entry) for entry in entries], dtype=np.float64)
    except OverflowError as error:
        raise ValuesError("data-type", "an entry is too large for a floating-point number") from error


def _labelled(array: Array) -> Values:
    entries = array.ravel().tolist()
    wrong = next((at for at, entry in enumerate(entries) if not isinstance(entry, str | None)), None)
    if wrong is not None:
        position = tuple(int(axis) for axis in np.unravel_index(wrong, array.shape))
        if isinstance(entries[wrong], _DATES):
            what, fix = _REFUSED_KINDS["M"]
            raise ValuesError("data-type", f"holds `{entries[wrong]}`: the values are {what}", position, fix)
        message = f"holds `{entries[wrong]}`, which is neither a number nor a label, or stands among labels"
        raise ValuesError("data-type", message, position)
    labels = tuple(sorted({entry for entry in entries if entry is not None}))
    code = {label: at for at, label in enumerate(labels)}
    codes = np.array([code.get(entry, 0) for entry in entries], dtype=np.int64).reshape(array.shape)
    observed = np.array([entry is not None for entry in entries], dtype=bool).reshape(array.shape)
    support = BINARY if len(labels) == 2 else integer(max(len(labels), 1))
    return Values(codes, None if observed.all() else observed, labels, support)


def nested(rows: list[Any]) -> Array:
    """An inline list, of numbers or of labels, as an array.

    Raises:
        ValuesError: where rows have different lengths, or numbers and labels are mixed.
    """
    shape = _nested_shape(rows, "row")
    if len(shape) > _MOST_AXES:
        message = f"lists stand {len(shape)} deep in each other; an array has at most {_MOST_AXES} axes"
        raise ValuesError("data-type", message)
    leaves = _leaves(rows)
    if any(isinstance(leaf, str) for leaf in leaves):
        odd = next((leaf for leaf in leaves if not isinstance(leaf, str | None)), None)
        if odd is not None:
            raise ValuesError("data-type", f"labels and numbers are mixed: `{odd}` stands among labels")
        return np.array(leaves, dtype=object).reshape(shape)
    wrong = next((leaf for leaf in leaves if not isinstance(leaf, bool | int | float | None)), None)
    if wrong is not None:
        raise ValuesError("data-type", "an entry is neither a number nor a label")
    return numbers(leaves).reshape(shape)


def _nested_shape(rows: Any, where: str) -> tuple[int, ...]:
    if not isinstance(rows, list):
        return ()
    shapes = [_nested_shape(row, f"{where} {number}") for number, row in enumerate(rows, start=1)]
    for number, shape in enumerate(shapes, start=1):
        if shape != shapes[0]:
            raise ValuesError(
                "data-ragged", f"{where} {number} has shape {list(shape)}, {where} 1 has {list(shapes[0])}"
            )
    return (len(rows), *(shapes[0] if shapes else ()))


def _leaves(rows: Any) -> list[Any]:
    return [leaf for row in rows for leaf in _leaves(row)] if isinstance(rows, list) else [rows]

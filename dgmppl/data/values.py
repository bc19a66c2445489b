"""Raw values of one source: numbers or label codes, rows first, with a mask of what is observed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.ir.types import REAL, Dtype, Support

Array: TypeAlias = npt.NDArray[Any]

# Elements that are looked at together, so that intermediate results stay in the cache.
_CHUNK = 65_536

# Above this many distinct values an integer column is a measurement, not a level index.
_LEVELS_CAP = 100_000


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one source.

    Attributes:
        array: `[rows, *event]`, real or integer, zero where an entry is missing; those of a source keep its width.
        observed: where an entry is there, of the same shape; None where all are.
        labels: what the codes of a string column stand for.
        support: what the source implies; None where it implies nothing beyond the element type.
        fields: the names of the table columns on the last axis.
    """

    array: Array
    observed: Array | None = None
    labels: tuple[str, ...] | None = None
    support: Support | None = None
    fields: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """The length of the leading axis."""
        return int(self.array.shape[0])

    @property
    def dtype(self) -> Dtype:
        """The element type of the array."""
        return element_type(self.array)

    @property
    def wide(self) -> Array:
        """The array as float64 or int64, in which arithmetic does not overflow."""
        return widened(self.array)

    @property
    def mask(self) -> Array:
        """`observed`, spelt out; every element is one bit of memory where all are."""
        return np.broadcast_to(np.True_, self.array.shape) if self.observed is None else self.observed

    def with_gaps(self) -> Array:
        """The array with NaN where an entry is missing."""
        return self.array if self.observed is None else np.where(self.observed, self.wide, np.nan)


def widened(array: Array) -> Array:
    """Numbers as float64 or int64; the array itself where they are."""
    return array.astype(wide_type(array), copy=False)


def wide_type(array: Array) -> np.dtype[Any]:
    """float64 for real numbers, int64 for others."""
    return np.dtype(np.float64 if array.dtype.kind == "f" else np.int64)


def element_type(array: Array) -> Dtype:
    """The IR's element type of a NumPy array."""
    return Dtype.REAL if array.dtype.kind == "f" else Dtype.INTEGER


def first(array: Array, holds: Callable[[Array], Array]) -> tuple[int, ...] | None:
    """The position of the first element for which a condition holds; the array is read in parts."""
    for part, flat in chunks(array):
        found = np.flatnonzero(holds(flat))
        if found.size:
            return tuple(int(place) for place in np.unravel_index(part + int(found[0]), array.shape))
    return None


def chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """Consecutive pieces of the flattened array, and where each starts."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield start, flat[start : start + _CHUNK]


def distinct(array: Array) -> Array:
    """The distinct values in order; `np.unique` would import all of `numpy.ma` to ask whether there is a mask."""
    ordered = np.sort(array, axis=None)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def as_support(values: Values, support: Support | None) -> Values:
    """The values with the element type of a declared support; labels keep the support of their codes."""
    if support is None or values.labels is not None:
        return values
    real = values.array.dtype.kind == "f"
    array = values.array if support.discrete or real else values.array.astype(np.float64)
    return Values(array, values.observed, values.labels, support, values.fields)


def implied_support(values: Values) -> Support | None:
    """The support that values have by themselves: real where one has a fraction; None for other numbers."""
    if values.support is not None:
        return values.support
    return REAL if values.dtype is Dtype.REAL else None


def level_labels(values: Values) -> tuple[str, ...] | None:
    """The labels of a column that can serve as a level index: sorted; integers by value. None for other columns."""
    if values.array.ndim != 1 or values.dtype is not Dtype.INTEGER:
        return None
    if values.labels is not None:
        return values.labels
    numbers = distinct(values.array[values.mask])
    return tuple(map(str, numbers.tolist())) if len(numbers) <= _LEVELS_CAP else None


def level_codes(values: Values, labels: tuple[str, ...]) -> Array:
    """Positions of the values among sorted labels, `[rows]`."""
    if values.labels is not None:
        return values.array
    numbers = np.array([int(label) for label in labels], dtype=np.int64)
    return np.minimum(np.searchsorted(numbers, values.array), max(len(numbers) - 1, 0))


def violations(array: Array, support: Support) -> Array:
    """Where an element lies outside a support, of the array's shape; for vectors of a simplex, `[rows]` of them.

    Bounds of an interval that are other parameters are not checked.
    """
    match support.kind:
        case "positive":
            return np.asarray(array <= 0)
        case "nonnegative":
            return np.asarray(array < 0)
        case "unit":
            return np.asarray((array < 0) | (array > 1))
        case "binary":
            return np.asarray((array != 0) & (array != 1))
        case "count":
            return np.asarray((array < 0) | _fractional(array))
        case "integer" if support.size is not None:
            return np.asarray((array < 0) | (array >= support.size) | _fractional(array))
        case "interval":
            low = -np.inf if support.low is None else support.low
            high = np.inf if support.high is None else support.high
            return np.asarray((array < low) | (array > high))
        case "simplex" if array.ndim >= 2:
            return np.asarray(off_simplex(array) | (array < 0).any(axis=-1))
        case "ordered" | "positive_ordered" if array.ndim >= 2:
            return np.asarray((np.diff(array, axis=-1) <= 0).any(axis=-1))
    return np.zeros(array.shape, dtype=bool)


def off_simplex(array: Array) -> Array:
    """Where a vector does not sum to 1, up to rounding: `[rows, *event]` without the last axis."""
    return np.asarray(np.abs(array.sum(axis=-1, dtype=np.float64) - 1.0) > 1e-6 * array.shape[-1])


def _fractional(array: Array) -> Array:
    return array != np.floor(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)

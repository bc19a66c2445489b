"""What the compiler needs to know of the data, without keeping them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from dgmppl.data.assembly import Assembled, assemble
from dgmppl.data.bindings import Bindings
from dgmppl.data.items import Item
from dgmppl.data.options import missing_option
from dgmppl.data.splits import Rows
from dgmppl.data.values import (
    Values,
    chunks,
    distinct,
    element_type,
    first,
    implied_support,
    level_labels,
    off_simplex,
)
from dgmppl.ir.data import DISTINCT_CAP, Column, DataSchema, Extreme
from dgmppl.ir.expressions import free_names
from dgmppl.ir.transforms import Dequantize
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]
Fields: TypeAlias = "tuple[str, ...] | None"


def describe(declarations: Sequence[DataDeclaration], bindings: Bindings | None = None) -> DataSchema:
    """The shape, support, levels and fitted transforms of each data variable.

    Sources of a declared shape stay unbound unless `bindings` holds them.

    Args:
        declarations: the `data` section of a spec.
        bindings: data given at run time, by name: arrays, data frames, paths.

    Raises:
        SpecError: with everything that is wrong with the data.
    """
    return schema_of(assemble(declarations, bindings))


def schema_of(assembled: Assembled) -> DataSchema:
    """The schema of assembled data."""
    train = assembled.parts.get("train")
    columns = {name: _column(item, assembled.values[name], train) for name, item in assembled.items.items()}
    warnings = [warning for item in assembled.items.values() for warning in item.warnings]
    sizes = {name: len(rows) for name, rows in assembled.parts.items()}
    return DataSchema(columns, sum(sizes.values()) or None, sizes, tuple(warnings))


def _column(item: Item, values: Values, train: Rows | None) -> Column:
    bins = next((one.levels for one in item.transforms if isinstance(one, Dequantize)), None)
    known = item.bound
    levels = level_labels(item.raw) if known and item.row_wise and not item.transforms else None
    return Column(
        name=item.name,
        shape=tuple(values.array.shape[1:]),
        dtype=element_type(values.array),
        support=implied_support(values) if known else values.support,
        rows=item.raw.rows if known else None,
        whole=item.whole,
        per=item.per,
        levels=levels,
        coded=values.labels is not None,
        missing=known and values.observed is not None,
        gaps=_gaps(values, train if item.row_wise else None) if known else 0,
        missing_policy=missing_option(item.declaration),
        bound_at_run_time=not known,
        discrete_bins=bins,
        transforms=item.transforms,
        raw_shape=tuple(item.raw.array.shape[1:]),
        raw_support=implied_support(item.raw) if known else item.raw.support,
        derived_from=_derived_from(item.declaration),
        fields=item.raw.fields if item.raw.array.shape[1:] == values.array.shape[1:] else None,
        span=item.declaration.span,
        **(_facts(values, item.whole) if known else _Facts()),
    )


def _derived_from(declaration: DataDeclaration) -> tuple[str, ...]:
    source: Any = declaration.source
    return tuple(sorted(free_names(source))) if declaration.kind == "expression" else ()


def _gaps(values: Values, train: Rows | None) -> int:
    """How many entries are missing: of all rows, or of those that are trained on."""
    if values.observed is None:
        return 0
    there = values.observed if train is None or values.rows == 1 else values.observed[train]
    return int(there.size - np.count_nonzero(there))


class _Facts(TypedDict, total=False):
    """The fields of a column that its values decide."""

    lowest: Extreme
    highest: Extreme
    fractional: Extreme | None
    off_simplex: Extreme | None
    distinct: int


def _facts(values: Values, whole: bool) -> _Facts:
    """What the observed values show; a series counts its leading axis as rows."""
    series = whole and values.array.ndim > 1
    array = values.array[0] if series else values.array
    observed = values.observed[0] if series and values.observed is not None else values.observed
    if observed is not None and not observed.any():
        return _Facts(distinct=0)
    lowest = _extreme(array, _place(array, observed, np.argmin), values.fields)
    highest = _extreme(array, _place(array, observed, np.argmax), values.fields)
    within = lowest.value >= 0 and highest.value <= 1 and array.dtype.kind == "f" and array.ndim > 1
    return _Facts(
        lowest=lowest,
        highest=highest,
        fractional=_fractional(array, values.fields),
        off_simplex=_off_simplex(array, observed) if within else None,
        distinct=_distinct(array if observed is None else array[observed]),
    )


def _place(array: Array, observed: Array | None, pick: Callable[[Array], np.intp]) -> int:
    """Where the value that `pick` finds first stands in the flattened array, which is read in parts."""
    seen = None if observed is None else observed.reshape(-1)
    places: list[int] = []
    for start, part in chunks(array):
        there = None if seen is None else np.flatnonzero(seen[start : start + len(part)])
        shown = part if there is None else part[there]
        if shown.size:
            place = int(pick(shown))
            places.append(start + (place if there is None else int(there[place])))
    return places[int(pick(array.reshape(-1)[places]))]


def _extreme(array: Array, place: int, fields: Fields) -> Extreme:
    """The value at a place of the flattened array."""
    width = max(int(np.prod(array.shape[1:])), 1)
    return Extreme(float(array.reshape(-1)[place]), place // width + 1, _field(fields, place % width))


def _field(fields: Fields, place: int) -> str | None:
    return fields[place % len(fields)] if fields else None


def _fractional(array: Array, fields: Fields) -> Extreme | None:
    """The first value that is no integer; zeros that stand for missing entries are."""
    if array.dtype.kind != "f":
        return None
    place = first(array, lambda part: part != np.floor(part))
    if place is None:
        return None
    return Extreme(float(array[place]), place[0] + 1 if place else 1, _field(fields, place[-1]) if place else None)


def _off_simplex(array: Array, observed: Array | None) -> Extreme | None:
    """The sum of the first complete vector that does not sum to 1."""
    off = off_simplex(array) if observed is None else off_simplex(array) & observed.all(axis=-1)
    places = np.argwhere(off)
    return Extreme(float(array[tuple(places[0])].sum()), int(places[0][0]) + 1) if len(places) else None


def _distinct(array: Array) -> int:
    """The number of distinct values, at most `DISTINCT_CAP`; counting stops there, or where no other is possible."""
    possible = DISTINCT_CAP if array.dtype.kind == "f" else min(DISTINCT_CAP, int(array.max()) - int(array.min()) + 1)
    seen = array.reshape(-1)[:0]
    for _, part in chunks(array):
        places = np.minimum(np.searchsorted(seen, part), max(len(seen) - 1, 0))
        seen = distinct(np.concatenate((seen, part if not len(seen) else part[seen[places] != part]), axis=None))
        if len(seen) >= possible:
            return possible
    return len(seen)

"""What the compiler needs to know of the data, without keeping them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.assembly import Assembled, assemble
from dgmppl.data.bindings import Bindings
from dgmppl.data.items import Item
from dgmppl.data.options import missing_option
from dgmppl.data.values import Values, element_type, implied_support, level_labels
from dgmppl.ir.data import DISTINCT_CAP, Column, DataSchema, Extreme
from dgmppl.ir.expressions import free_names
from dgmppl.ir.transforms import Dequantize
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]

_CHUNK = 65_536


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
    columns = {name: _column(item, assembled.values[name]) for name, item in assembled.items.items()}
    warnings = [warning for item in assembled.items.values() for warning in item.warnings]
    sizes = {name: len(rows) for name, rows in assembled.parts.items()}
    return DataSchema(columns, sum(sizes.values()) or None, sizes, tuple(warnings))


def _column(item: Item, values: Values) -> Column:
    bins = next((one.levels for one in item.transforms if isinstance(one, Dequantize)), None)
    known = item.bound
    extremes = _extremes(values, item.whole) if known else (None, None)
    levels = level_labels(item.raw) if known and item.row_wise and not item.transforms else None
    return Column(
        name=item.name,
        shape=tuple(values.array.shape[1:]),
        dtype=element_type(values.array),
        support=implied_support(values),
        rows=item.raw.rows if known else None,
        whole=item.whole,
        per=item.per,
        levels=levels,
        coded=values.labels is not None,
        missing=known and values.observed is not None,
        missing_policy=missing_option(item.declaration),
        bound_at_run_time=not known,
        discrete_bins=bins,
        transforms=item.transforms,
        raw_shape=tuple(item.raw.array.shape[1:]),
        raw_support=implied_support(item.raw),
        derived_from=_derived_from(item.declaration),
        fields=item.raw.fields if item.raw.array.shape[1:] == values.array.shape[1:] else None,
        lowest=extremes[0],
        highest=extremes[1],
        distinct=_distinct(values.array[values.mask]) if known else None,
        span=item.declaration.span,
    )


def _derived_from(declaration: DataDeclaration) -> tuple[str, ...]:
    source: Any = declaration.source
    return tuple(sorted(free_names(source))) if declaration.kind == "expression" else ()


def _extremes(values: Values, whole: bool) -> tuple[Extreme | None, Extreme | None]:
    """The least and the greatest observed value; a series counts its leading axis as rows."""
    array, mask = (values.array[0], values.mask[0]) if whole and values.array.ndim > 1 else (values.array, values.mask)
    if not mask.any():
        return None, None
    width = max(int(np.prod(array.shape[1:])), 1)
    gaps = values.observed is not None
    low = int(np.argmin(np.where(mask, array, np.inf) if gaps else array))
    high = int(np.argmax(np.where(mask, array, -np.inf) if gaps else array))
    lowest, highest = (Extreme(float(array.ravel()[place]), place // width + 1) for place in (low, high))
    return lowest, highest


def _distinct(values: Array) -> int:
    """The number of distinct values, at most `DISTINCT_CAP`."""
    if values.size and values.dtype.kind == "i" and int(values.max()) - int(values.min()) < DISTINCT_CAP:
        return int(np.count_nonzero(np.bincount(values - values.min())))
    seen: Array = values[:0]
    for start in range(0, values.size, _CHUNK):
        seen = np.union1d(seen, values[start : start + _CHUNK])
        if seen.size >= DISTINCT_CAP:
            return DISTINCT_CAP
    return int(seen.size)

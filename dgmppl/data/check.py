"""Data against the support that the model demands of them, before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgmppl.data.load import DataSet
from dgmppl.data.values import violations
from dgmppl.errors import InternalError
from dgmppl.ir.data import Column, DataSchema
from dgmppl.ir.types import Dtype, Support
from dgmppl.source import Diagnostic

_BOUNDED_BELOW = frozenset({"positive", "nonnegative"})


def check_against(data: DataSchema | DataSet, column: str, support: Support) -> list[Diagnostic]:
    """What stands in the way of observing a column under a distribution with the given support.

    From a schema only the least and the greatest value are known, and the element type; from loaded data the first
    value outside is named.

    Args:
        data: a schema, or the loaded data.
        column: the variable's name.
        support: of its distribution.

    Returns:
        At most one diagnostic; none where nothing is known to be wrong (an unbound column).
    """
    if isinstance(data, DataSet):
        return _check_values(data, column, support)
    return _check_schema(data[column], support)


def _check_schema(column: Column, support: Support) -> list[Diagnostic]:
    if column.support is not None and column.support.within(support):
        return []
    for extreme in (column.lowest, column.highest):
        if extreme is not None and bool(violations(np.asarray([extreme.value]), support)[0]):
            return [_diagnostic(column, support, f"{extreme.value:g} in row {extreme.row}")]
    if column.lowest is not None and column.dtype is Dtype.REAL and support.discrete:
        return [_diagnostic(column, support, "values with a fraction")]
    return []


def _check_values(data: DataSet, name: str, support: Support) -> list[Diagnostic]:
    column = data.schema[name]
    for label, part in data.parts.items():
        array: Any = part.arrays[name]
        outside = violations(array, support)
        if name in part.masks:
            mask = part.masks[name]
            outside = outside & (mask.all(axis=-1) if outside.ndim < array.ndim else mask)
        if not outside.any():
            continue
        position = tuple(np.argwhere(outside)[0])
        row = int(position[1] if column.whole and len(position) > 1 else position[0])
        number = int(part.indices[row]) + 1 if not column.whole and column.per is None else row + 1
        value = array[position]
        shown = f"{value:g}" if value.ndim == 0 else str(value.tolist())
        found = f"{shown} in row {number} ({label}); {int(outside.sum())} of {outside.size} values are outside"
        return [_diagnostic(column, support, found)]
    return []


def _diagnostic(column: Column, support: Support, found: str) -> Diagnostic:
    return Diagnostic(
        "data-likelihood", f"{column.name} does not fit its distribution", column.span,
        expected=f"values in {support}", found=found, fix=_suggestion(column, support),
    )  # fmt: skip


def _suggestion(column: Column, support: Support) -> str:
    """A transform or another distribution that would fit."""
    low, high = column.lowest, column.highest
    if low is None or high is None:
        raise InternalError(f"{column.name} has no value, yet one outside {support}")
    counts = column.dtype is Dtype.INTEGER and low.value >= 0
    states = int(high.value) + 1
    if counts and support.kind == "binary":
        binarized = f"`transform: binarize({(states - 1) // 2})`"
        return f"{binarized}, or a Categorical distribution with `support: integer({states})`"
    if counts and support.kind == "integer":
        return f"a distribution with {states} states, `support: integer({states})`"
    if counts and support.kind == "unit":
        return f"`transform: dequantize({states})` for a density, or unit() for a fixed scale"
    if support.kind == "unit":
        return "`transform: unit()`, or a distribution on the real numbers"
    if support.kind in _BOUNDED_BELOW and low.value == 0:
        return "a distribution that can be zero, such as ZeroInflated or Censored, or a model of log1p of the column"
    if support.discrete and column.dtype is Dtype.REAL:
        return "a continuous distribution, such as Normal, or `transform: binarize(t)`"
    return "a distribution on the real numbers, such as Normal or StudentT, or `transform: standardize()`"

"""Values that are scored, checked as the data of a fit are: the first wrong one is named with its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.data.encoding import position_text
from dgmppl.data.text_tables import is_number
from dgmppl.data.values import Values, first, violations
from dgmppl.errors import RunError
from dgmppl.ir.data import Column
from dgmppl.ir.program import Site
from dgmppl.ir.transform import Transform
from dgmppl.ir.types import BINARY, Support

Array: TypeAlias = NDArray[Any]


def label_among_numbers(column: Column, values: Values, labels: Sequence[str]) -> RunError:
    """The first label that is no number in words; the first one where all are."""
    odd = np.array([not is_number(label) for label in labels])
    wrong = first(values.array, lambda part: odd[part]) or (0,) * values.array.ndim
    found = labels[values.array[wrong]]
    return RunError(f"{column.name}: {position_text(wrong, column.fields)} holds the label {found!r}, not a number")


def check_domain(column: Column, transform: Transform, array: Array, mask: Array) -> None:
    """Refuse observed values that a transform is not defined for.

    Raises:
        RunError: with the first one and its place.
    """
    if transform.domain is not None:
        _refuse_outside(column, array, mask, transform.domain, f"{transform.name} needs values in {transform.domain}")


def check_support(site: Site | None, column: Column, values: Values) -> None:
    """Refuse data that their site's density is not defined for; a log density there would be any number.

    Raises:
        RunError: with the first such value and its place.
    """
    if site is None or site.section != "model" or column.coded:
        return
    support = site.typed.support
    wanted = BINARY if support.states == 2 else support
    units = " after its transforms" if column.transforms else ""
    _refuse_outside(column, values.array, values.mask, wanted, f"the support is {wanted}{units}")


def _refuse_outside(column: Column, array: Array, mask: Array, support: Support, why: str) -> None:
    outside = violations(array, support)
    outside = outside & (mask.all(axis=-1) if outside.ndim < mask.ndim else mask)
    if outside.any():
        position = np.argwhere(outside)[0].tolist()
        found = array[tuple(position)]
        value = f"{found:g}" if np.ndim(found) == 0 else str(np.asarray(found).tolist())
        fields = column.fields if len(position) == array.ndim else None
        raise RunError(f"{column.name}: {position_text(position, fields)} holds {value}: {why}")


def check_complete(column: Column, values: Values) -> None:
    """Refuse a missing entry where the program was compiled without a mask.

    Raises:
        RunError: with the entry's place.
    """
    if values.observed is not None and not column.missing:
        where = position_text(np.argwhere(~values.observed)[0].tolist(), column.fields)
        raise RunError(f"{column.name}: {where} is missing, and the model was compiled for complete data; drop the row")

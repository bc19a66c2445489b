"""One column's raw values: read, joined with its test rows, encoded, checked, and partly hidden."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.bindings import Bindings, bound_source
from dgmppl.data.contents import LABEL_KINDS
from dgmppl.data.encoding import ValuesError, encode, position_text
from dgmppl.data.options import (
    flag_option,
    integer_option,
    keep_option,
    missing_option,
    refusal,
    shape_source,
    support_option,
    text_option,
)  # fmt: skip
from dgmppl.data.sources import Found, Library, read_source, read_test_source
from dgmppl.data.values import Values, as_support, violations
from dgmppl.ir.transform import Transform
from dgmppl.ir.types import Support
from dgmppl.source import Diagnostic
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One column with its raw values.

    Attributes:
        declaration: as the spec has it.
        raw: the values of all rows, training source first; a stand-in of the right shape for an unbound column.
        whole: the entire array is one event.
        hidden: where `keep` hides an entry, `[rows]`; None where it hides none.
        bound: the values are known.
        test_rows: how many rows at the end come from a test source.
        beside: the other columns of the same table.
        transforms: fitted, in order.
        warnings: what is suspicious about the column.
    """

    declaration: DataDeclaration
    raw: Values
    whole: bool = False
    hidden: Array | None = None
    bound: bool = True
    test_rows: int = 0
    beside: Mapping[str, Array] = field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        """The variable."""
        return self.declaration.name

    @property
    def per(self) -> str | None:
        """The level whose values the column holds."""
        return text_option(self.declaration, "per")

    @property
    def row_wise(self) -> bool:
        """One value per row, rather than one in all or one per level."""
        return not self.whole and self.per is None

    @property
    def visible(self) -> Values:
        """The raw values without the hidden entries."""
        if self.hidden is None:
            return self.raw
        shown = self.raw.mask & ~self.hidden.reshape(-1, *(1,) * (self.raw.array.ndim - 1))
        return replace(self.raw, array=np.where(shown, self.raw.array, 0), observed=shown)


def read_item(declaration: DataDeclaration, bindings: Bindings, library: Library) -> Item:
    """A column's raw values, with the test source's rows after the training source's.

    Raises:
        SpecError: where the source cannot be read, or holds what the declaration forbids.
    """
    whole, per = flag_option(declaration, "whole"), text_option(declaration, "per")
    if whole and per is not None:
        raise refusal("data-option", "`whole` and `per` exclude each other", declaration, "per", fix="keep one of them")
    if declaration.name not in bindings and declaration.kind == "shape":
        return _unbound(declaration, whole)
    if declaration.name in bindings:
        found = bound_source(declaration, bindings[declaration.name], library)
    else:
        found = read_source(declaration, library)
    test = read_test_source(declaration, library)
    if found.array.ndim == 0 and not whole:
        raise refusal("data-type", "the array has no axis of rows", declaration, fix="whole: true")
    joined = found.array if test is None else _joined(declaration, found, test)
    if whole:
        joined = joined[None]
    if joined.size == 0:
        part = "rows" if len(joined) == 0 else "values"
        raise refusal("data-empty", f"the source has no {part}", declaration, fix="give it at least one row")
    test_rows = 0 if test is None else len(test.array)
    return _hide(
        Item(declaration, _encoded(declaration, found, joined, whole), whole, test_rows=test_rows, beside=found.beside)
    )


def _joined(declaration: DataDeclaration, train: Found, test: Found) -> Array:
    if train.array.shape[1:] != test.array.shape[1:]:
        raise refusal(
            "data-test-set", "test rows have another shape than training rows", declaration, "test",
            expected=str(list(train.array.shape[1:])), found=str(list(test.array.shape[1:])),
        )  # fmt: skip
    if (train.array.dtype.kind in LABEL_KINDS) != (test.array.dtype.kind in LABEL_KINDS):
        raise refusal(
            "data-test-set", "labels in one of training and test data are numbers in the other", declaration, "test"
        )
    return np.concatenate([train.array, test.array])


def _encoded(declaration: DataDeclaration, found: Found, array: Array, whole: bool) -> Values:
    declared = support_option(declaration)
    try:
        values = encode(array, support=found.support, fields=found.fields, narrow=True)
    except ValuesError as problem:
        message = problem.text(found.fields, whole=whole)
        raise refusal(problem.code, message, declaration, fix=problem.fix) from problem
    if declared is not None:
        check_declared(declaration, values, declared, whole=whole)
    if values.observed is not None:
        _check_missing(declaration, values, whole)
    return as_support(values, declared)


def _check_missing(declaration: DataDeclaration, values: Values, whole: bool) -> None:
    """Refuse a column without any value, and missing entries where the declaration forbids them."""
    if not values.mask.any():
        raise refusal("data-empty", "every entry is missing", declaration, fix="leave the column out")
    if missing_option(declaration) != "error":
        return
    gaps = np.argwhere(~values.mask)
    where = position_text(gaps[0].tolist(), values.fields, whole=whole)
    more = f" ({len(gaps)} of {values.array.size} entries are)" if len(gaps) > 1 else ""
    raise refusal(
        "data-missing-entries", f"{where} is missing{more}", declaration, "missing",
        fix="fill it, drop the row, or leave out `missing: error`",
    )  # fmt: skip


def check_declared(declaration: DataDeclaration, values: Values, declared: Support, *, whole: bool = False) -> None:
    """Refuse values outside a declared support.

    Raises:
        SpecError: with the first such row.
    """
    outside = violations(values.array, declared)
    if values.observed is not None:
        outside &= values.mask.all(axis=-1) if outside.ndim < values.array.ndim else values.mask
    if not outside.any():
        return
    position = tuple(np.argwhere(outside)[0].tolist())
    found = values.array[position]
    value = f"{found:g}" if found.ndim == 0 else str(found.tolist())
    where = position_text(position, values.fields if found.ndim == 0 else None, whole=whole)
    raise refusal(
        "data-support", f"{where} is outside the declared support", declaration, "support",
        expected=str(declared), found=f"{value} ({int(outside.sum())} of {outside.size} values are outside)",
        fix="declare the support that the values have, or bring them into this one by a transform",
    )  # fmt: skip


def _unbound(declaration: DataDeclaration, whole: bool) -> Item:
    """A stand-in in which every shape is right and no value is meant: inside most supports, and not constant."""
    support, shape = support_option(declaration), shape_source(declaration)
    rows = 1 if whole else 2
    event = np.arange(int(np.prod(shape)))
    array = (np.arange(rows)[:, None] + event).reshape(rows, *shape) % 2
    discrete = support is not None and support.discrete
    values = Values(array if discrete else 0.25 + 0.5 * array, support=support)
    return Item(declaration, values, whole, bound=False)


def _hide(item: Item) -> Item:
    """Hide what `keep` does not keep: a fixed number of rows, drawn by the source's own seed and name."""
    fraction = keep_option(item.declaration)
    if fraction is None:
        return item
    if item.whole:
        raise refusal("data-option", "`keep` hides rows, and a `whole` column is one", item.declaration, "keep")
    seed = integer_option(item.declaration, "seed", minimum=0, default=0)
    order = np.random.default_rng((seed, zlib.crc32(f"keep {item.name}".encode()))).permutation(item.raw.rows)
    hidden = np.ones(item.raw.rows, dtype=bool)
    hidden[order[: max(1, round(fraction * item.raw.rows))]] = False
    return replace(item, hidden=hidden)

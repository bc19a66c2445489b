"""All sources of a spec read and brought together: rows, splits, levels, hidden entries, fitted transforms.

Every step reports what is wrong with each column and goes on with the others, so that all errors appear at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from dgmppl.data import transforms as fitting
from dgmppl.data.bindings import Bindings, check_names
from dgmppl.data.encoding import encode
from dgmppl.data.items import Item, check_declared, read_item
from dgmppl.data.levels import align, level_column
from dgmppl.data.options import check_keys, refusal, support_option, text_option
from dgmppl.data.rowwise import RowwiseError, evaluate
from dgmppl.data.sources import Library
from dgmppl.data.splits import Rows, common_split, split_rows
from dgmppl.data.values import Values, as_support
from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Index, Name, Operation, free_names, text
from dgmppl.ir.transform import Transform
from dgmppl.ir.transforms import OneHot
from dgmppl.ir.types import BINARY, Support
from dgmppl.source import Diagnostic
from dgmppl.spec.syntax import DataDeclaration

_FIT_SEED = 0
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
_ELEMENTWISE = frozenset({"real", "positive", "unit", "binary", "count", "integer"})


@dataclass(frozen=True, slots=True)
class Assembled:
    """The columns of a spec, in its order.

    Attributes:
        items: by name, expressions included.
        parts: row numbers of each split; empty where the rows are known only at run time.
        values: of all rows, as the model sees them.
    """

    items: Mapping[str, Item]
    parts: Mapping[str, Rows]
    values: Mapping[str, Values]


@dataclass(slots=True)
class _Problems:
    """What is wrong so far, and the columns that it concerns."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    def attempt(self, name: str, step: Callable[[], Item]) -> Item | None:
        """The step's outcome; None where it raises, and then its diagnostics are kept."""
        try:
            return step()
        except SpecError as error:
            self.add(error)
            self.failed.add(name)
            return None

    def add(self, error: SpecError) -> None:
        """Keep an error's diagnostics."""
        self.diagnostics.extend(item for item in error.diagnostics if isinstance(item, Diagnostic))


def assemble(declarations: Sequence[DataDeclaration], bindings: Bindings | None) -> Assembled:
    """Read, align, split and transform all sources.

    Transforms are fitted under one fixed draw of noise, so that the model is the same for every seed.

    Args:
        declarations: the `data` section.
        bindings: data given at run time, by name.

    Raises:
        SpecError: with all that is wrong.
    """
    given = dict(bindings or {})
    problems = _Problems(check_names(given, [declaration.name for declaration in declarations]))
    library = Library()
    items: dict[str, Item] = {}
    for declaration in declarations:
        problems.diagnostics.extend(check_keys(declaration))
        if declaration.kind != "expression" or declaration.name in given:
            item = problems.attempt(declaration.name, partial(read_item, declaration, given, library))
            items.update({} if item is None else {item.name: item})
    parts = _partition(items, problems)
    items = _aligned(items, problems, {declaration.name for declaration in declarations})
    values: dict[str, Values] = {}
    done: dict[str, Item] = {}
    for declaration in declarations:
        step = partial(_finish, declaration, items, values, done, parts)
        if not problems.failed & ({declaration.name} | _reads(declaration)):
            finished = problems.attempt(declaration.name, step)
            done.update({} if finished is None else {finished.name: finished})
        else:
            problems.failed.add(declaration.name)
    if problems.diagnostics:
        raise SpecError(problems.diagnostics)
    return Assembled(done, parts, values)


def _reads(declaration: DataDeclaration) -> set[str]:
    """The sources that an expression source reads."""
    if declaration.kind != "expression":
        return set()
    return set(free_names(declaration.source))  # type: ignore[arg-type]


def _partition(items: Mapping[str, Item], problems: _Problems) -> dict[str, Rows]:
    """Row numbers of each split, once all row-wise columns agree on their number."""
    row_wise = [item for item in items.values() if item.row_wise and item.bound]
    for item in items.values():
        if not item.row_wise:
            for option in ("split", "test"):
                if item.declaration.option(option) is not None:
                    problems.add(refusal(
                        "data-split", "only rows can be split", item.declaration, option,
                        fix=f"leave out `{option}`, or `whole` and `per`",
                    ))  # fmt: skip
    if not row_wise:
        return {} if any(item.row_wise for item in items.values()) else {"train": np.zeros(1, dtype=np.int64)}
    first = row_wise[0]
    for item in row_wise[1:]:
        _check_rows(first, item, problems)
    try:
        split, where = common_split([item.declaration for item in row_wise])
        return split_rows(first.raw.rows - first.test_rows, first.test_rows, split, where)
    except SpecError as error:
        problems.add(error)
        return {"train": np.arange(first.raw.rows)}


def _check_rows(first: Item, item: Item, problems: _Problems) -> None:
    counts = [(one.raw.rows - one.test_rows, one.test_rows) for one in (first, item)]
    if counts[0] == counts[1]:
        return
    if counts[0][0] == counts[1][0]:
        message, fix = "test rows do not match", "give both columns the same test rows"
        problems.add(refusal(
            "data-test-set", message, item.declaration, "test", fix=fix,
            expected=f"{counts[0][1]} rows, as in {first.name}", found=f"{counts[1][1]} rows",
        ))  # fmt: skip
    else:
        problems.add(refusal(
            "data-rows", f"the number of rows is not that of {first.name}", item.declaration,
            expected=f"{counts[0][0]} rows", found=f"{counts[1][0]} rows",
            fix="if it is one value per level, say so with `per: LEVEL`; if it is one event, with `whole: true`",
        ))  # fmt: skip
    problems.failed.add(item.name)


def _aligned(items: dict[str, Item], problems: _Problems, declared: set[str]) -> dict[str, Item]:
    """Values per level, brought into the order of the sorted levels."""

    def step(item: Item, per: str) -> Item:
        level = level_column({name: one.declaration for name, one in items.items()}, declared, item.declaration, per)
        other = items[level]
        if not (item.bound and other.bound):
            return item
        source = text_option(other.declaration, "column")
        return replace(item, raw=align(item.declaration, item.raw, other.raw, item.beside, (per, source)))

    aligned: dict[str, Item] = {}
    for name, item in items.items():
        per = item.per
        if per is None or per in problems.failed:
            aligned[name] = item
        elif (done := problems.attempt(name, partial(step, item, per))) is not None:
            aligned[name] = done
    return aligned


def _finish(
    declaration: DataDeclaration, items: Mapping[str, Item], values: dict[str, Values], done: Mapping[str, Item],
    parts: Mapping[str, Rows],
) -> Item:  # fmt: skip
    """Compute an expression, fit the transforms, and enter what the model sees into `values`."""
    item = items[declaration.name] if declaration.name in items else _computed(declaration, values, done)
    rows = parts.get("train", np.arange(item.raw.rows)) if item.bound and item.row_wise else np.arange(item.raw.rows)
    current = item.visible
    noise: np.random.Generator | None = None
    fitted: list[Transform] = []
    warnings: list[Diagnostic] = []
    for call in declaration.transform:
        if current.labels is not None and not (isinstance(call, Call) and call.function == OneHot.name):
            span = call.span or declaration.span
            raise refusal(
                "data-transform-input", f"{text(call)} is defined for numbers, and the column holds labels",
                replace(declaration, spans=(), span=span), fix="one_hot() takes labels",
            )  # fmt: skip
        transform, found = fitting.fit(declaration, call, current, rows, item.whole)
        if transform.random and noise is None:
            noise = _noise(item.name, _FIT_SEED)
        current = fitting.apply(transform, current, noise)
        fitted.append(transform)
        warnings.extend(found if item.bound else ())
    values[item.name] = current
    return replace(item, transforms=tuple(fitted), warnings=tuple(warnings))


def _noise(name: str, seed: int) -> np.random.Generator:
    """The generator of a column's noise: independent between columns, whatever their order."""
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def redrawn(assembled: Assembled, seed: int) -> Assembled:
    """The same data with other noise in the random transforms; nothing is fitted again."""
    values: dict[str, Values] = {}
    items: dict[str, Item] = {}
    for name, old in assembled.items.items():
        computed = old.declaration.kind == "expression"
        raw = _computed(old.declaration, values, items).raw if computed else old.raw
        item = items[name] = replace(old, raw=raw)
        current, noise = item.visible, _noise(name, seed)
        for transform in item.transforms:
            current = fitting.apply(transform, current, noise)
        values[name] = current
    return Assembled(items, assembled.parts, values)


def _computed(declaration: DataDeclaration, values: Mapping[str, Values], done: Mapping[str, Item]) -> Item:
    """The raw values of an expression source."""
    expression: Any = declaration.source
    reads = [done[name] for name in sorted(_reads(declaration)) if name in done]
    bound = all(item.bound for item in reads)
    per_level = next((item.name for item in reads if item.per is not None), None)
    try:
        if per_level is not None:
            raise RowwiseError(f"{per_level} has one value per level, not per row", expression)
        array = evaluate(expression, values)
        if array.size == 0:
            raise RowwiseError("it has no elements", expression)
        if bound and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0]) + 1
            raise RowwiseError(f"row {row} is not finite", expression)
    except RowwiseError as problem:
        span = problem.node.span or declaration.span
        raise refusal(
            "data-expression", problem.message, replace(declaration, spans=(), span=span), fix=problem.fix
        ) from problem
    rows = max((item.raw.rows for item in reads if item.row_wise), default=1)
    array = np.broadcast_to(array, (rows, *array.shape[1:]))
    encoded = encode(np.nan_to_num(array), support=_support_of(expression, values))
    declared = support_option(declaration)
    if declared is not None and bound:
        check_declared(declaration, encoded, declared)
    whole = all(item.whole for item in reads)
    return Item(declaration, as_support(encoded, declared), whole, bound=bound)


def _support_of(expression: Any, values: Mapping[str, Values]) -> Support | None:
    """The support that an expression has by its form: truth values, and parts of a column with elementwise support."""
    match expression:
        case Operation(operator=operator) if operator in _COMPARISONS:
            return BINARY
        case Call(function="observed"):
            return BINARY
        case Name(id=name) | Index(value=Name(id=name)):
            support = values[name].support
            return support if support is not None and support.kind in _ELEMENTWISE else None
    return None

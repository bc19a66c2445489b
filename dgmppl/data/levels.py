"""Values per level: matched to the sorted levels by label where the table has them, else by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.encoding import ValuesError, encode
from dgmppl.data.options import refusal
from dgmppl.data.values import Values, level_labels
from dgmppl.source import nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]


def level_column(
    items: Mapping[str, DataDeclaration], declared: set[str], declaration: DataDeclaration, per: str
) -> str:
    """The data column that `per` names.

    Args:
        items: the columns with values of their own.
        declared: all names of the `data` section.
        declaration: the one with `per`.
        per: the level's name.

    Raises:
        SpecError: where there is no such column, or it is computed.
    """
    if per in items and per != declaration.name:
        return per
    if per == declaration.name:
        raise refusal("data-per", "a column cannot hold one value per level of itself", declaration, "per")
    if per in declared:
        raise refusal("data-per", f"`{per}` is computed, so it has no levels", declaration, "per")
    others = [name for name in items if name != declaration.name]
    close = nearest(per, others)
    raise refusal(
        "data-per", f"there is no data column `{per}` whose levels it could follow", declaration, "per",
        expected=", ".join(others), fix=f"did you mean `{close}`?" if close else None,
        instead=(per, close) if close else None,
    )  # fmt: skip


def align(
    declaration: DataDeclaration,
    values: Values,
    level: Values,
    beside: Mapping[str, Array],
    names: tuple[str | None, ...],
) -> Values:
    """Values per level in the order of the sorted levels.

    Args:
        declaration: the one with `per`.
        values: one row per row of its own source.
        level: the level column.
        beside: the other columns of the same table.
        names: what the level's column may be called there, the first that exists is taken.

    Returns:
        One row per level.

    Raises:
        SpecError: where the level column has no levels, or a level has no row or several.
    """
    labels = level_labels(level)
    if labels is None:
        raise refusal(
            "data-per",
            f"`{names[0]}` has no levels",
            declaration,
            "per",
            expected="a column of labels or integers, one per row",
        )
    key = next((name for name in names if name is not None and name in beside), None)
    if key is None:
        if values.rows != len(labels):
            raise refusal(
                "data-per", f"the number of rows is not that of the levels of {names[0]}", declaration, "per",
                expected=f"{len(labels)} rows, or a column `{names[0]}` beside them", found=f"{values.rows} rows",
            )  # fmt: skip
        return values
    rows = _rows_by_label(declaration, beside[key], key)
    absent = [label for label in labels if label not in rows]
    if absent:
        raise refusal(
            "data-per", f"{len(absent)} of {len(labels)} levels of {names[0]} have no row", declaration, "per",
            expected="a row for each level", found=f"none for {', '.join(absent[:5])}",
        )  # fmt: skip
    order = np.array([rows[label] for label in labels], dtype=np.int64)
    observed = None if values.observed is None else values.observed[order]
    return replace(values, array=values.array[order], observed=observed)


def _rows_by_label(declaration: DataDeclaration, column: Array, key: str) -> dict[str, int]:
    """The row of each label in the level's own table."""
    try:
        keys = encode(column)
    except ValuesError as problem:
        raise refusal(problem.code, f"{key}: {problem.text()}", declaration, "per", fix=problem.fix) from problem
    names = keys.array.tolist() if keys.labels is None else [keys.labels[code] for code in keys.array]
    rows: dict[str, int] = {}
    for row, name in enumerate(map(str, names)):
        if name in rows:
            raise refusal(
                "data-per", f"level `{name}` has several rows", declaration, "per",
                expected="one row a level", found=f"rows {rows[name] + 1} and {row + 1}",
            )  # fmt: skip
        rows[name] = row
    return rows

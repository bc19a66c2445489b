"""Which rows train, validate and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.options import Plain, describe_plain, place, plain, refusal
from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.syntax import DataDeclaration

Rows: TypeAlias = npt.NDArray[np.int64]
_HELD_OUT = ("test", "validation")


@dataclass(frozen=True, slots=True)
class Split:
    """A declared split: fractions (below 1) or counts of held-out rows, and the seed that draws them."""

    test: float | int = 0
    validation: float | int = 0
    seed: int = 0

    def count(self, part: float | int, rows: int) -> int:
        """How many of `rows` a part takes: a fraction is rounded, and takes one row at least."""
        return part if isinstance(part, int) else max(1, round(part * rows))


def declared_split(declaration: DataDeclaration) -> Split | None:
    """The `split` of one declaration, or None.

    Raises:
        SpecError: for an unknown key, or sizes that are neither fractions nor counts.
    """
    value = plain(declaration.option("split"))
    if value is None:
        return None
    if not isinstance(value, dict) or not value or not set(value) <= {*_HELD_OUT, "seed"}:
        raise _invalid(declaration, value)
    seed = value.get("seed", 0)
    sizes = [value.get(part, 0) for part in _HELD_OUT]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0 or not all(map(_is_size, sizes)):
        raise _invalid(declaration, value)
    test, validation = (size for size in sizes if isinstance(size, int | float))
    return Split(test, validation, seed)


def _is_size(size: Plain) -> bool:
    if isinstance(size, bool):
        return False
    return (isinstance(size, int) and size >= 0) or (isinstance(size, float) and 0 < size < 1)


def _invalid(declaration: DataDeclaration, value: Plain) -> SpecError:
    return refusal(
        "data-split", "the split is malformed", declaration, "split",
        expected="{test: 0.1, validation: 0.1, seed: 0}: fractions of the rows, or counts", found=describe_plain(value),
    )  # fmt: skip


def common_split(declarations: Sequence[DataDeclaration]) -> tuple[Split, DataDeclaration | None]:
    """The one split of all row-wise columns, and the declaration that makes it; no split without one.

    A split declared on one column holds for the rows, hence for every column.

    Raises:
        SpecError: for a malformed split, or two that differ.
    """
    problems: list[Diagnostic] = []
    found: list[tuple[Split, DataDeclaration]] = []
    for declaration in declarations:
        try:
            split = declared_split(declaration)
        except SpecError as error:
            problems.extend(item for item in error.diagnostics if isinstance(item, Diagnostic))
            continue
        if split is not None:
            found.append((split, declaration))
        if split is not None and split != found[0][0]:
            message = f"{declaration.name} and {found[0][1].name} are split differently, but share their rows"
            problems.append(
                Diagnostic("data-split", message, place(declaration, "split"), fix="declare the split once")
            )
    if problems:
        raise SpecError(problems)
    return found[0] if found else (Split(), None)


def split_rows(rows: int, test_rows: int, split: Split, declaration: DataDeclaration | None) -> dict[str, Rows]:
    """Row numbers of each split, counted from 0, ascending within a split.

    Args:
        rows: rows of the training source.
        test_rows: rows of a separate test source, which follow them; 0 without one.
        split: what is held out of `rows`.
        declaration: where the split is declared.

    Returns:
        `train`, and `validation` and `test` where there are any: disjoint, and together all rows.

    Raises:
        SpecError: where nothing would be left to train on, or the test rows are given twice.
    """
    test, validation = split.count(split.test, rows) if split.test else 0, 0
    if split.validation:
        validation = split.count(split.validation, rows)
    if declaration is not None and test + validation >= rows:
        raise refusal(
            "data-split", "the split leaves no row to train on", declaration, "split",
            expected=f"fewer than {rows} held-out rows", found=str(test + validation),
        )  # fmt: skip
    if declaration is not None and test and test_rows:
        raise refusal(
            "data-split", "test rows come from `split` and from `test`", declaration, "split", fix="keep one of them"
        )
    order = np.random.default_rng(split.seed).permutation(rows) if test + validation else np.arange(rows)
    separate = np.arange(rows, rows + test_rows)
    parts: dict[str, npt.NDArray[Any]] = {
        "train": order[test + validation :],
        "validation": order[test : test + validation],
        "test": separate if test_rows else order[:test],
    }
    return {name: np.sort(part).astype(np.int64) for name, part in parts.items() if name == "train" or len(part)}

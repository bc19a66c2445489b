"""Data arguments of the Python API: from what a user has in hand to the arrays that emitted functions take.

Values come in the data's own units. The transforms of the run, fitted to its training data, apply; nothing is refitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.checked import check_complete, check_domain, check_support, label_among_numbers
from dgmppl.api.given import named_columns
from dgmppl.data import DataSet, Part
from dgmppl.data.contents import FileError
from dgmppl.data.encoding import ValuesError, encode, numbers, position_text
from dgmppl.data.frames import array_of
from dgmppl.data.load import Deferred
from dgmppl.data.mapped import pieces
from dgmppl.data.rowwise import RowwiseError, evaluate
from dgmppl.data.values import Values, first
from dgmppl.errors import InternalError, RunError
from dgmppl.ir import transforms
from dgmppl.ir.data import Column
from dgmppl.ir.expressions import Node
from dgmppl.ir.program import Program
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as the program sees them.

    Attributes:
        arrays: columns in model units, `[N, *event]`, and `x.observed` masks.
        raw: columns in the data's own units, NaN where an entry is missing.
        rows: N.
        numbers: the rows' numbers in their source.
    """

    arrays: Arrays
    raw: Mapping[str, Array]
    rows: int
    numbers: Array

    def take(self, program: Program, rows: slice | NDArray[np.int64]) -> Batch:
        """Some of the rows; columns that have no rows stay whole."""

        def cut(name: str, arrays: Mapping[str, Array]) -> Array:
            return arrays[name][rows] if row_wise(program, name) else arrays[name]

        chosen = {name: cut(name, self.arrays) for name in self.arrays}
        raw = Deferred({name: partial(cut, name, self.raw) for name in self.raw})
        numbers = self.numbers[rows]
        return Batch(chosen, raw, len(numbers), numbers)

    def given(self, program: Program) -> dict[str, Array]:
        """What the program's `sample` reads of the rows: all but the sites that it draws, and their masks."""
        drawn = {site.name for site in program.observed}
        return {name: array for name, array in self.arrays.items() if name.partition(".")[0] not in drawn}


def row_wise(program: Program, name: str) -> bool:
    """Whether a column has one value per row, rather than one in all or one per level."""
    column = program.columns.get(name.removesuffix(".observed"))
    return column is None or not (column.whole or column.per)


def of_part(program: Program, data: DataSet, part: Part) -> Batch:
    """A split of loaded data; level indices become positions among the levels."""
    coded = {name: data.codes[name][part.indices] for name in program.levels if name in data.codes}
    arrays = {name: coded[name] if name in coded else _narrow(array) for name, array in part.arrays.items()}
    arrays |= {f"{name}.observed": mask for name, mask in part.masks.items()}
    rows = part.rows if any(row_wise(program, name) for name in part.arrays) else 1
    return Batch(arrays, part.raw, rows, np.asarray(part.indices[:rows]))


def _narrow(array: Array) -> Array:
    """Integers beyond 32 bits as real numbers: an accelerator's library would wrap them around without a word."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    wide = any(int(part.max()) > _INT32.max or int(part.min()) < _INT32.min for part in pieces(array))
    return np.asarray(array, dtype=np.float64) if wide else array


def of_values(
    program: Program, declarations: Sequence[DataDeclaration], given: Any, *, seed: int = 0, partial: bool = False
) -> Batch:
    """Values in the data's own units, as the program sees them.

    Args:
        program: with the fitted transforms of its columns.
        declarations: the `data` section, for expression sources.
        given: an array (of the only observed variable), a data frame, a mapping of columns, or xarray data.
        seed: of the noise of random transforms.
        partial: columns may be missing (covariates alone).

    Raises:
        RunError: a column is missing, unknown, or of another shape; a value, with its row, is missing where the model
            needs it, outside a transform's domain, or outside its site's support.
    """
    columns = named_columns(program, declarations, given)
    arrays: Arrays = {}
    raw: Arrays = {}
    seen: dict[str, Values] = {}
    for declaration in declarations:
        column = program.columns[declaration.name]
        values = _values(column, declaration, columns, seen)
        if values is None:
            if not partial and not _optional(program, column):
                raise RunError(f"the data lack the column {column.name!r}; the spec has {', '.join(program.columns)}")
            continue
        raw[column.name] = np.asarray(values.with_gaps())
        noise = np.random.default_rng([seed, len(arrays)])
        seen[column.name] = _transformed(column, values, noise)
        check_support(program.by_name.get(column.name), column, seen[column.name])
        arrays[column.name] = _coded(program, column, seen[column.name])
        if column.missing:
            arrays[f"{column.name}.observed"] = seen[column.name].mask
    return _of_one_length(program, arrays, raw)


def _of_one_length(program: Program, arrays: Arrays, raw: Arrays) -> Batch:
    counts = {name: len(array) for name, array in arrays.items() if row_wise(program, name)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise RunError(f"the columns have different numbers of rows: {listed}")
    rows = next(iter(counts.values()), 1)
    if rows == 0:
        raise RunError("the data have no rows")
    return Batch(arrays, raw, rows, np.arange(rows))


def _optional(program: Program, column: Column) -> bool:
    """A column that no site reads."""
    site = program.by_name.get(column.name)
    return site is None or (
        site not in program.observed and not program.children(column.name) and column.name not in program.levels
    )


def _values(
    column: Column, declaration: DataDeclaration, columns: Mapping[str, Any], seen: Mapping[str, Values]
) -> Values | None:
    """A column's raw values; computed where it is an expression of earlier ones; None where it is not given."""
    if column.name not in columns:
        return _computed(column, declaration, seen)
    try:
        array = array_of(columns[column.name])
        array = array[None] if column.whole and array.shape == column.raw_shape else array
        values = _labels_as_codes(column, array) if column.coded else encode(array)
    except (ValuesError, FileError) as problem:
        message = problem.text(column.fields) if isinstance(problem, ValuesError) else str(problem)
        raise RunError(f"{column.name}: {message}" + (f"; {problem.fix}" if problem.fix else "")) from problem
    if values.array.shape[1:] != column.raw_shape:
        expected = "[rows" + "".join(f", {size}" for size in column.raw_shape) + "]"
        raise RunError(f"{column.name} has shape {list(values.array.shape)}, expected {expected}")
    if values.labels is not None and not column.coded:
        raise label_among_numbers(column, values, values.labels)
    check_complete(column, values)
    return values


def _computed(column: Column, declaration: DataDeclaration, seen: Mapping[str, Values]) -> Values | None:
    if declaration.kind != "expression" or not set(column.derived_from) <= set(seen):
        return None
    assert isinstance(declaration.source, Node)
    try:
        array = evaluate(declaration.source, seen)
    except RowwiseError as problem:
        raise RunError(f"{column.name}: {problem.message}") from problem
    wrong = first(array, lambda part: ~np.isfinite(part))
    if wrong is not None:
        raise RunError(f"{column.name}: {position_text(wrong)} is not finite")
    return Values(array)


def _labels_as_codes(column: Column, array: Array) -> Values:
    """Labels as their positions among those of the training data; gaps as in the training data."""
    assert column.levels is not None
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    given = encode(array.astype(object))
    if given.labels is None:
        raise RunError(f"{column.name} holds numbers; the training data held labels: {', '.join(column.levels[:10])}")
    code = {label: place for place, label in enumerate(column.levels)}
    codes = np.array([code.get(label, -1) for label in given.labels], dtype=np.int64)[given.array]
    unknown = first(np.where(given.mask, codes, 0), lambda part: part < 0)
    if unknown is not None:
        label, known = given.labels[given.array[unknown]], ", ".join(column.levels[:10])
        where = f"was not in the training data ({position_text(unknown)})"
        raise RunError(f"{column.name}: {label!r} {where}; known: {known}")
    return Values(np.where(given.mask, codes, 0), given.observed)


def _transformed(column: Column, values: Values, noise: np.random.Generator) -> Values:
    array, observed = values.array, values.observed
    if column.raw_support is not None and not column.raw_support.discrete:
        array = array.astype(np.float64)
    for transform in column.transforms:
        mask = np.broadcast_to(np.True_, array.shape) if observed is None else observed
        check_domain(column, transform, array, mask)
        with np.errstate(all="ignore"):  # zeros that stand for missing entries may lie outside the domain
            array = transform.forward(array, noise)
        observed = None if observed is None else transform.mask(observed)
    if observed is not None:
        array = np.where(observed, array, np.zeros((), dtype=array.dtype))
    return replace(values, array=array, observed=observed, labels=None, support=None)


def _coded(program: Program, column: Column, values: Values) -> Array:
    """A level index as positions among its levels."""
    labels = program.levels.get(column.name)
    if labels is None or column.coded:
        return _narrow(values.array)
    known = numbers([int(label) for label in labels])
    places = np.minimum(np.searchsorted(known, values.array), len(known) - 1)
    unknown = first(known[places] != values.array, lambda part: part)
    if unknown is not None:
        raise RunError(
            f"{column.name}: level {values.array[unknown]} in row {unknown[0] + 1} was not in the training data"
        )
    return np.asarray(places)


def own_units(program: Program, name: str, array: Array) -> Array:
    """A column's values from model units back to the data's own: inverse transforms, labels for codes.

    Integers come back as integers where the model draws discrete values, or dequantized ones; a continuous density of
    values that were whole in the data is one of real numbers, and so are its draws.
    """
    column, site = program.columns.get(name), program.by_name.get(name)
    if column is None:
        return array
    restored = transforms.inverse(column.transforms, array)
    if column.coded and column.levels is not None:
        return np.asarray(np.asarray(column.levels)[np.rint(restored).astype(np.int64)])
    labels = program.levels.get(name)
    if labels is not None:
        return np.asarray(numbers([int(label) for label in labels])[np.rint(restored).astype(np.int64)])
    discrete = column.raw_support is not None and column.raw_support.discrete
    drawn = site is None or site.typed.support.discrete
    return np.rint(restored).astype(np.int64) if discrete and drawn and restored.dtype.kind == "f" else restored


def log_abs_det(program: Program, batch: Batch) -> Array:
    """The transforms' log-determinants of the observed columns, summed, in nats, `[N]`; observed elements count."""
    total = np.zeros(batch.rows)
    for site in program.observed:
        column = program.columns.get(site.name)
        if column is None or site.name not in batch.arrays:
            raise InternalError(f"the observed {site.name!r} has no column")
        if transforms.invertible_tail(column.transforms):
            values = np.asarray(batch.arrays[site.name], dtype=np.float64)
            mask = batch.arrays.get(f"{site.name}.observed")
            total = total + transforms.log_abs_det(column.transforms, values, mask)
    return total

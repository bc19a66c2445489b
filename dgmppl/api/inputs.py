"""Data arguments of the Python API: from what a user has in hand to the arrays that emitted functions take.

Values come in the data's own units. The transforms of the run, fitted to its training data, apply; nothing is refitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.data import DataSet, Part
from dgmppl.data.rowwise import evaluate
from dgmppl.data.values import Values, ValuesError, encode, nested
from dgmppl.errors import InternalError, RunError
from dgmppl.ir import transforms
from dgmppl.ir.data import Column
from dgmppl.ir.expressions import Node
from dgmppl.ir.program import Program
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]


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
    raw: Arrays
    rows: int
    numbers: Array

    def take(self, program: Program, rows: slice) -> Batch:
        """Some of the rows; columns that have no rows stay whole."""

        def cut(arrays: Arrays) -> Arrays:
            return {name: array[rows] if row_wise(program, name) else array for name, array in arrays.items()}

        numbers = self.numbers[rows]
        return Batch(cut(self.arrays), cut(self.raw), len(numbers), numbers)


def row_wise(program: Program, name: str) -> bool:
    """Whether a column has one value per row, rather than one in all or one per level."""
    column = program.columns.get(name.removesuffix(".observed"))
    return column is None or not (column.whole or column.per)


def of_part(program: Program, data: DataSet, part: Part) -> Batch:
    """A split of loaded data; level indices become positions among the levels."""
    arrays = dict(part.arrays)
    arrays |= {f"{name}.observed": mask for name, mask in part.masks.items()}
    arrays |= {name: data.codes[name][part.indices] for name in program.levels if name in data.codes and name in arrays}
    rows = part.rows if any(row_wise(program, name) for name in part.arrays) else 1
    return Batch(arrays, dict(part.raw), rows, np.asarray(part.indices[:rows]))


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
        RunError: a column is missing, unknown, or of another shape; named with what was expected.
    """
    columns = named_columns(program, given)
    unknown = [name for name in columns if name not in program.columns]
    if unknown:
        raise RunError(f"there is no data column {unknown[0]!r}; the spec has {', '.join(program.columns)}")
    arrays: Arrays = {}
    raw: Arrays = {}
    seen: dict[str, Values] = {}
    for declaration in declarations:
        column = program.columns[declaration.name]
        values = _values(column, declaration, columns, seen, raw)
        if values is None:
            if not partial and not _optional(program, column):
                raise RunError(f"the data lack the column {column.name!r}; the spec has {', '.join(program.columns)}")
            continue
        noise = np.random.default_rng([seed, len(arrays)])
        seen[column.name] = _transformed(column, values, noise)
        arrays[column.name] = _coded(program, column, seen[column.name])
        if seen[column.name].observed is not None or column.missing:
            arrays[f"{column.name}.observed"] = seen[column.name].mask
    counts = {name: len(array) for name, array in arrays.items() if row_wise(program, name)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise RunError(f"the columns have different numbers of rows: {listed}")
    rows = next(iter(counts.values()), 1)
    return Batch(arrays, raw, rows, np.arange(rows))


def _optional(program: Program, column: Column) -> bool:
    """A column that no site reads."""
    site = program.by_name.get(column.name)
    return site is None or (
        site not in program.observed and not program.children(column.name) and column.name not in program.levels
    )


def named_columns(program: Program, given: Any) -> dict[str, Any]:
    """What was given, by the name of its column."""
    package, kind = type(given).__module__.split(".")[0], type(given).__name__
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    if package in ("pandas", "polars") and kind == "DataFrame":
        return _of_frame(program, given)
    if package == "xarray" and kind == "Dataset":
        return {str(name): np.asarray(given[name]) for name in given.data_vars}
    only = [site.name for site in program.observed] or list(program.columns)
    if len(only) != 1:
        raise RunError(f"an array alone does not say which column it is; give a mapping of {', '.join(only)}")
    return {only[0]: given}


def _of_frame(program: Program, frame: Any) -> dict[str, Any]:
    """Columns of a frame by their own name, or by the names that a column of several fields lists."""
    found: dict[str, Any] = {}
    for name, column in program.columns.items():
        if name in frame.columns:
            found[name] = frame[name].to_numpy()
        elif column.fields is not None and set(column.fields) <= set(frame.columns):
            found[name] = frame[list(column.fields)].to_numpy()
    if not found and len(program.columns) == 1:
        found = {next(iter(program.columns)): frame.to_numpy()}
    return found


def _values(
    column: Column, declaration: DataDeclaration, columns: Mapping[str, Any], seen: Mapping[str, Values], raw: Arrays
) -> Values | None:
    """A column's raw values; computed where it is an expression of earlier ones."""
    if column.name not in columns:
        if declaration.kind == "expression" and set(column.derived_from) <= set(seen):
            assert isinstance(declaration.source, Node)
            return Values(evaluate(declaration.source, seen))
        return None
    given = columns[column.name]
    try:
        array = nested(given) if isinstance(given, list) else np.asarray(given)
        array = array[None] if column.whole and array.shape == column.raw_shape else array
        values = _labels_as_codes(column, array) if column.coded else encode(array)
    except ValuesError as problem:
        raise RunError(f"{column.name}: {problem.message}") from problem
    if values.array.shape[1:] != column.raw_shape:
        expected = "[rows" + "".join(f", {size}" for size in column.raw_shape) + "]"
        raise RunError(f"{column.name} has shape {list(values.array.shape)}, expected {expected}")
    raw[column.name] = np.asarray(values.with_gaps())
    return values


def _labels_as_codes(column: Column, array: Array) -> Values:
    assert column.levels is not None
    code = {label: place for place, label in enumerate(column.levels)}
    unknown = [label for label in array.astype(str).ravel().tolist() if label not in code]
    if unknown:
        raise RunError(
            f"{column.name}: {unknown[0]!r} was not in the training data; known: {', '.join(column.levels[:10])}"
        )
    codes = np.array([code[label] for label in array.astype(str).ravel().tolist()], dtype=np.int64)
    return Values(codes.reshape(array.shape))


def _transformed(column: Column, values: Values, noise: np.random.Generator) -> Values:
    array, observed = values.array, values.observed
    if column.raw_support is not None and not column.raw_support.discrete:
        array = array.astype(np.float64)
    for transform in column.transforms:
        array = transform.forward(array, noise)
        observed = None if observed is None else transform.mask(observed)
    if observed is not None:
        array = np.where(observed, array, np.zeros((), dtype=array.dtype))
    return replace(values, array=array, observed=observed, labels=None, support=None)


def _coded(program: Program, column: Column, values: Values) -> Array:
    """A level index as positions among its levels."""
    labels = program.levels.get(column.name)
    if labels is None or column.coded:
        return values.array
    numbers = np.array([int(label) for label in labels])
    places = np.minimum(np.searchsorted(numbers, values.array), len(numbers) - 1)
    if (numbers[places] != values.array).any():
        odd = values.array[numbers[places] != values.array].ravel()[0]
        raise RunError(f"{column.name}: level {odd} was not in the training data")
    return np.asarray(places)


def own_units(program: Program, name: str, array: Array) -> Array:
    """A column's values from model units back to the data's own: inverse transforms, labels for codes."""
    column = program.columns.get(name)
    if column is None:
        return array
    restored = transforms.inverse(column.transforms, array)
    if column.coded and column.levels is not None:
        return np.asarray(np.asarray(column.levels)[restored.astype(int)])
    labels = program.levels.get(name)
    if labels is not None:
        return np.asarray(np.asarray([int(label) for label in labels])[restored.astype(int)])
    discrete = column.raw_support is not None and column.raw_support.discrete
    return restored.astype(np.int64) if discrete and np.issubdtype(restored.dtype, np.floating) else restored


def log_abs_det(program: Program, batch: Batch) -> Array:
    """The transforms' log-determinants of the observed columns, summed, in nats, `[N]`."""
    total = np.zeros(batch.rows)
    for site in program.observed:
        column = program.columns.get(site.name)
        if column is None or site.name not in batch.arrays:
            raise InternalError(f"the observed {site.name!r} has no column")
        total = total + transforms.log_abs_det(column.transforms, np.asarray(batch.arrays[site.name], dtype=np.float64))
    return total

"""The data themselves: arrays by name for each split, as the model sees them and in their own units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.assembly import Assembled, assemble, redrawn
from dgmppl.data.bindings import Bindings
from dgmppl.data.describe import schema_of
from dgmppl.data.items import Item
from dgmppl.data.mapped import chosen
from dgmppl.data.options import refusal
from dgmppl.data.splits import Rows
from dgmppl.data.values import Values, level_codes
from dgmppl.errors import SpecError
from dgmppl.ir.data import DataSchema
from dgmppl.source import Diagnostic
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]


class Deferred(Mapping[str, Array]):
    """Arrays that are made when they are asked for, so that what nobody reads takes no memory."""

    def __init__(self, makers: Mapping[str, Callable[[], Array]]) -> None:
        self._makers = dict(makers)

    def __getitem__(self, name: str) -> Array:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True, slots=True)
class Part:
    """The data of one split.

    Trainers keep a split's arrays on their device where they fit, and else gather the rows of a few steps at a time
    (`dgmppl.feeding`); mapped files need no memory beside it, unless transforms convert them.

    Attributes:
        indices: the rows' numbers in the source, from 0, `[N]`; those of a separate test source follow the others.
        arrays: `[N, *event]` by name; `[1, *event]` for a `whole` column and `[levels, *event]` for one `per` level;
            float64 or int64; zero where an entry is missing. Rows of a mapped file are read when they are asked for
            by number (`mapped.MappedRows`); `np.asarray` reads all.
        masks: where an entry is observed, of the array's shape; only for columns with missing entries.
        raw: the values before the transforms, nothing hidden by `keep`; NaN where an entry is missing.
    """

    indices: Rows
    arrays: Mapping[str, Array]
    masks: Mapping[str, Array]
    raw: Mapping[str, Array]

    @property
    def rows(self) -> int:
        """N."""
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The data of a spec, split.

    Attributes:
        schema: what `describe` says of the same data.
        parts: by the split's name: `train`, and `validation` and `test` where there are any.
        codes: for each column that can serve as a level index, its rows' positions among the sorted levels, `[rows]`
            over all splits; `codes[name][part.indices]` are those of a part.
    """

    schema: DataSchema
    parts: Mapping[str, Part]
    codes: Mapping[str, Array]
    _assembled: Assembled = field(repr=False)

    @property
    def train(self) -> Part:
        """The training split."""
        return self.parts["train"]

    @property
    def held_out(self) -> Part | None:
        """The test split, or None where nothing is held out."""
        return self.parts.get("test")

    def redraw(self, seed: int) -> DataSet:
        """The same data with fresh noise in the random transforms, for another epoch; itself without any."""
        if not any(column.random for column in self.schema.columns.values()):
            return self
        return _data_set(redrawn(self._assembled, seed), self.schema)


class Loader:
    """The data of a spec, read once: a compiler asks for the schema, a fit for the arrays.

    What was read is held until the loader is dropped.

    Attributes:
        declarations: the `data` section of a spec.
        bindings: data given at run time, by name: arrays, data frames, paths.
    """

    def __init__(self, declarations: Sequence[DataDeclaration], bindings: Bindings | None = None) -> None:
        self.declarations, self.bindings = tuple(declarations), bindings

    @cached_property
    def _assembled(self) -> Assembled:
        return assemble(self.declarations, self.bindings)

    @cached_property
    def schema(self) -> DataSchema:
        """See `dgmppl.data.describe`.

        Raises:
            SpecError: with everything that is wrong with the data.
        """
        return schema_of(self._assembled)

    def load(self, *, seed: int) -> DataSet:
        """See `dgmppl.data.load`.

        Raises:
            SpecError: with everything that is wrong, unbound columns included.
        """
        items = self._assembled.items.values()
        unbound = [item.declaration for item in items if not item.bound and item.declaration.kind == "shape"]
        if unbound:
            raise SpecError([problem for declaration in unbound for problem in _unbound(declaration)])
        draws = any(transform.random for item in items for transform in item.transforms)
        return _data_set(redrawn(self._assembled, seed) if draws else self._assembled, self.schema)


def load(declarations: Sequence[DataDeclaration], bindings: Bindings | None = None, *, seed: int) -> DataSet:
    """Read, split and transform the data.

    Args:
        declarations: the `data` section of a spec.
        bindings: data given at run time, by name.
        seed: of the noise of `dequantize` and `stochastic_binarize`. Splits, `keep` and synthetic sets have seeds of
            their own, so that the data are the same in every run.

    Raises:
        SpecError: with everything that is wrong, unbound columns included.
    """
    return Loader(declarations, bindings).load(seed=seed)


def _unbound(declaration: DataDeclaration) -> list[Diagnostic]:
    name = declaration.name
    error = refusal(
        "data-binding", "it is bound at run time, and no data were given", declaration,
        fix=f"fit --data {name}=FILE, or bindings={{'{name}': array}} in Python",
    )  # fmt: skip
    return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]


def _data_set(assembled: Assembled, schema: DataSchema) -> DataSet:
    parts = {name: _part(assembled, rows) for name, rows in assembled.parts.items()}
    codes = {
        name: level_codes(assembled.values[name], column.levels)
        for name, column in schema.columns.items()
        if column.levels is not None
    }
    return DataSet(schema, parts, codes, assembled)


def _part(assembled: Assembled, rows: Rows) -> Part:
    """One split. Where it is all rows, and nothing is widened, its arrays are those that were read."""

    def picked(item: Item, array: Array) -> Rows | None:
        return rows if item.row_wise and 1 < len(array) != len(rows) else None

    def raw(item: Item) -> Array:
        array = item.raw.with_gaps()
        return np.asarray(chosen(array, picked(item, array)))

    def mask(item: Item) -> Array:
        array = values[item.name].mask
        which = picked(item, array)
        return array if which is None else array[which]

    items = assembled.items
    values: Mapping[str, Values] = assembled.values
    return Part(
        indices=rows,
        arrays={name: chosen(values[name].array, picked(item, values[name].array)) for name, item in items.items()},
        masks={name: mask(item) for name, item in items.items() if values[name].observed is not None},
        raw=Deferred({name: partial(raw, item) for name, item in items.items()}),
    )

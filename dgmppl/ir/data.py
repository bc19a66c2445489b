"""What the compiler knows of the data: the shape, support and place of each column, not its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dgmppl.ir.transform import Transform
from dgmppl.ir.types import Dtype, Shape, Support
from dgmppl.source import Diagnostic, Span

# Counting the distinct values of a column stops here: lints ask for few, not for how many.
DISTINCT_CAP = 1000


@dataclass(frozen=True, slots=True)
class Extreme:
    """A telling value of a column, and where it first stands.

    Attributes:
        value: as the model sees it.
        row: counted from 1.
        field: the table column, where the last axis holds several.
    """

    value: float
    row: int
    field: str | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """`row 3`, or ``row 3 of column `age` ``."""
        return f"row {self.row}" if self.field is None else f"row {self.row} of column `{self.field}`"


@dataclass(frozen=True, slots=True)
class Column:
    """One data variable, as the model sees it: after its transforms.

    Attributes:
        name: the variable.
        shape: the event shape of one row; of the full array for `whole`; of one level's value for `per`.
        dtype: element type after the transforms.
        support: declared, or implied by the source or the last transform; None for integers without a declaration
            (what the site demands).
        rows: rows of the source, all splits together (1 for `whole`, the levels for `per`); None where unbound.
        whole: the entire array is one event.
        per: the level whose values it holds one by one.
        levels: the labels of a scalar integer or string column, sorted; codes count from 0 in this order.
        coded: the values are codes of `levels` already (strings); otherwise they are the integers themselves.
        missing: some entry is missing or hidden.
        gaps: how many entries of the training rows are.
        missing_policy: `error` refuses missing entries; None is the language's rule.
        bound_at_run_time: no value is known yet.
        discrete_bins: n of `dequantize(n)`: the discrete values that the density bounds.
        transforms: fitted, in order.
        raw_shape: the event shape before the transforms.
        raw_support: the support before the transforms.
        derived_from: the sources that an expression source reads.
        fields: the names of the table columns that the last axis holds.
        lowest: the smallest value that the model sees; None where nothing is known.
        highest: the largest one.
        fractional: the first value that is no integer; None where there is none, or nothing is known.
        off_simplex: the sum of the first vector of values in [0, 1] that do not sum to 1; None where there is none.
        distinct: how many distinct values there are, at most `DISTINCT_CAP`.
        span: where the source is declared.
    """

    name: str
    shape: Shape = ()
    dtype: Dtype = Dtype.REAL
    support: Support | None = None
    rows: int | None = None
    whole: bool = False
    per: str | None = None
    levels: tuple[str, ...] | None = None
    coded: bool = False
    missing: bool = False
    gaps: int = 0
    missing_policy: str | None = None
    bound_at_run_time: bool = False
    discrete_bins: int | None = None
    transforms: tuple[Transform, ...] = ()
    raw_shape: Shape = ()
    raw_support: Support | None = None
    derived_from: tuple[str, ...] = ()
    fields: tuple[str, ...] | None = None
    lowest: Extreme | None = field(default=None, compare=False)
    highest: Extreme | None = field(default=None, compare=False)
    fractional: Extreme | None = field(default=None, compare=False)
    off_simplex: Extreme | None = field(default=None, compare=False)
    distinct: int | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def random(self) -> bool:
        """Whether some transform draws noise, so that an epoch may see other values than the last."""
        return any(transform.random for transform in self.transforms)


@dataclass(frozen=True, slots=True)
class DataSchema(Mapping[str, Column]):
    """The columns by name, in the order of the spec.

    Attributes:
        columns: each column.
        rows: rows of the source that all row-wise columns share, all splits together; 1 where each column is `whole`;
            None where it is known only at run time.
        split_rows: rows of each split, `train` first.
        warnings: what is suspicious, though not wrong.
    """

    columns: Mapping[str, Column]
    rows: int | None = None
    split_rows: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @property
    def train_rows(self) -> int | None:
        """N of the training split, which scales a batch's sum by N/B; None where bound at run time."""
        return self.split_rows.get("train")

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """The labels of each column that can serve as a level index."""
        return {name: column.levels for name, column in self.columns.items() if column.levels is not None}

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

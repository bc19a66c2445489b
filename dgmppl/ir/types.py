"""Types of values: shape, element type, support, and the plate they vary over."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]


class Dtype(Enum):
    """Element types; the width is the run's precision, not the program's."""

    REAL = "real"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Support:
    """The set in which a value lies.

    Attributes:
        kind: one of `KINDS`.
        size: states of `integer(n)`, last axis of `simplex(n)`; None elsewhere.
        low, high: numeric bounds of an `interval`; None where a bound is another parameter or absent.
    """

    kind: str
    size: int | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.kind}({self.size})"
        if self.kind == "interval":
            low, high = ("?" if bound is None else bound for bound in (self.low, self.high))
            return f"interval({low}, {high})"
        return self.kind

    @property
    def discrete(self) -> bool:
        """Whether densities on it are with respect to counting measure."""
        return self.kind in {"binary", "count", "integer"}

    @property
    def confined(self) -> bool:
        """Whether it is bounded on every side: what is continuous on its closure has a finite integral."""
        inside = self.kind == "interval" and self.low is not None and self.high is not None
        return inside or self.kind in {"unit", "simplex", "circular"} or self.states is not None

    @property
    def states(self) -> int | None:
        """How many values one element can take, where that is finite."""
        return {"binary": 2, "integer": self.size}.get(self.kind)

    def within(self, other: Support) -> bool:
        """Whether every value of this support lies in the other."""
        if self == other or other.kind == "real":
            return True
        if self.kind == other.kind:
            return self._same_kind_within(other)
        if self.kind == "binary" and other.kind == "integer":
            return other.size is not None and other.size >= 2
        return other.kind in _WIDER.get(self.kind, frozenset())

    def _same_kind_within(self, other: Support) -> bool:
        if self.kind == "interval":
            below = -math.inf if other.low is None else other.low
            above = math.inf if other.high is None else other.high
            return self.low is not None and self.high is not None and below <= self.low and self.high <= above
        return other.size is None or (self.size is not None and self.size <= other.size)


_WIDER: dict[str, frozenset[str]] = {
    "positive": frozenset({"nonnegative"}),
    "unit": frozenset({"nonnegative"}),
    "binary": frozenset({"count", "nonnegative", "unit"}),
    "integer": frozenset({"count", "nonnegative"}),
    "count": frozenset({"nonnegative"}),
    "simplex": frozenset({"nonnegative", "unit"}),
    "positive_ordered": frozenset({"ordered", "positive", "nonnegative"}),
    "correlation_cholesky": frozenset({"cholesky"}),
}

KINDS = (
    "real", "positive", "nonnegative", "unit", "interval", "binary", "count", "integer", "simplex",
    "ordered", "positive_ordered", "cholesky", "correlation_cholesky", "positive_definite", "orthogonal", "circular",
)  # fmt: skip

REAL, POSITIVE, NONNEGATIVE, UNIT = Support("real"), Support("positive"), Support("nonnegative"), Support("unit")
BINARY, COUNT = Support("binary"), Support("count")


def integer(size: int) -> Support:
    """`{0, ..., size - 1}`."""
    return Support("integer", size=size)


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of one datum's value (or of one level's, or of a global quantity).

    Attributes:
        shape: the event's shape; batch axes are never part of it.
        dtype: element type.
        support: the set in which each value lies.
        plate: the batch axis that it varies over: `data`, a level's name, or None for a global quantity.
    """

    shape: Shape = ()
    dtype: Dtype = Dtype.REAL
    support: Support = field(default=REAL)
    plate: str | None = None

    @property
    def size(self) -> int:
        """How many elements one value has."""
        return math.prod(self.shape)

    @property
    def states(self) -> int | None:
        """How many values the whole event can take, where that is finite."""
        return None if self.support.states is None else self.support.states**self.size

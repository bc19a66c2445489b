"""Intervals: the bounds of supports and of data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dgmppl.ir.data import Column
from dgmppl.ir.types import NONNEGATIVE, POSITIVE, REAL, UNIT, Support

INF = math.inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval; `above` says that the lower end itself is not reached."""

    low: float = -INF
    high: float = INF
    above: bool = False

    @property
    def positive(self) -> bool:
        """Whether zero and everything below it are excluded."""
        return self.low > 0 or (self.low == 0 and self.above)


_BOUNDS: dict[str, Bounds] = {
    "positive": Bounds(0, INF, True), "nonnegative": Bounds(0), "unit": Bounds(0, 1), "binary": Bounds(0, 1),
    "count": Bounds(0), "simplex": Bounds(0, 1), "positive_ordered": Bounds(0, INF, True),
}  # fmt: skip


def bounds_of(support: Support) -> Bounds:
    """The interval of a support's elements."""
    if support.kind == "interval":
        low = -INF if support.low is None else support.low
        return Bounds(low, INF if support.high is None else support.high, above=True)
    if support.kind == "integer":
        return Bounds(0, INF if support.size is None else support.size - 1)
    return _BOUNDS.get(support.kind, Bounds())


def support_from(bounds: Bounds) -> Support:
    """The narrowest named real support that holds an interval."""
    if bounds.low >= 0 and bounds.high <= 1:
        return POSITIVE if bounds.positive and bounds.low > 0 else UNIT
    if bounds.positive:
        return POSITIVE
    if bounds.low >= 0:
        return NONNEGATIVE
    if bounds.low > -INF and bounds.high < INF:
        return Support("interval", low=bounds.low, high=bounds.high)
    return REAL


def evidence(column: Column) -> Bounds:
    """What a covariate's own values show."""
    declared = bounds_of(column.support) if column.support is not None else Bounds()
    low = declared.low if column.lowest is None else max(declared.low, column.lowest.value)
    high = declared.high if column.highest is None else min(declared.high, column.highest.value)
    return Bounds(low, high, above=declared.above and low == declared.low)

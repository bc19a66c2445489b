"""Observed sites: whether the data can have been drawn from the density at all."""

from __future__ import annotations

from dgmppl.ir.data import Column, Extreme
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype, Support
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.problems import Problems


def check_observed(site: Site, column: Column, problems: Problems) -> None:
    """Check a column against its site's support: by the values where they are known, else by the declaration."""
    wanted = site.typed.support
    if wanted.kind == "real" or (column.support is not None and _same(column.support, wanted)):
        return
    outside = _outside(column, wanted)
    if outside is not None:
        value = f"{outside.value:g} in row {outside.row}"
        _report(site, column, wanted, f"the value {value}", problems)
    elif column.support is not None and column.lowest is None:
        _report(site, column, wanted, str(column.support), problems)
    elif wanted.discrete and column.dtype is Dtype.REAL and column.lowest is not None and column.support is None:
        _report(site, column, wanted, "values with a fraction", problems)


def _same(found: Support, wanted: Support) -> bool:
    return found.within(wanted) or (found.kind == "integer" and found.size == 2 and wanted.kind == "binary")


def _outside(column: Column, wanted: Support) -> Extreme | None:
    limits = bounds_of(wanted)
    low, high = column.lowest, column.highest
    if low is not None and (low.value < limits.low or (limits.above and low.value == limits.low)):
        return low
    return high if high is not None and high.value > limits.high else None


def _report(site: Site, column: Column, wanted: Support, found: str, problems: Problems) -> None:
    problems.add(
        "data-likelihood",
        f"the data of {site.name!r} do not fit its distribution",
        site.span,
        expected=str(wanted),
        found=found,
        fix=_fix(column, wanted),
        notes=(f"the column is declared at {column.span}",) if column.span else (),
    )


def _fix(column: Column, wanted: Support) -> str:
    match wanted.kind:
        case "binary":
            high = column.highest
            threshold = 0.5 if high is None or column.dtype is Dtype.REAL else (int(high.value) + 1) // 2
            return f"add `transform: binarize({threshold:g})` to the column, or use `Categorical(logits=...)`"
        case "integer":
            return "give the distribution as many classes as the data have"
        case "unit":
            return "add `transform: unit()` to the column"
        case "positive" | "nonnegative" | "count":
            return "use a distribution on the values' own range, such as `Normal`"
    return f"use a distribution whose support holds the data, or transform the column to {wanted}"

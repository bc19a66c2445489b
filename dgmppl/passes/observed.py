"""Observed sites: whether the data can have been drawn from the density at all, before anything is trained."""

from __future__ import annotations

from dgmppl.ir.data import Column, Extreme
from dgmppl.ir.densities import Restricted
from dgmppl.ir.ends import ends
from dgmppl.ir.program import Site
from dgmppl.ir.transforms import Flatten, Unit
from dgmppl.ir.types import BINARY, Dtype, Support
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.problems import Problems


def check_observed(site: Site, column: Column, problems: Problems) -> None:
    """Check a column against its site's support: by the values where they are known, else by the declaration."""
    wanted = site.typed.support
    if column.coded and not wanted.discrete and not column.transforms:
        _refuse_labels(site, column, problems)
        return
    if column.support is not None and _same(column.support, wanted):
        return
    found = str(column.support) if column.support is not None and column.lowest is None else None
    if column.lowest is not None:
        found = _outside(column, wanted, closed=_reaches_its_low_end(site))
    if found is None:
        return
    problems.add(
        "data-likelihood",
        f"the data of {site.name!r} do not fit its distribution",
        site.span,
        expected=str(wanted),
        found=found if all(isinstance(one, Flatten) for one in column.transforms) else f"{found}, after the transforms",
        fix=_fix(column, wanted),
        notes=(f"the column is declared at {column.span}",) if column.span else (),
    )


def _refuse_labels(site: Site, column: Column, problems: Problems) -> None:
    """Labels are coded by their order in the alphabet, which a continuous distribution would take for a number."""
    known = column.levels or ()
    shown = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
    problems.add(
        "data-likelihood",
        f"the data of {site.name!r} do not fit its distribution",
        site.span,
        expected=f"numbers ({site.typed.support})",
        found=f"{len(known)} labels: {shown}",
        fix=f"use `Categorical(logits=...)` with {max(len(known), 2)} classes, or add `transform: one_hot()`",
    )


def _same(found: Support, wanted: Support) -> bool:
    return found.within(wanted) or (found.states == 2 and wanted == BINARY)


def _reaches_its_low_end(site: Site) -> bool:
    """Whether a density names its lower end, where it is finite, or has an atom."""
    density = site.density
    return ends(density)[0] is not None or (isinstance(density, Restricted) and density.low is not None)


def _outside(column: Column, wanted: Support, *, closed: bool) -> str | None:
    """The first thing about the values that the support does not allow, and its row."""
    limits = bounds_of(wanted)
    low, high = column.lowest, column.highest
    if low is not None and (low.value < limits.low or (limits.above and not closed and low.value == limits.low)):
        return _value(low)
    if high is not None and high.value > limits.high:
        return _value(high)
    if wanted.discrete and column.fractional is not None:
        return f"{_value(column.fractional)}, which is no integer"
    if wanted.kind == "simplex" and column.off_simplex is not None:
        return f"the sum {column.off_simplex.value:g} in {column.off_simplex.place}"
    return None


def _value(found: Extreme) -> str:
    return f"the value {found.value:g} in {found.place}"


def _fix(column: Column, wanted: Support) -> str:
    """A transform or another distribution that would fit."""
    low, high = column.lowest, column.highest
    counts = column.dtype is Dtype.INTEGER and low is not None and low.value >= 0
    states = int(high.value) + 1 if counts and high is not None else None
    match wanted.kind:
        case "binary":
            threshold = "0.5" if states is None else f"{states // 2}"
            return f"add `transform: binarize({threshold})` to the column, or use `Categorical(logits=...)`"
        case "integer" if states is not None and low is not None and low.value == 1 and states - 1 == wanted.states:
            return f"count from 0: `{column.name}0: {column.name} - 1` in `data`, and observe that"
        case "integer" if states is not None:
            return f"give the distribution {states} classes, as many as the data have"
        case "unit" if states is not None:
            return f"add `transform: dequantize({states})` to the column, or `unit()` for a fixed scale"
        case "unit" if any(isinstance(one, Unit) for one in column.transforms):
            return "unit() maps the training rows to [0, 1]; divide by a range that holds all rows in `data` instead"
        case "unit":
            return "add `transform: unit()` to the column"
        case "positive" if low is not None and low.value == 0:
            return "use a distribution that can be zero, such as `ZeroInflated(...)`, or model log1p of the column"
        case "integer" | "count" if column.fractional is not None:
            return "use a continuous distribution, such as `Normal`, or add `transform: binarize(t)` to the column"
        case "positive" | "nonnegative" | "count":
            return "use a distribution on the values' own range, such as `Normal`"
        case "simplex":
            return "divide each row by its sum, or use a distribution on the values' own range"
    return f"use a distribution whose support holds the data, or transform the column to {wanted}"

"""Objectives that are less than they are called, critics that cannot be optimal, flows that do not reach the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dgmppl.ir.bijectors import BIJECTORS, Bijector, Step
from dgmppl.ir.densities import Pushforward
from dgmppl.ir.expressions import Call, Expression, Literal, walk
from dgmppl.ir.option_entries import Entry
from dgmppl.ir.options import OBJECTIVES, SCALAR_SCHEDULES
from dgmppl.ir.program import Program, Site
from dgmppl.passes.lints.facts import proof, warning
from dgmppl.source import Diagnostic


def weights_of_bounds(program: Program) -> Iterator[Diagnostic]:
    """A KL weight that is, or ends, below one: what is trained is then no lower bound on log p(x)."""
    for call in _calls(program.objective):
        entry = OBJECTIVES.get(call.function)
        beta = None if entry is None else entry.given(call, "beta")
        if beta is None:
            continue
        constant = _number(beta)
        if constant is not None and constant < 1:
            yield warning(
                "beta-below-one",
                f"`beta` is {constant:g}, below 1: what is trained is no lower bound on log p",
                beta.span or call.span,
                "leave `beta` out for a bound, or report `elbo` and `iwae` of the trained model, not the loss",
            )
        elif isinstance(beta, Call) and beta.function in SCALAR_SCHEDULES:
            yield from _schedule(program, beta)


def _schedule(program: Program, schedule: Call) -> Iterator[Diagnostic]:
    """A schedule of the KL weight that never reaches one: by its last value, or because training ends before."""
    entry = SCALAR_SCHEDULES[schedule.function]
    last, length = (_scalar(schedule, entry, name) for name in ("end", "steps"))
    if last is not None and last < 1:
        why = f"the weight of the KL ends at {last:g}, below 1: the trained objective is no lower bound on log p"
        yield warning("schedule-below-one", why, schedule.span, "let it end at 1")
    trained = _updates(program)
    if length is not None and trained is not None and length > trained:
        why = f"the schedule takes {length:g} steps, and training ends after {trained:g}"
        yield warning("schedule-too-long", why, schedule.span, f"at most {trained:g} steps, or a longer training")


def _updates(program: Program) -> float | None:
    """The updates of the model's player, where the spec and its data say how many."""
    train = program.train
    if train.epochs is None:
        return train.steps
    if program.rows is None:
        return None
    return train.epochs * max(1, program.rows // (train.batch_size or program.rows))


def bounded_critics(program: Program) -> Iterator[Diagnostic]:
    """A critic that is squashed: divergences map its raw output, a number of the whole line, themselves."""
    intervals = proof(program)
    for critic in program.critics:
        found = intervals.bounds(critic.expression)
        if math.isfinite(found.low) and math.isfinite(found.high):
            yield warning(
                "bounded-critic",
                f"the critic of {', '.join(critic.reads)} lies between {found.low:g} and {found.high:g}, and its best "
                "value may be any number: the divergence is underestimated, a Wasserstein distance most of all",
                critic.span,
                "give the network's own output; the divergence applies the function that it needs",
            )


def spline_bounds(program: Program) -> Iterator[Diagnostic]:
    """A spline next to the data that is the identity where part of the data lie."""
    for site, step, bound in splines_at_data(program):
        column = program.columns[site.name]
        if column.lowest is None or column.highest is None:
            continue
        reach = max(-column.lowest.value, column.highest.value)
        if reach > bound:
            yield warning(
                "spline-bound",
                f"the data of {site.name!r} go from {column.lowest.value:g} to {column.highest.value:g}, "
                f"and the spline next to them is the identity outside of [-{bound:g}, {bound:g}]",
                step.span or site.span,
                f"add `transform: standardize()` to the column, or write `bound={math.ceil(reach):g}`",
            )


def splines_at_data(program: Program) -> Iterator[tuple[Site, Step, float]]:
    """The sites of data whose elements meet a spline first, its step, and B: it is the identity outside of [-B, B]."""
    for site in program.observed:
        if isinstance(site.density, Pushforward):
            step = _nearest_to_data(program.bijectors[site.density.bijector], site.density.inverse)
            if step is not None and step.bound is not None:
                yield site, step, step.bound


def _nearest_to_data(bijector: Bijector, inverse: bool) -> Step | None:
    """The step that the data meet first, those that only move elements about left out."""
    steps = bijector.steps if inverse else bijector.steps[::-1]
    return next((step for step in steps if not BIJECTORS[step.kind].rearranges), None)


def _calls(expression: Expression | None) -> Iterator[Call]:
    if expression is not None:
        yield from (node for node in walk(expression) if isinstance(node, Call))


def _scalar(call: Call, entry: Entry, name: str) -> float | None:
    """A number as written, or the table's default."""
    declared, given = entry.argument(name), entry.given(call, name)
    default = None if declared is None else declared.default
    return _number(Literal(default) if given is None and isinstance(default, int | float) else given)


def _number(expression: Expression | None) -> float | None:
    value = expression.value if isinstance(expression, Literal) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

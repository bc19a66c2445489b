"""Differential equations in a model: `ode_solve(rate, start, times)` -> a local function and a call of the solver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from dgmppl.errors import InternalError
from dgmppl.ir.expressions import Call, Expression, Name, free_names
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.kernel import Define, Return, Var
from dgmppl.ir.types import Dtype
from dgmppl.lowering.layout import Lowered, as_array, op
from dgmppl.lowering.scope import Frame, Scope, unsupported
from dgmppl.passes.learned import as_number

_TOLERANCE = 1e-6


def path(scope: Scope, call: Call, lower: Callable[[Expression], Lowered]) -> Lowered:
    """The solution of dx/dt = rate(x, t) through x(times[0]) = start, at the times: [T, *event].

    Args:
        scope: the function under construction.
        call: of `ode_solve`.
        lower: how real values are lowered.

    Raises:
        UnsupportedError: a tolerance that is no number.
    """
    given = dict(zip(FUNCTIONS[call.function].parameters, call.arguments, strict=False)) | dict(call.keywords)
    start, times = as_array(lower(given["start"])), as_array(lower(given["times"]))
    name, state = _field(scope, given["rate"], start, times, lower)
    tolerances = {key: _tolerance(key, given.get(key)) for key in ("rtol", "atol")}
    solved = op("path", start.value, times.value, function=name, rank=start.rank, **tolerances)
    return state.with_value(solved, (*times.shape, *start.shape))


def _tolerance(key: str, value: Expression | None) -> float:
    number = _TOLERANCE if value is None else as_number(value)
    if number is None:
        raise unsupported(f"{key} of another form than a number", None if value is None else value.span)
    return number


def _field(
    scope: Scope, rate: Expression, start: Lowered, times: Lowered, lower: Callable[[Expression], Lowered]
) -> tuple[str, Lowered]:
    """A local function of the state and the time; its name, and the layout of the state along the path."""
    if not isinstance(rate, Name):
        raise InternalError("a rate that is no local function")
    (place, *clock), body = scope.program.functions[rate.id]
    for name in _read(scope, free_names(body) - {place, *clock}):
        lower(Name(name))  # what the rate reads is computed once, outside
    argument, time = scope.fresh(place), scope.fresh(clock[0]) if clock else "_"
    state = Lowered(Var(argument), start.shape, start.batched or times.batched, Dtype.REAL, start.axes | times.axes)
    values = dict.fromkeys(clock, Lowered(Var(time), (), times.batched, Dtype.REAL, times.axes))
    while True:
        frame = Frame(values={**scope.frame.values, **values, place: state}, clock=scope.clock)
        with scope.within(frame):
            value = lower(body)
            frame.statements.append(Return((as_array(value).value,)))
        if value.batched <= state.batched and value.axes <= state.axes:
            break
        # The state varies over all that its rate varies over.
        state = replace(state, batched=state.batched or value.batched, axes=state.axes | value.axes)
    function = scope.fresh(rate.id)
    scope.statements.append(Define(function, f"{argument}, {time}", tuple(frame.statements)))
    return function, state


def _read(scope: Scope, names: frozenset[str]) -> Iterator[str]:
    """The sites among names, in the program's order."""
    sites = {site.name: None for site in (*scope.program.sites, *scope.program.guide)}
    return (name for name in sites if name in names)

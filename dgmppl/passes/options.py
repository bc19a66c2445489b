"""Options that are chosen from closed tables: names, arguments and values checked, the expression kept."""

from __future__ import annotations

from collections.abc import Callable

from dgmppl.ir.calculus import FUNCTIONS, arity
from dgmppl.ir.expressions import (
    Call,
    Expression,
    Index,
    Literal,
    Mapping,
    Name,
    Operation,
    Sequence,
    Slice,
    walk,
)
from dgmppl.ir.objective_options import RATIO
from dgmppl.ir.options import REQUIRED, SCALAR_SCHEDULES, TABLES, Argument, Entry, Table
from dgmppl.passes.learned import as_number
from dgmppl.passes.problems import Problems, shown


def check_option(value: Expression, table: Table, what: str, problems: Problems, sites: tuple[str, ...] = ()) -> None:
    """Check that `value` is an entry of the table, applied to arguments that the entry has."""
    match value:
        case Name(id=name):
            call = Call(name, span=value.span)
        case Call():
            call = value
        case _:
            problems.add("bad-option", f"{what} is {shown(value)}", value.span, expected=_names(table))
            return
    entry = table.get(call.function)
    if entry is None:
        problems.unknown(what, call.function, table, value.span, code="unknown-choice")
        return
    _check_arguments(call, entry, problems, sites)


def _names(table: Table) -> str:
    return ", ".join(table)


def _check_arguments(call: Call, entry: Entry, problems: Problems, sites: tuple[str, ...]) -> None:
    names = [argument.name for argument in entry.arguments]
    if len(call.arguments) > len(names) or call.splats:
        problems.add(
            "wrong-arguments",
            f"{entry.name!r} takes at most {len(names)} arguments",
            call.span,
            expected=f"`{entry.name}({', '.join(names)})`",
            found=shown(call),
        )
    given: dict[str, Expression] = dict(zip(names, call.arguments, strict=False))
    for key, value in call.keywords:
        if key not in names:
            problems.unknown_argument(f"option of {entry.name!r}:", key, names, call, value)
        elif key in given:
            problems.add("duplicate-argument", f"{key!r} of {entry.name!r} is given twice", value.span or call.span)
        given[key] = value
    for argument in entry.arguments:
        if argument.name in given:
            _check_value(given[argument.name], argument, entry, problems, sites)
        elif argument.default is REQUIRED:
            problems.add(
                "missing-argument",
                f"{entry.name!r} lacks {argument.name!r}",
                call.span,
                expected=argument.doc,
                fix=f"write `{entry.name}({argument.name}=...)`",
            )


def _check_value(
    value: Expression, argument: Argument, entry: Entry, problems: Problems, sites: tuple[str, ...]
) -> None:
    if value == Literal(None) and argument.default is None:
        return
    sort = argument.sort
    if sort in {"scalar", "positive_scalar"} and as_number(value) is None:
        check_option(value, SCALAR_SCHEDULES, argument.name, problems, sites)
    elif sort in _PREDICATES:
        accepts, expected = _PREDICATES[sort]
        if not accepts(value):
            problems.add(
                "bad-option", f"{argument.name!r} of {entry.name!r} is {shown(value)}", value.span, expected=expected
            )
    elif sort == "generator":
        _check_generator(value, entry, problems)
    elif sort in {"site", "names"}:
        _check_names(value, sort, argument, problems, sites)
    elif sort.startswith("map:"):
        _check_map(value, sort.removeprefix("map:"), argument, problems, sites)
    else:
        check_option(value, TABLES[sort], argument.name, problems, sites)


def _check_generator(value: Expression, entry: Entry, problems: Problems) -> None:
    """A function of the ratio alone, made of what has a derivative."""
    for node in walk(value):
        match node:
            case Name(id=name) if name != RATIO:
                problems.unknown("name in a generator:", name, (RATIO,), node.span)
            case Call(function=function) if function not in FUNCTIONS:
                problems.unknown("function of one number:", function, FUNCTIONS, node.span, code="unknown-function")
            case Literal(value=bool() | str() | None) | Index() | Slice() | Sequence() | Mapping():
                _no_generator(node, entry, problems)
            case Operation(operator="@"):
                _no_generator(node, entry, problems)
            case Call(function=function, arguments=arguments) if len(arguments) != arity(function) or node.keywords:
                problems.add(
                    "wrong-arguments",
                    f"{function!r} takes {arity(function)} arguments here, by position",
                    node.span,
                    found=shown(node),
                )


def _no_generator(node: Expression, entry: Entry, problems: Problems) -> None:
    expected = f"numbers, `{RATIO}` and functions of them, as in `{entry.name}({RATIO} * log({RATIO}))`"
    problems.add("bad-option", f"{shown(node)} stands in a generator", node.span, expected=expected)


def _check_names(value: Expression, sort: str, argument: Argument, problems: Problems, sites: tuple[str, ...]) -> None:
    parts = value.items if sort == "names" and isinstance(value, Sequence) else (value,)
    for part in parts:
        if not isinstance(part, Name):
            problems.add(
                "bad-option", f"{argument.name!r} holds {shown(part)}", part.span, expected="the name of a site"
            )
        elif part.id not in sites:
            problems.unknown("site", part.id, sites, part.span)


def _check_map(value: Expression, table: str, argument: Argument, problems: Problems, sites: tuple[str, ...]) -> None:
    if not isinstance(value, Mapping):
        problems.add(
            "bad-option",
            f"{argument.name!r} is {shown(value)}",
            value.span,
            expected=f"`{{z: {next(iter(TABLES[table]))}}}`",
        )
        return
    for name, part in value.items:
        if name not in sites:
            problems.unknown("site", name, sites, part.span)
        check_option(part, TABLES[table], argument.name, problems, sites)


def _whole(least: int) -> Callable[[Expression], bool]:
    def accepts(value: Expression) -> bool:
        number = as_number(value)
        return number is not None and number == int(number) and number >= least

    return accepts


def _above(least: float) -> Callable[[Expression], bool]:
    def accepts(value: Expression) -> bool:
        number = as_number(value)
        return number is not None and number > least

    return accepts


def _unit(value: Expression) -> bool:
    number = as_number(value)
    return number is not None and 0.0 <= number <= 1.0


_PREDICATES: dict[str, tuple[Callable[[Expression], bool], str]] = {
    "number": (_above(float("-inf")), "a number"),
    "positive": (_above(0.0), "a positive number"),
    "scalar": (_above(float("-inf")), "a number"),
    "positive_scalar": (_above(0.0), "a positive number"),
    "unit": (_unit, "a number from 0 to 1"),
    "whole": (_whole(1), "a whole number from 1 on"),
    "natural": (_whole(0), "a whole number from 0 on"),
    "flag": (lambda value: isinstance(value, Literal) and isinstance(value.value, bool), "true or false"),
    "count_or_auto": (lambda value: value == Name("auto") or _whole(1)(value), "a whole number from 1 on, or auto"),
}

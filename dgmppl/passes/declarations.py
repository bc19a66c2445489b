"""Networks as declared: kind and options checked against the closed table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dgmppl.ir.densities import Elementary
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Call, Expression, Literal, Name, text
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.ir.networks import ACTIVATIONS, NETWORKS, REQUIRED, Network, NetworkKind, Option, OptionValue
from dgmppl.passes.constants import constant
from dgmppl.passes.elementary import resolve_elementary
from dgmppl.passes.problems import Problems, shown
from dgmppl.passes.registering import imported
from dgmppl.passes.scope import Context, Scope
from dgmppl.source import Span


def resolve_network(name: str, value: Expression, scope: Scope) -> Network:
    """`mlp([256], activation=silu)` as a network without a signature yet."""
    match value:
        case Call(function="python") if scope.trusted:
            return _imported(name, value, scope)
        case Call(function="python"):
            scope.problems.add(
                "untrusted-code",
                "`python(...)` names code of your own",
                value.span,
                expected="a network of the table",
                fix="register it with `dgmppl.register_network`, or start the run with `--trust-code`",
            )
        case Call(function=kind) if kind in NETWORKS:
            return _of_kind(name, value, NETWORKS[kind], scope)
        case Call(function=kind) | Name(id=kind):
            if kind in NETWORKS:
                return _of_kind(name, Call(kind, span=value.span), NETWORKS[kind], scope)
            scope.problems.unknown("kind of network", kind, NETWORKS, value.span, code="unknown-kind")
        case _:
            scope.problems.add(
                "not-a-network", f"{shown(value)} is no network", value.span, expected="for example `mlp([256])`"
            )
    return Network(name, "linear", {"out": None, "prior": None}, span=value.span)


def _imported(name: str, call: Call, scope: Scope) -> Network:
    """`python("pkg.module:Name", width=64)`: a class of the user's own, with its options."""
    match call.arguments:
        case (Literal(value=str(path)),) if ":" in path:
            try:
                kind = NETWORKS[imported(path).name]
            except ValueError as error:
                scope.problems.add("network-import", str(error), call.span, expected="a module's class")
                return Network(name, "linear", {"out": None, "prior": None}, span=call.span)
            return _of_kind(name, replace(call, arguments=()), kind, scope)
    scope.problems.add(
        "wrong-arguments", "`python(...)` takes where the class stands, and its options by name", call.span,
        expected='`python("pkg.module:Name", ...)`', found=shown(call),
    )  # fmt: skip
    return Network(name, "linear", {"out": None, "prior": None}, span=call.span)


def _of_kind(name: str, call: Call, kind: NetworkKind, scope: Scope) -> Network:
    prior = call.keyword("prior")
    options = read_options(call, kind.options, f"network `{kind.name}`", scope.problems)
    network = Network(name, kind.name, options, span=call.span)
    if prior is None:
        return network
    options = {**options, "prior": text(prior)}
    return replace(network, options=options, prior=_prior(prior, scope))


def _prior(prior: Expression, scope: Scope) -> Elementary | None:
    if isinstance(prior, Call) and prior.function in DISTRIBUTIONS:
        known = len(scope.problems.found)
        density = resolve_elementary(prior, scope, Context("parameters"))
        if len(scope.problems.found) > known:
            return None
        return replace(density, parameters=tuple((name, _one(name, each, scope)) for name, each in density.parameters))
    scope.problems.add(
        "not-a-distribution",
        f"the prior {shown(prior)} is no distribution",
        prior.span,
        expected="for example `Normal(0, 1)`",
    )
    return None


def _one(name: str, value: Expression, scope: Scope) -> Expression:
    """A parameter of the prior of every single weight, as one number."""
    number = constant(value)
    if number is None or number.ndim or not np.isfinite(number):
        scope.problems.add(
            "bad-option",
            f"{name!r} of a weight's prior is {shown(value)}",
            value.span,
            expected="one number for all weights",
        )
        return value
    return value if isinstance(value, Literal) else Literal(float(number), span=value.span)


def read_options(
    call: Call, options: Sequence[Option], what: str, problems: Problems, arguments: Sequence[Expression] | None = None
) -> dict[str, OptionValue]:
    """A call's options with defaults filled in; positional ones first, in the order of their declaration."""
    names = [option.name for option in options]
    positional = call.arguments if arguments is None else arguments
    if len(positional) > len(names) or call.splats:
        problems.add(
            "wrong-arguments",
            f"{what} takes at most {len(names)} options",
            call.span,
            expected=", ".join(names) or "none",
            found=shown(call),
        )
    given: dict[str, Expression] = dict(zip(names, positional, strict=False))
    for key, value in call.keywords:
        if key not in names:
            problems.unknown_argument(f"option of {what}:", key, names, call, value)
        elif key in given:
            problems.add("duplicate-argument", f"{key!r} of {what} is given twice", value.span or call.span)
        given[key] = value
    read: dict[str, OptionValue] = {}
    for option in options:
        if option.name in given:
            read[option.name] = _value(given[option.name], option.name, what, call.span, problems)
        elif option.default is REQUIRED:
            problems.add(
                "missing-argument",
                f"{what} lacks {option.name!r}: {option.doc}",
                call.span,
                fix=f"write `{option.name}=...`",
            )
        else:
            assert option.default is None or isinstance(option.default, bool | int | float | str | tuple)
            read[option.name] = option.default
    return read


def _value(value: Expression, name: str, what: str, span: Span | None, problems: Problems) -> OptionValue:
    read = option_value(value)
    if name == "prior":
        return read
    accepts, expected = _CHECKS.get(name, (None, ""))
    if accepts is not None and not accepts(read):
        problems.add("bad-option", f"{name!r} of {what} is {shown(value)}", value.span or span, expected=expected)
    return read


def option_value(value: Expression) -> OptionValue:
    """An option as plain data: names are strings, lists tuples, calls `(function, arguments...)`."""
    match value:
        case Literal(value=plain):
            return plain
        case Name(id=word):
            return word
        case ListExpression(items=items):
            return tuple(option_value(item) for item in items)
        case Call(function=function, arguments=arguments):
            return (function, *(option_value(argument) for argument in arguments))
    return text(value)


def _size(value: OptionValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _layers(value: OptionValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000


def _sizes(value: OptionValue) -> bool:
    return isinstance(value, tuple) and all(map(_size, value))


def _positive(value: OptionValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _one_of(*words: str | int) -> Callable[[OptionValue], bool]:
    return lambda value: value in words


def _shape(value: OptionValue) -> bool:
    return value is None or _size(value) or _sizes(value)


def _time(value: OptionValue) -> bool:
    return value is None or (
        isinstance(value, tuple) and len(value) == 2 and value[0] == "embedding" and _size(value[1])
    )


def _order(value: OptionValue) -> bool:
    listed = isinstance(value, tuple) and sorted(map(str, value)) == sorted(map(str, range(len(value))))
    return value in {"raster", "reverse"} if not isinstance(value, tuple) else listed


_SIZE = (_size, "a whole number from 1 on")
_CHECKS: Mapping[str, tuple[Callable[[OptionValue], bool], str]] = {
    "hidden": (_sizes, "a list of widths, `[256, 256]`"),
    "channels": (lambda value: bool(value) and _sizes(value), "a list of channels, `[32, 64]`"),
    "groups": (lambda value: value is None or _size(value), "a whole number from 1 on, or left out"),
    "gated": (lambda value: isinstance(value, bool), "true or false"),
    "layout": (_one_of("channels_first", "channels_last"), "channels_first or channels_last"),
    "activation": (_one_of(*ACTIVATIONS), ", ".join(ACTIVATIONS)),
    "out": (_shape, "a width, or a list of sizes"),
    "order": (_order, "raster, reverse, or a permutation as a list from 0"),
    "time": (_time, "`embedding(64)`, or left out"),
    "direction": (
        _one_of("forward", "backward", "density", "inverse"), "forward or backward; in bijectors density or inverse",
    ),
    "solver": (_one_of("dopri5", "tsit5", "rk4"), "dopri5, tsit5 or rk4"),
    "trace": (_one_of("exact", "hutchinson"), "exact or hutchinson"),
    "layers": (_layers, "a whole number from 1 to 1,000"),
    "blocks": (_layers, "a whole number from 1 to 1,000"),
    "dimensions": (_one_of(1, 2), "1 for lines, 2 for images, or left out"),
    "width": _SIZE, "kernel": _SIZE, "heads": _SIZE, "bins": _SIZE, "steps": _SIZE,
    "rtol": (_positive, "a positive number"), "atol": (_positive, "a positive number"),
    "bound": (_positive, "a positive number"),
}  # fmt: skip

"""How a program is run: objective, training, inference and evaluation, checked against their closed tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation, Sequence
from dgmppl.ir.options import (
    AUTO,
    EARLY_STOPPING,
    ENGINES,
    GUIDES,
    LEARNING_RATES,
    LOG_PROB,
    LOG_Z,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SAMPLERS,
    Table,
)
from dgmppl.ir.settings import Train
from dgmppl.passes.learned import as_number
from dgmppl.passes.options import check_option
from dgmppl.passes.problems import Problems, shown
from dgmppl.source import Span
from dgmppl.spec.syntax import Option, Setting


def resolve_objective(value: Expression | None, sites: tuple[str, ...], problems: Problems) -> Expression | None:
    """An objective expression: sums and positive multiples of terms of the table."""
    if value is not None:
        _terms(value, sites, problems)
    return value


def _terms(value: Expression, sites: tuple[str, ...], problems: Problems) -> None:
    match value:
        case Operation(operator="+", operands=(left, right)):
            _terms(left, sites, problems)
            _terms(right, sites, problems)
        case Operation(operator="*", operands=(left, right)):
            factor, term = (left, right) if as_number(left) is not None else (right, left)
            number = as_number(factor)
            if number is None or number <= 0:
                problems.add(
                    "bad-objective",
                    f"a term is multiplied by {shown(factor)}",
                    factor.span,
                    expected="a positive number",
                    fix="write `0.5 * elbo()`",
                )
            _terms(term, sites, problems)
        case Call() | Name():
            check_option(value, OBJECTIVES, "objective", problems, sites)
        case _:
            problems.add(
                "bad-objective",
                f"{shown(value)} is no objective",
                value.span,
                expected="a sum of terms, such as `elbo() + supervise(y)`; it is minimized",
            )


def resolve_infer(value: Expression | None, sites: tuple[str, ...], problems: Problems) -> Expression | None:
    """The inference engine with its settings."""
    if value is not None:
        check_option(value, ENGINES, "inference engine", problems, sites)
    return value


def resolve_guide_option(value: Expression, problems: Problems) -> Expression:
    """`auto(...)` in place of a guide."""
    check_option(value, AUTO, "guide", problems)
    if isinstance(value, Call):
        for argument in value.arguments:
            if isinstance(argument, Name | Call):
                check_option(argument, GUIDES, "guide family", problems)
    return value


# ---- evaluate ----------------------------------------------------------------------------------------------------

_EVALUATE: dict[str, Table] = {"log_z": LOG_Z, "sampler": SAMPLERS, "log_prob": LOG_PROB, "metrics": METRICS}


def resolve_evaluate(
    settings: tuple[Setting, ...], sites: tuple[str, ...], problems: Problems
) -> Mapping[str, Expression]:
    """The evaluation settings by key."""
    read: dict[str, Expression] = {}
    for setting in settings:
        value = as_expression(setting.value, setting.span)
        if setting.key in _EVALUATE:
            for part in value.items if isinstance(value, Sequence) else (value,):
                check_option(part, _EVALUATE[setting.key], setting.key, problems, sites)
        read[setting.key] = value
    return read


def as_expression(value: Option, span: Span | None) -> Expression:
    """A setting as an expression, whatever form it was read in."""
    match value:
        case None | bool() | int() | float():
            return Literal(value, span=span)
        case str():
            return Name(value, span=span)
        case list():
            return Sequence(tuple(as_expression(item, span) for item in value), span=span)
        case dict():
            return Literal(None, span=span)
    return value if value.span is not None else replace(value, span=span)


# ---- train -------------------------------------------------------------------------------------------------------

_CHOICES: dict[str, Table] = {"optimizer": OPTIMIZERS, "schedule": LEARNING_RATES, "early_stopping": EARLY_STOPPING}


def resolve_train(settings: tuple[Setting, ...], groups: tuple[str, ...], problems: Problems) -> Train:
    """The training settings, defaults filled in; the reader has checked numbers and words."""
    given: dict[str, object] = {}
    for setting in settings:
        key, value = setting.key, setting.value
        if key == "optimizers" and isinstance(value, dict):
            given[key] = {group: _optimizer(group, part, groups, setting, problems) for group, part in value.items()}
        elif key in _CHOICES:
            given[key] = _choice(as_expression(value, setting.span), _CHOICES[key], setting, problems)
        else:
            given[key] = None if key == "batch_size" and value == "all" else value
    if "epochs" in given:
        given["steps"] = None
    return replace(Train(), **given)  # type: ignore[arg-type]


def _optimizer(group: str, value: Option, groups: tuple[str, ...], setting: Setting, problems: Problems) -> Call:
    expression = as_expression(value, setting.span)
    if group not in groups:
        problems.unknown("parameter group", group, groups, expression.span, code="unknown-group")
    return _choice(expression, OPTIMIZERS, setting, problems)


def _choice(value: Expression, table: Table, setting: Setting, problems: Problems) -> Call:
    check_option(value, table, setting.key, problems)
    match value:
        case Call():
            return value
        case Name(id=name):
            return Call(name, span=value.span)
    return Call(next(iter(table)), span=setting.span)

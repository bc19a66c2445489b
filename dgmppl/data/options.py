"""Options of a data declaration as plain Python values, each checked where it is read."""

from __future__ import annotations

import math
from typing import TypeAlias

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Expression, Literal, Mapping, Name, Node, Operation, Sequence
from dgmppl.ir.types import BINARY, COUNT, POSITIVE, REAL, UNIT, Support
from dgmppl.source import Diagnostic, Edit, Span, nearest
from dgmppl.spec.syntax import DataDeclaration, Option

Plain: TypeAlias = "bool | int | float | str | Expression | list[Plain] | dict[str, Plain] | None"

_COMMON = frozenset({"support", "transform", "whole", "per", "keep", "missing", "split", "test"})
_KEYS: dict[str, frozenset[str]] = {
    "dataset": _COMMON | {"size", "seed"},
    "file": _COMMON | {"key", "column", "columns", "seed"},
    "inline": _COMMON | {"seed"},
    "shape": frozenset({"support", "transform", "whole", "per", "missing", "key", "column", "columns"}),
    "expression": frozenset({"support", "transform"}),
}
_SUPPORTS: dict[str, Support] = {"real": REAL, "positive": POSITIVE, "unit": UNIT, "binary": BINARY, "count": COUNT}
# What two stand-in rows of a column without data may take: some hundred MiB.
_MOST_VALUES = 1 << 24
_SIZED_SUPPORTS = ("integer", "simplex")


def place(declaration: DataDeclaration, option: str | None = None) -> Span | None:
    """Where an option stands; the whole declaration where the option has no place of its own."""
    return dict(declaration.spans).get(option or "", declaration.span)


def refusal(
    code: str, message: str, declaration: DataDeclaration, option: str | None = None, *,
    expected: str | None = None, found: str | None = None, fix: str | None = None,
    instead: tuple[str, str] | None = None,
) -> SpecError:  # fmt: skip
    """A `SpecError` with one diagnostic at an option's place.

    Args:
        code: a diagnostic code.
        message: what is wrong with the variable.
        declaration: the variable's.
        option: the option that is wrong; None for the declaration.
        expected: what would have been right.
        found: what stands there.
        fix: what to do about it.
        instead: the wrong text and the right one; where it stands alone, the fix becomes machine-applicable.
    """
    span, text = place(declaration, option), f"{declaration.name}: {message}"
    edit = _edit(span, *instead) if span is not None and instead is not None else None
    return SpecError([Diagnostic(code, text, span, expected=expected, found=found, fix=fix, edit=edit)])


def _edit(span: Span, wrong: str, right: str) -> Edit | None:
    """The replacement of a wrong text, where the span holds it and nothing else."""
    written = span.source.line(span.line)[span.column - 1 : span.end_column - 1]
    return Edit(span, right) if span.line == span.end_line and written == wrong else None


def plain(option: Option) -> Plain:
    """An option with literals, names and lists in place of their expressions; calls stay expressions."""
    match option:
        case Literal(value=value):
            return value
        case Name(id=name):
            return name
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Mapping(items=pairs):
            return {key: plain(value) for key, value in pairs}
        case Operation(operator="neg", operands=(operand,)):
            inner = plain(operand)
            return -inner if isinstance(inner, int | float) else option
        case list():
            return [plain(item) for item in option]
        case dict():
            return {key: plain(value) for key, value in option.items()}
    return option


def describe_plain(value: Plain) -> str:
    """A value as a diagnostic shows it."""
    return "an expression" if isinstance(value, Node) else repr(value)


def check_keys(declaration: DataDeclaration) -> list[Diagnostic]:
    """One diagnostic for each option that the kind of source does not have."""
    known = _KEYS[declaration.kind]
    found = []
    for key, _ in declaration.options:
        if key in known:
            continue
        close = nearest(key, known)
        found.append(
            Diagnostic(
                "unknown-key",
                f"{declaration.name}: {_an(declaration.kind)} source has no option `{key}`",
                place(declaration, key),
                expected=", ".join(sorted(known)),
                fix=f"did you mean `{close}`?" if close else None,
            )
        )
    return found


def _an(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def text_option(declaration: DataDeclaration, name: str) -> str | None:
    """A text option, or None where it is not given."""
    value = plain(declaration.option(name))
    if value is None or isinstance(value, str):
        return value
    raise refusal(
        "data-option", f"`{name}` is not a name", declaration, name, expected="text", found=describe_plain(value)
    )


def flag_option(declaration: DataDeclaration, name: str) -> bool:
    """A truth value; false where it is not given."""
    value = plain(declaration.option(name))
    if value is None or isinstance(value, bool):
        return bool(value)
    raise refusal(
        "data-option", f"`{name}` is not a truth value", declaration, name,
        expected="true or false", found=describe_plain(value),
    )  # fmt: skip


def integer_option(
    declaration: DataDeclaration, name: str, *, minimum: int, default: int, maximum: int | None = None
) -> int:
    """A whole number of at least `minimum`, and at most `maximum`."""
    value = plain(declaration.option(name))
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= (maximum or value):
        return value
    most = "" if maximum is None else f" and at most {maximum}"
    raise refusal(
        "data-option", f"`{name}` is out of range", declaration, name,
        expected=f"an integer of at least {minimum}{most}", found=describe_plain(value),
    )  # fmt: skip


def keep_option(declaration: DataDeclaration) -> float | None:
    """The fraction of a column that stays visible, or None where all of it does."""
    value = plain(declaration.option("keep"))
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    raise refusal(
        "data-option", "`keep` is out of range", declaration, "keep",
        expected="a fraction above 0 and at most 1", found=describe_plain(value),
    )  # fmt: skip


def missing_option(declaration: DataDeclaration) -> str | None:
    """`error`, or None for the language's own rule."""
    value = text_option(declaration, "missing")
    if value in (None, "error"):
        return value
    raise refusal(
        "data-option", "`missing` has no such value", declaration, "missing", expected="error", found=repr(value)
    )


def support_option(declaration: DataDeclaration) -> Support | None:
    """The declared support, or None."""
    value = plain(declaration.option("support"))
    support = None if value is None else parse_support(value)
    if value is None or support is not None:
        return support
    raise refusal(
        "data-option", "there is no such support", declaration, "support",
        expected="real, positive, unit, binary, count, integer(n) or simplex(n)", found=describe_plain(value),
    )  # fmt: skip


def parse_support(value: Plain) -> Support | None:
    """The support that a name or a call `integer(n)`, `simplex(n)` stands for; None where it stands for none."""
    match value:
        case str():
            return _SUPPORTS.get(value)
        case Call(function=kind, arguments=(Literal(value=int(size)),), keywords=()) if (
            kind in _SIZED_SUPPORTS and size >= 1
        ):
            return Support(kind, size=size)
    return None


def shape_source(declaration: DataDeclaration) -> tuple[int, ...]:
    """The event shape of a source that is bound at run time."""
    value = plain(declaration.source)
    sizes = value if isinstance(value, list) else [value]
    shape = tuple(size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size >= 1)
    if len(shape) == len(sizes) and math.prod(shape) <= _MOST_VALUES:
        return shape
    if len(shape) == len(sizes):
        raise refusal(
            "data-option", "the shape is too large", declaration, "shape",
            expected=f"at most {_MOST_VALUES:,} values in a row", found=f"{math.prod(shape):,}"[:40],
        )  # fmt: skip
    raise refusal(
        "data-option", "the shape is not a list of positive sizes", declaration, "shape",
        expected="such as [28, 28]; [] is a scalar", found=describe_plain(value),
    )  # fmt: skip

"""Collecting diagnostics, so that a spec's errors are reported all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Expression, text
from dgmppl.source import Diagnostic, Edit, Span, nearest


class Problems:
    """The diagnostics that a pass has found so far."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def add(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        expected: str | None = None,
        found: str | None = None,
        fix: str | None = None,
        notes: tuple[str, ...] = (),
        severity: str = "error",
        edit: Edit | None = None,
    ) -> None:
        """Record a diagnostic; the same one twice (a step that `repeat` copied) is kept once."""
        diagnostic = Diagnostic(code, message, span, expected, found, fix, notes, severity, edit)
        if diagnostic not in self.found:
            self.found.append(diagnostic)

    def unknown(
        self, what: str, name: str, known: Iterable[str], span: Span | None, code: str = "unknown-name"
    ) -> None:
        """Record that nothing is called `name`, with the nearest name that is."""
        known = sorted(set(known))
        close = nearest(name, known)
        if span is not None and excerpt_of(span).startswith(f"{name}("):
            span = replace(span, end_column=span.column + len(name))
        edit = Edit(span, close) if close and span and excerpt_of(span) == name else None
        expected = None if len(known) > 24 else ", ".join(known) or "nothing: none is declared"
        fix = f"write `{close}`" if close else None
        self.add(code, f"unknown {what} {name!r}", span, expected=expected, fix=fix, edit=edit)

    def unknown_argument(self, what: str, key: str, known: Iterable[str], call: Call, value: Expression) -> None:
        """Record a keyword that a call does not have."""
        self.unknown(what, key, known, keyword_span(value.span, key) or call.span, code="unknown-argument")

    def raise_if_any(self) -> None:
        """Raise one `SpecError` with every error so far, in the order of their places."""
        errors = [diagnostic for diagnostic in self.found if diagnostic.severity == "error"]
        if errors:
            errors.sort(key=place)
            raise SpecError(errors)


def keyword_span(value: Span | None, key: str) -> Span | None:
    """Where the keyword before a value stands; the value's own place where the two are on different lines."""
    if value is None:
        return None
    before = value.source.line(value.line)[: value.column - 1]
    found = re.search(rf"\b({re.escape(key)})\s*=\s*[(\[]*$", before)
    if found is None:
        return value
    start = found.start(1) + 1
    return replace(value, column=start, end_line=value.line, end_column=start + len(key))


def place(diagnostic: Diagnostic) -> tuple[str, int, int, str]:
    """What diagnostics are sorted by: file, line, column, code."""
    span = diagnostic.span
    where = ("", 0, 0) if span is None else (span.source.name, span.line, span.column)
    return (*where, diagnostic.code)


def excerpt_of(span: Span) -> str:
    """The text under a span on a single line."""
    return span.source.line(span.line)[span.column - 1 : span.end_column - 1] if span.line == span.end_line else ""


def shown(expression: Expression) -> str:
    """An expression as it is quoted in messages."""
    return f"`{text(expression)}`"

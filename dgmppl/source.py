"""Source text, spans in it, and diagnostics with the excerpt and a caret.

A span outlives the text's journey through the compiler: a site, a density or a network still knows the line that a
user wrote when the last backend prints it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from dgmppl.errors import CODES, InternalError


@lru_cache(maxsize=32)
def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.splitlines())


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name by which a user knows it (a path as given, or `<python>`)."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its line break; empty past the end."""
        lines = _lines(self.text)
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source: from (line, column) up to, not including, (end_line, end_column); all counted from 1."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Edit:
    """A machine-applicable fix: replace the span's text by another."""

    span: Span
    replacement: str

    def apply(self) -> str:
        """The source's text with the edit applied."""
        lines = self.span.source.text.splitlines(keepends=True)
        start = sum(map(len, lines[: self.span.line - 1])) + self.span.column - 1
        end = sum(map(len, lines[: self.span.end_line - 1])) + self.span.end_column - 1
        text = self.span.source.text
        return text[:start] + self.replacement + text[end:]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong, or suspicious, in a spec or in data.

    Attributes:
        code: a key of `CODES`.
        message: one sentence: what is wrong.
        span: where; None only where no text exists (an array bound at run time).
        expected: what would have been right.
        found: what stands there.
        fix: what to do about it, in words or as the line to write.
        notes: further facts, a line each.
        severity: `error` or `warning`.
        edit: the fix as a text replacement, where it is unambiguous.
    """

    code: str
    message: str
    span: Span | None = None
    expected: str | None = None
    found: str | None = None
    fix: str | None = None
    notes: tuple[str, ...] = ()
    severity: str = "error"
    edit: Edit | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise InternalError(f"diagnostic code {self.code!r} is not in dgmppl.errors.CODES")

    def render(self) -> str:
        """The diagnostic as text: place, code, message, excerpt with a caret, expected and found, fix."""
        place = f"{self.span}: " if self.span else ""
        parts = [f"{place}{self.severity}[{self.code}]: {self.message}"]
        if self.span is not None:
            parts.extend(excerpt(self.span))
        labelled = (("expected", self.expected), ("found", self.found), ("fix", self.fix))
        parts.extend(f"  {label}: {text}" for label, text in labelled if text is not None)
        parts.extend(f"  note: {note}" for note in self.notes)
        return "\n".join(parts)

    def to_dict(self) -> dict[str, object]:
        """The diagnostic as stable JSON data."""
        span = self.span
        place = None if span is None else {
            "file": span.source.name, "line": span.line, "column": span.column,
            "end_line": span.end_line, "end_column": span.end_column,
        }  # fmt: skip
        return {
            "code": self.code, "severity": self.severity, "message": self.message, "span": place,
            "expected": self.expected, "found": self.found, "fix": self.fix, "notes": list(self.notes),
        }  # fmt: skip


_EXCERPT = 160


def excerpt(span: Span) -> list[str]:
    """The line of a span and a caret line under it; a span over several lines is marked to the first line's end.

    Of a very long line, the part around the span is shown.
    """
    text = span.source.line(span.line)
    if not text.strip():
        return []
    column = span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(text)
    if len(text) > _EXCERPT:
        cut = max(0, column - _EXCERPT // 2)
        text, column, end = text[cut : cut + _EXCERPT], column - cut, min(end - cut, _EXCERPT)
    width = max(1, min(end, len(text)) - column)
    gutter = f"{span.line:>5} | "
    padding = "".join("\t" if character == "\t" else " " for character in text[:column])
    return [f"{gutter}{text}", f"{' ' * (len(gutter) - 2)}| {padding}^{'~' * (width - 1)}"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely meant, or None."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None

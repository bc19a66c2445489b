"""YAML text -> a tree of nodes that know their places.

The subset of YAML 1.2 that a spec may use: scalars, sequences and mappings, in block or flow style; no tags, no
aliases, no duplicate keys, one document. Plain scalars are resolved by the core schema of YAML 1.2 (`1e-3` is a
number, `no` and `on` are strings). The tree is built from PyYAML's events without recursion, so that no input can
exhaust the stack; the C loader is never used, because it crashes on deep nesting.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic, Edit, Source, Span
from dgmppl.spec.yaml_scanner import FlowScanner, NeedsQuotesError

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 100_000

Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar with its text as YAML reads it; `style` is `plain`, `quoted` or `block`."""

    text: str
    span: Span
    style: str

    @property
    def value(self) -> Value:
        """The value by YAML 1.2's core schema; a quoted scalar is always text."""
        return resolve(self.text) if self.style == "plain" else self.text


@dataclass(frozen=True, slots=True)
class List:
    """A sequence; `flow` says whether it is written in brackets."""

    items: tuple[Node, ...]
    span: Span
    flow: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, its entries in order."""

    entries: tuple[tuple[Scalar, Node], ...]
    span: Span
    flow: bool

    def get(self, key: str) -> Node | None:
        """The value of a key, or None where it is not given."""
        return next((value for name, value in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | List | Table

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
_DECIMAL, _OCTAL, _HEX = (
    re.compile(r"[-+]?[0-9]{1,400}"),
    re.compile(r"0o[0-7]{1,400}"),
    re.compile(r"0x[0-9a-fA-F]{1,400}"),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE, _NAN = re.compile(r"[-+]?\.(inf|Inf|INF)"), re.compile(r"\.(nan|NaN|NAN)")


def resolve(text: str) -> Value:
    """A plain scalar's value by the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text) or _NAN.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan") if text[-1] not in "0123456789." else text)
    return text


def decode(content: bytes, name: str) -> Source:
    """A file's bytes as a source text.

    Raises:
        SpecError: too large, or not UTF-8.
    """
    if len(content) > MAX_BYTES:
        message = f"the text has {len(content):,} bytes; a spec has at most {MAX_BYTES:,}"
        raise SpecError([Diagnostic("yaml-limits", message, fix="keep data in files and name them in `data`")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        source = Source(name, content.decode("utf-8", errors="replace").removeprefix("\ufeff"))
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        diagnostic = Diagnostic(
            "yaml-character", "the text is not UTF-8", Span(source, line, column, line, column + 1),
            expected="UTF-8", found=f"byte 0x{content[error.start]:02x}", fix="save the file as UTF-8",
        )  # fmt: skip
        raise SpecError([diagnostic]) from None
    return Source(name, text)


def compose(source: Source, text: str | None = None) -> Node | None:
    """The node that a YAML text describes, or None for an empty document.

    Args:
        source: where spans point.
        text: what is read; another text than the source's where places agree but the rest is blanked out.

    Raises:
        SpecError: the text is outside the subset of YAML that specs use.
    """
    text = source.text if text is None else text
    if len(text) > MAX_BYTES or len(text.encode("utf-8", errors="replace")) > MAX_BYTES:
        decode(text.encode("utf-8", errors="replace"), source.name)
    builder = _Builder(Places(source))
    try:
        scanner = FlowScanner(text)
        while scanner.check_event():
            builder.add(scanner.get_event())  # type: ignore[no-untyped-call]
    except NeedsQuotesError as problem:
        raise SpecError([*builder.problems, _needs_quotes(builder.places, problem)]) from None
    except MarkedYAMLError as error:
        raise SpecError([*builder.problems, _syntax(builder.places, error)]) from None
    except ReaderError as error:
        raise SpecError([_character(builder.places, error.position)]) from None
    if builder.problems:
        raise SpecError(builder.problems)
    return builder.root


class Places:
    """Indices of a source's text as lines and columns."""

    def __init__(self, source: Source) -> None:
        self.source = source
        lines = source.text.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._widths = [len(line) for line in source.text.splitlines()] or [0]

    def at(self, index: int) -> tuple[int, int]:
        """Line and column of an index, both from 1; a line's break, and the text's end after one, count as its end."""
        line = bisect_right(self._starts, index, 0, max(1, len(self._starts) - 1))
        return line, min(index - self._starts[line - 1], self._widths[line - 1]) + 1

    def index(self, line: int, column: int) -> int:
        """The index of a line and column, both from 1."""
        return self._starts[line - 1] + column - 1

    def span(self, start: int, end: int) -> Span:
        """The stretch between two indices."""
        return Span(self.source, *self.at(start), *self.at(max(end, start)))


@dataclass(slots=True)
class _Frame:
    """A collection under construction; a mapping's keys and values alternate."""

    start: Event
    children: list[Node] = field(default_factory=list)


class _Builder:
    """Builds the tree from events, with a stack of its own."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.root: Node | None = None
        self.problems: list[Diagnostic] = []
        self._frames: list[_Frame] = []
        self._documents = 0
        self._nodes = 0

    def add(self, event: Event) -> None:
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                place = self._span(event)
                fix = "keep one document in a file; `extends` builds on another spec"
                raise SpecError([Diagnostic("yaml-documents", "a second document begins here", place, fix=fix)])
        elif isinstance(event, CollectionEndEvent):
            self._attach(self._close(self._frames.pop(), event))
        elif isinstance(event, NodeEvent):
            self._node(event)

    def _node(self, event: NodeEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            message = f"the text holds more than {MAX_NODES:,} values"
            raise SpecError([Diagnostic("yaml-limits", message, self._span(event), fix="keep data in files")])
        self._refuse_extras(event)
        if isinstance(event, ScalarEvent):
            style = "plain" if event.style is None else "block" if event.style in "|>" else "quoted"
            self._refuse_surrogates(event)
            self._attach(Scalar(event.value, self._span(event), style))
        elif isinstance(event, AliasEvent):
            self._attach(Scalar("", self._span(event), "quoted"))
        else:
            if len(self._frames) >= MAX_DEPTH:
                message = f"collections stand more than {MAX_DEPTH} deep in each other"
                raise SpecError([Diagnostic("yaml-limits", message, self._span(event))])
            self._frames.append(_Frame(event))

    def _refuse_extras(self, event: NodeEvent) -> None:
        if isinstance(event, AliasEvent) or event.anchor is not None:
            what = "aliases" if isinstance(event, AliasEvent) else "anchors"
            self.problems.append(Diagnostic(
                "yaml-alias", f"a spec has no YAML {what}", self._span(event),
                fix="write the value out, or quote an expression that starts with `*` or `&`",
            ))  # fmt: skip
        if isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent)) and event.tag is not None:
            fix = "leave the tag out; the language knows its types"
            self.problems.append(Diagnostic("yaml-tag", "a spec has no YAML tags", self._span(event), fix=fix))

    def _refuse_surrogates(self, event: ScalarEvent) -> None:
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            message = "the text holds half of a character (a lone surrogate)"
            self.problems.append(Diagnostic("yaml-character", message, self._span(event)))

    def _close(self, frame: _Frame, event: CollectionEndEvent) -> Node:
        span = self._span(frame.start, event)
        if isinstance(frame.start, SequenceStartEvent):
            return List(tuple(frame.children), span, bool(frame.start.flow_style))
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(frame.children[::2], frame.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                fix = "several names in one key are written `(v, h)`"
                self.problems.append(Diagnostic("yaml-key", "a key is text, not a collection", key.span, fix=fix))
            elif key.text in entries:
                first = entries[key.text][0].span
                message = f"the key `{key.text}` stands twice"
                note = f"it stands first at {first}"
                self.problems.append(Diagnostic("duplicate-key", message, key.span, fix="keep one", notes=(note,)))
            else:
                entries[key.text] = (key, value)
        assert isinstance(frame.start, MappingStartEvent)
        return Table(tuple(entries.values()), span, bool(frame.start.flow_style))

    def _attach(self, node: Node) -> None:
        if self._frames:
            self._frames[-1].children.append(node)
        else:
            self.root = node

    def _span(self, event: Event, last: Event | None = None) -> Span:
        start, end = event.start_mark, (last or event).end_mark
        assert start is not None, "a parsed event has marks"
        assert end is not None, "a parsed event has marks"
        return self.places.span(start.index, end.index)


def _needs_quotes(places: Places, problem: NeedsQuotesError) -> Diagnostic:
    message = "YAML takes this expression apart inside `{...}` or `[...]`"
    if problem.end is None:
        line = places.at(problem.start)[0]
        width = len(places.source.line(line))
        span = Span(places.source, *places.at(problem.start), line, width + 1)
        return Diagnostic("yaml-quotes", message, span, fix="close its brackets, and put the expression in quotes")
    text = places.source.text[problem.start : problem.end]
    quoted = f'"{text}"' if '"' not in text else "'" + text.replace("'", "''") + "'"
    span = places.span(problem.start, problem.end)
    return Diagnostic("yaml-quotes", message, span, found=text, fix=f"write {quoted}", edit=Edit(span, quoted))


def _syntax(places: Places, error: MarkedYAMLError) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark is not None else 0
    span = places.span(index, index + 1)
    problem = error.problem or "not YAML"
    if "'\\t'" in problem:
        message = "a tab stands where YAML wants spaces"
        return Diagnostic("yaml-tab", message, span, fix="indent with spaces")
    if error.context == "while scanning an alias":
        message = "`*` starts a YAML alias here, and a spec has none"
        return Diagnostic("yaml-alias", message, span, fix="put an expression that starts with `*` in quotes")
    notes: tuple[str, ...] = ()
    if error.context and error.context_mark is not None:
        line, column = places.at(error.context_mark.index)
        notes = (f"{error.context} that starts at {places.source.name}:{line}:{column}",)
    return Diagnostic("yaml-syntax", f"this is not YAML: {problem}", span, fix=_syntax_fix(problem), notes=notes)


def _syntax_fix(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return "put the value in quotes if it holds `: `; otherwise check the indentation"
    if "cannot start any token" in problem:
        return "put the value in quotes"
    return "check indentation, brackets and quotes up to this place"


def _character(places: Places, position: int) -> Diagnostic:
    found = f"U+{ord(places.source.text[position]):04X}"
    message = "a control character stands in the text"
    return Diagnostic("yaml-character", message, places.span(position, position + 1), found=found, fix="delete it")


@lru_cache(maxsize=16)
def _places(source: Source) -> Places:
    return Places(source)


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


def positions(scalar: Scalar) -> tuple[Span, ...] | None:
    """The place of each character of a scalar's text, and one for its end; None where they cannot be told.

    YAML folds line breaks and resolves escapes, so that a character's place is found by walking the raw text beside
    the value.
    """
    places = _places(scalar.span.source)
    indices = _walk(scalar, scalar.span.source.text, places.index(scalar.span.line, scalar.span.column))
    if indices is None:
        return None
    return tuple(places.span(first, last) for first, last in pairwise([*indices, indices[-1] + 1]))


def _walk(scalar: Scalar, raw: str, index: int) -> list[int] | None:
    quote = raw[index] if scalar.style == "quoted" and index < len(raw) else ""
    if scalar.style == "block":
        index = raw.find("\n", index)
    index += bool(quote)
    found: list[int] = []
    for character in scalar.text:
        while raw.startswith("\\\n", index) and quote == '"':
            index = len(raw) - len(raw[index + 2 :].lstrip())
        if character.isspace() and not raw.startswith("\\", index):
            found.append(index)
            while index < len(raw) and raw[index].isspace():
                index += 1
            continue
        while index < len(raw) and raw[index].isspace():
            index += 1
        width = 1
        if quote == '"' and (escape := _ESCAPE.match(raw, index)):
            width = len(escape.group())
        elif quote == "'" and raw.startswith("''", index):
            width = 2
        elif not raw.startswith(character, index):
            return None
        found.append(index)
        index += width
    return [*found, index]

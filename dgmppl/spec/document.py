"""One file of a spec: its sections read, before `extends` is followed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from dgmppl.errors import Problem, SpecError
from dgmppl.ir.expressions import Expression
from dgmppl.ir.expressions import text as show
from dgmppl.source import Diagnostic, Edit, Source, Span
from dgmppl.spec.containers import read_field, unknown_key
from dgmppl.spec.data_section import read_data
from dgmppl.spec.expression import parse_key
from dgmppl.spec.kinds import Text, describe, expression, is_null, wrong_type
from dgmppl.spec.sections import SECTIONS, VERSION, Form, Section
from dgmppl.spec.syntax import DataDeclaration, Declaration, Key, Setting
from dgmppl.spec.yaml_reader import Node, Scalar, Table, compose, positions

TITLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Dropped:
    """`key: null`: what the spec that is extended has under this key is dropped."""

    shown: str
    span: Span


Entry: TypeAlias = DataDeclaration | Declaration | Setting | Dropped
Entries: TypeAlias = dict["Key | str", Entry]
Content: TypeAlias = "Entries | Expression | str | Dropped"


@dataclass(frozen=True, slots=True)
class Document:
    """A file's sections.

    Attributes:
        source: its text.
        folder: the folder against which its paths are resolved.
        sections: the content of each section that it has; entries by key, in order.
        spans: where each section's key stands.
    """

    source: Source
    folder: str
    sections: dict[str, Content] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)

    @property
    def extends(self) -> tuple[str, Span] | None:
        """The path of the spec to start from, and where it is named."""
        path = self.sections.get("extends")
        return (path, self.spans["extends"]) if isinstance(path, str) else None


def read_document(source: Source, folder: str) -> tuple[Document, list[Problem]]:
    """A file's sections, and everything that is wrong with them.

    What could be read is returned, so that problems that need several sections are found in the same run.

    Raises:
        SpecError: the text is not YAML, or no mapping.
    """
    root = compose(source)
    document = Document(source, folder)
    if root is None or is_null(root):
        place = Span(source, 1, 1, 1, 1)
        raise SpecError(
            [Diagnostic("version-missing", "the spec is empty", place, fix=f"start with `dgmppl: {VERSION}`")]
        )
    if not isinstance(root, Table):
        raise wrong_type(root, "a mapping of sections", "the spec")
    problems: list[Problem] = list(_version(root))
    for key, node in root.entries:
        section = SECTIONS.get(key.text)
        if section is None:
            problems.append(unknown_key(key, list(SECTIONS)))
            continue
        try:
            document.sections[key.text] = _section(section, key, node, document, problems)
        except SpecError as error:
            problems += error.diagnostics
        document.spans[key.text] = node.span if section.form is Form.PATH else key.span
    return document, problems


def _version(root: Table) -> list[Diagnostic]:
    node = root.get("dgmppl")
    if node is None:
        first = root.entries[0][0].span if root.entries else root.span
        start = Span(first.source, first.line, first.column, first.line, first.column)
        message = "the spec does not say its language version"
        edit = Edit(start, f"dgmppl: {VERSION}\n")
        return [Diagnostic("version-missing", message, first, fix=f"start with `dgmppl: {VERSION}`", edit=edit)]
    found: list[Diagnostic] = []
    key = root.entries[0][0]
    if key.text != "dgmppl":
        message = "the language version is the first key of a spec"
        place = next(name.span for name, _ in root.entries if name.text == "dgmppl")
        found.append(Diagnostic("version-order", message, place, expected=f"`dgmppl: {VERSION}` before `{key.text}`"))
    if not isinstance(node, Scalar) or node.value != VERSION or isinstance(node.value, bool):
        message = "this program does not read this version of the language"
        found.append(Diagnostic("version-unknown", message, node.span, str(VERSION), describe(node)))
    return found


def _section(section: Section, key: Scalar, node: Node, document: Document, problems: list[Problem]) -> Content:
    if is_null(node) and section.form is not Form.VERSION:
        return Dropped(key.text, key.span)
    match section.form:
        case Form.VERSION:
            return str(VERSION)
        case Form.TEXT | Form.PATH:
            return read_text(section, node)
        case Form.EXPRESSION:
            return expression(node)
        case Form.GUIDE if isinstance(node, Scalar):
            return expression(node)
    if not isinstance(node, Table):
        raise wrong_type(node, f"a mapping: {section.form.value}", f"`{key.text}`")
    reader = _entry_reader(section, document.folder)
    return _entries(section, node, reader, problems)


def read_text(section: Section, node: Node) -> str:
    """The text of a section that holds text.

    Raises:
        SpecError: the node holds no text, or a name that cannot name a run.
    """
    if not Text().accepts(node):
        raise wrong_type(node, section.form.value, f"`{section.name}`")
    assert isinstance(node, Scalar)
    if section.name == "name" and not TITLE.fullmatch(node.text):
        expected = "a letter or digit, then at most 99 letters, digits, blanks, `.`, `_` or `-`"
        raise SpecError([Diagnostic("name-form", "the name cannot name a run", node.span, expected, describe(node))])
    return node.text


def _entries(section: Section, node: Table, read: Callable[[Scalar, Node], Entry], problems: list[Problem]) -> Entries:
    entries: Entries = {}
    for key, value in node.entries:
        try:
            identity = _identity(section, key)
            if is_null(value) and section.merges:
                entries[identity] = Dropped(key.text, key.span)
            elif identity in entries:
                message = f"the key `{key.text}` stands twice"
                problems.append(Diagnostic("duplicate-key", message, key.span, fix="keep one"))
            else:
                entries[identity] = read(key, value)
        except SpecError as error:
            problems += error.diagnostics
    return entries


def _identity(section: Section, key: Scalar) -> Key | str:
    return read_key(key) if section.form in {Form.DECLARATIONS, Form.GUIDE} else key.text


def read_key(key: Scalar) -> Key:
    """The key of a declaration."""
    one_line = key.style == "plain" and key.span.line == key.span.end_line
    return parse_key(key.text, key.span, None if one_line else positions(key))


def _entry_reader(section: Section, folder: str) -> Callable[[Scalar, Node], Entry]:
    match section.form:
        case Form.DATA:
            return lambda key, value: read_data(key, value, folder)
        case Form.SETTINGS:
            return lambda key, value: Setting(key.text, read_field(section.fields, key, value), value.span)
    return _declaration


def _declaration(key: Scalar, value: Node) -> Declaration:
    if is_null(value):
        raise wrong_type(value, "an expression", f"`{key.text}`")
    return Declaration(read_key(key), expression(value))


def key_text(key: Key) -> str:
    """A key in the spec's own syntax."""
    if len(key.names) > 1:
        return f"({', '.join(key.names)})"
    if key.arguments is not None:
        return f"{key.name}({', '.join(key.arguments)})"
    return key.name if key.index is None else f"{key.name}[{show(key.index)}]"


def entries_of(content: Content | None) -> Iterable[Entry]:
    """The entries of a section's content; none where it holds no entries."""
    return content.values() if isinstance(content, dict) else ()

"""Kinds of option values that are made of others: lists, mappings, alternatives, and mappings with known keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic, Edit, nearest
from dgmppl.spec.kinds import Kind, Schema, gather, listing, wrong_type
from dgmppl.spec.syntax import Option
from dgmppl.spec.yaml_reader import List, Node, Scalar, Table


@dataclass(frozen=True, slots=True)
class ListOf(Kind):
    """A list of values of one kind; with `single`, one value may stand for a list of one."""

    item: Kind
    single: bool = False

    def _words(self) -> str:
        several = f"a list, each item {self.item.expected}"
        return f"{self.item.expected}, or {several}" if self.single else several

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, List) or (self.single and self.item.accepts(node))

    def _read(self, node: Node) -> Option:
        nodes = node.items if isinstance(node, List) else (node,)
        return gather(nodes, lambda item: self.item.read(item, "the item"))

    def _schema(self) -> Schema:
        several: Schema = {"type": "array", "items": self.item.schema()}
        return {"anyOf": [self.item.schema(), several]} if self.single else several


@dataclass(frozen=True, slots=True)
class MapOf(Kind):
    """A mapping from free names to values of one kind."""

    value: Kind

    def _words(self) -> str:
        return f"a mapping, each value {self.value.expected}"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Table)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Table)
        values = gather([value for _, value in node.entries], lambda value: self.value.read(value, "the entry"))
        return dict(zip((key.text for key, _ in node.entries), values, strict=True))

    def _schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True, slots=True)
class Rows(Kind):
    """Inline data: a list of numbers, labels, nulls, or of lists of them; NaN is null."""

    def _words(self) -> str:
        return "a list of values, one for each row"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, List)

    def _read(self, node: Node) -> Option:
        match node:
            case List(items=items):
                return gather(items, self._read)
            case Scalar(value=value):
                return None if isinstance(value, float) and math.isnan(value) else value
        raise wrong_type(node, self.expected, "a row")

    def _schema(self) -> Schema:
        return {"type": "array"}


@dataclass(frozen=True, slots=True)
class Either(Kind):
    """One of several kinds; the first whose form fits."""

    kinds: tuple[Kind, ...]

    def _words(self) -> str:
        return ", or ".join(kind.expected for kind in self.kinds)

    def _accepts(self, node: Node) -> bool:
        return any(kind.accepts(node) for kind in self.kinds)

    def _read(self, node: Node) -> Option:
        return next(kind for kind in self.kinds if kind.accepts(node)).read(node, "this")

    def _schema(self) -> Schema:
        return {"anyOf": [kind.schema() for kind in self.kinds]}


@dataclass(frozen=True, slots=True)
class Field:
    """A key that a mapping has: its name, the kind of its value, and what it does."""

    name: str
    kind: Kind
    help: str


@dataclass(frozen=True, slots=True)
class Fields(Kind):
    """A mapping with known keys."""

    fields: tuple[Field, ...]

    def _words(self) -> str:
        return f"a mapping with {', '.join(field.name for field in self.fields)}"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Table)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Table)
        values = gather(node.entries, lambda entry: read_field(self.fields, *entry))
        return dict(zip((key.text for key, _ in node.entries), values, strict=True))

    def _schema(self) -> Schema:
        properties = {field.name: {"description": field.help, **field.kind.schema()} for field in self.fields}
        return {"type": "object", "properties": properties, "additionalProperties": False}


def read_field(fields: tuple[Field, ...], key: Scalar, value: Node) -> Option:
    """The value of one known key.

    Raises:
        SpecError: the key is unknown, or its value is not of the key's kind.
    """
    field = next((field for field in fields if field.name == key.text), None)
    if field is None:
        raise SpecError([unknown_key(key, [field.name for field in fields])])
    return field.kind.read(value, f"`{key.text}`")


def unknown_key(key: Scalar, known: list[str]) -> Diagnostic:
    """The diagnostic for a key that a mapping does not have, with the nearest one that it has."""
    close = nearest(key.text, known)
    edit = Edit(key.span, close) if close is not None and key.style == "plain" else None
    fix = f"write `{close}`" if close is not None else None
    return Diagnostic("unknown-key", f"there is no key `{key.text}` here", key.span, listing(known), fix=fix, edit=edit)

"""Specs as text: the normal form of a `Spec`, and Python mappings printed so that the reader can read them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Expression
from dgmppl.ir.expressions import text as show
from dgmppl.source import Diagnostic
from dgmppl.spec.document import key_text
from dgmppl.spec.sections import VERSION
from dgmppl.spec.syntax import DataDeclaration, Declaration, Option, Setting, Spec
from dgmppl.spec.terms import Term
from dgmppl.spec.yaml_reader import MAX_DEPTH, resolve

# A plain scalar of these characters (after a letter) means the same in every YAML reader.
_FLOW = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./()=+*- ")
_BLOCK = _FLOW | frozenset(",[]<>@")
_YAML_1_1_WORDS = frozenset({"y", "n", "yes", "no", "on", "off"})
_SHORT_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def to_yaml(spec: Spec) -> str:
    """A spec in normal form: every section in a fixed order, every data source a mapping.

    Reading the text in the folder that the spec's paths are relative to gives an equal spec.
    """
    lines = [f"dgmppl: {VERSION}", f"name: {scalar(spec.name)}"]
    if spec.description:
        lines.append(f"description: {scalar(spec.description)}")
    lines += _block("data", ((data.name, data_text(data)) for data in spec.data))
    lines += _block("parameters", _declared(spec.parameters))
    lines += _block("networks", _declared(spec.networks))
    lines += _block("bijectors", _declared(spec.bijectors))
    lines += _block("model", _declared(spec.model))
    if isinstance(spec.guide, tuple):
        lines += _block("guide", _declared(spec.guide)) or ["guide: {}"]
    elif spec.guide is not None:
        lines.append(f"guide: {scalar(show(spec.guide), _BLOCK)}")
    lines += _block("critics", _declared(spec.critics))
    if spec.objective is not None:
        lines.append(f"objective: {scalar(show(spec.objective), _BLOCK)}")
    lines += _block("train", _settings(spec.train))
    if spec.infer is not None:
        lines.append(f"infer: {scalar(show(spec.infer), _BLOCK)}")
    lines += _block("evaluate", _settings(spec.evaluate))
    return "\n".join(lines) + "\n"


def document_text(sections: Mapping[str, object]) -> str:
    """A mapping of sections as YAML text; objects of `builder` print as their expressions.

    Raises:
        SpecError: it holds an object that no spec can hold.
    """
    lines: list[str] = []
    for name, content in sections.items():
        if isinstance(content, Mapping) and content:
            lines += _block(_key(name), ((_key(key), value(item)) for key, item in content.items()))
        else:
            lines.append(f"{_key(name)}: {value(content)}")
    return "\n".join(lines) + "\n"


def value(item: object, depth: int = 0) -> str:
    """A Python value in YAML's flow style.

    Raises:
        SpecError: the object is none that a spec can hold.
    """
    if depth > MAX_DEPTH:
        raise SpecError([Diagnostic("python-value", "a Python object that holds itself, or is too deep")])
    match item:
        case None:
            return "null"
        case bool():
            return "true" if item else "false"
        case int():
            return str(int(item))
        case float():
            return _number(float(item))
        case str():
            return scalar(item)
        case Mapping():
            return "{" + ", ".join(f"{_key(key)}: {value(part, depth + 1)}" for key, part in item.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(value(part, depth + 1) for part in item) + "]"
        case Term():
            return scalar(show(item.expression))
        case Integral():
            return str(int(item))
        case Real():
            return _number(float(item))
    fix = "write numbers, text, lists and mappings; large arrays are bound at run time: `{shape: [28, 28]}`"
    raise SpecError([Diagnostic("python-value", f"a spec cannot hold a {type(item).__name__}", fix=fix)])


def scalar(text: str, plain: frozenset[str] = _FLOW) -> str:
    """Text as a scalar that every YAML reader takes for this text, in double quotes where it must be."""
    safe = text[:1].isalpha() and text[-1:] != " " and set(text) <= plain
    if safe and resolve(text) == text and text.lower() not in _YAML_1_1_WORDS:
        return text
    return '"' + "".join(_SHORT_ESCAPES.get(character) or _escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _number(number: float) -> str:
    if math.isnan(number):
        return ".nan"
    if math.isinf(number):
        return ".inf" if number > 0 else "-.inf"
    return repr(number)


def _key(key: object) -> str:
    """A key; a tuple of names is a joint one."""
    match key:
        case tuple() if all(isinstance(part, str) for part in key):
            return scalar(f"({', '.join(key)})")
        case Term():
            return scalar(show(key.expression))
        case str():
            return scalar(key)
    fix = "a string, or a tuple of strings"
    raise SpecError([Diagnostic("python-value", f"a key of a spec cannot be a {type(key).__name__}", fix=fix)])


def _block(name: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    """A section as a block mapping of keys and values already printed; nothing where there are no entries."""
    lines = [f"  {key}: {text}" for key, text in entries]
    return [f"{name}:", *lines] if lines else []


def _declared(declarations: tuple[Declaration, ...]) -> Iterable[tuple[str, str]]:
    return (
        (scalar(key_text(declaration.key), _BLOCK), scalar(show(declaration.value), _BLOCK))
        for declaration in declarations
    )


def _settings(settings: tuple[Setting, ...]) -> Iterable[tuple[str, str]]:
    for setting in settings:
        option = setting.value
        yield setting.key, scalar(show(option), _BLOCK) if isinstance(option, Expression) else option_text(option)


def option_text(option: Option) -> str:
    """An option's value in YAML's flow style."""
    match option:
        case _ if isinstance(option, Expression):
            return scalar(show(option))
        case dict():
            return "{" + ", ".join(f"{scalar(key)}: {option_text(part)}" for key, part in option.items()) + "}"
        case list():
            return "[" + ", ".join(map(option_text, option)) + "]"
    return value(option)


def data_text(data: DataDeclaration) -> str:
    """One data entry in normal form: a mapping in flow style."""
    source = data.source
    if data.kind == "file" and data.base != "." and isinstance(source, str):
        source = os.path.join(data.base, source)
    entries = [("values" if data.kind == "inline" else data.kind, option_text(source))]
    entries += [(name, option_text(_placed(data, name, option))) for name, option in data.options]
    if data.transform:
        entries.append(("transform", option_text(list(data.transform))))
    return "{" + ", ".join(f"{name}: {text}" for name, text in entries) + "}"


def _placed(data: DataDeclaration, name: str, option: Option) -> Option:
    """An option with its path relative to where the spec is read."""
    if name == "test" and isinstance(option, dict) and isinstance(option.get("file"), str) and data.base != ".":
        return {**option, "file": os.path.join(data.base, str(option["file"]))}
    return option

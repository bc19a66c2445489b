"""`--set KEY=VALUE`: single values of a spec replaced from the command line.

A key is a path: a section, a key of it, an option of that, and so on into mappings (`data.x.split.test`) and into the
keywords of a call (`infer.draws`, `networks.encoder.activation`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Expression, Name
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.options import TABLES
from dgmppl.source import Diagnostic, Source, Span, nearest
from dgmppl.spec.checks import check
from dgmppl.spec.containers import read_field
from dgmppl.spec.data_section import read_data, resolve_bare
from dgmppl.spec.document import key_text, read_key, read_text
from dgmppl.spec.kinds import expression, is_null, listing
from dgmppl.spec.sections import SECTIONS, SOURCES, Form, Section
from dgmppl.spec.syntax import DataDeclaration, Declaration, Option, Setting, Spec
from dgmppl.spec.writer import data_text, option_text
from dgmppl.spec.yaml_reader import Node, Scalar, Table, compose

_DISPLACES = {"steps": "epochs", "epochs": "steps"}
_FORM = "such as `train.steps=500`, `infer.draws=200`, `networks.decoder=mlp([64])` or `data.x.split.test=0.2`"


def apply_override(spec: Spec, text: str) -> Spec:
    """A spec with one value replaced; `null` drops it.

    Args:
        spec: the spec.
        text: `SECTION.KEY=VALUE`, `SECTION=VALUE` for a section that holds one value, `data.NAME.OPTION=VALUE`, or any
            of them with the path going on into a mapping or a call; the value as it would stand in the spec.

    Raises:
        SpecError: there is no such key, the value is wrong, or the spec no longer fits together.
    """
    source = Source("--set", text)
    path, equals, written = text.partition("=")
    if not equals or not path.strip() or "\n" in text:
        message = "this is no KEY=VALUE"
        raise SpecError([Diagnostic("override-form", message, _span(source, 0, len(text)), _FORM, text)])
    value = compose(source, " " * (len(path) + 1) + written)
    if value is None:
        place = _span(source, len(path), len(text))
        raise SpecError([Diagnostic("missing-value", f"`{path}` has no value", place, fix="`null` drops a key")])
    changed = _apply(spec, _keys(source, path), value)
    problems = list(check(changed, value.span))
    if problems:
        raise SpecError(problems)
    return changed


def _keys(source: Source, path: str) -> list[Scalar]:
    """The parts of a path, each with its place."""
    keys: list[Scalar] = []
    start = 0
    for part in path.split("."):
        keys.append(Scalar(part, _span(source, start, start + len(part)), "plain"))
        start += len(part) + 1
    return keys


def _apply(spec: Spec, keys: list[Scalar], value: Node) -> Spec:
    name, *rest = keys
    section = SECTIONS.get(name.text)
    if section is None or section.form in {Form.VERSION, Form.PATH}:
        known = [other.name for other in SECTIONS.values() if other.form not in {Form.VERSION, Form.PATH}]
        raise SpecError([_unknown(name, known)])
    if not rest:
        return _whole(spec, section, name.span, value)
    match section.form:
        case Form.SETTINGS:
            return _setting(spec, section, rest, value)
        case Form.DATA:
            return replace(spec, data=resolve_bare(_data(spec, rest, value)))
        case Form.DECLARATIONS | Form.GUIDE if not isinstance(getattr(spec, section.name), Expression):
            return _declaration(spec, section, rest, value)
        case Form.TEXT:
            raise _without_keys(name, rest[0])
    return _with(spec, section, _in_call(getattr(spec, section.name), name, rest, value))


def _whole(spec: Spec, section: Section, place: Span, value: Node) -> Spec:
    match section.form:
        case Form.TEXT:
            return _with(spec, section, read_text(section, value))
        case Form.EXPRESSION | Form.GUIDE:
            return _with(spec, section, None if is_null(value) else expression(value))
    if not is_null(value):
        message = f"`{section.name}` holds several entries"
        raise SpecError([Diagnostic("override-form", message, place, f"`{section.name}.KEY=VALUE`")])
    return _with(spec, section, ())


def _with(spec: Spec, section: Section, content: Any) -> Spec:
    return replace(spec, **{section.name: content})


# ---- sections -------------------------------------------------------------------------------------------------------


def _setting(spec: Spec, section: Section, keys: list[Scalar], value: Node) -> Spec:
    settings = {setting.key: setting for setting in getattr(spec, section.name)}
    key, *rest = keys
    if is_null(value) and not rest:
        _require(key, list(settings))
        settings.pop(key.text)
    else:
        old = settings[key.text].value if key.text in settings else None
        content = _nested(old, key, rest, value, section) if rest else read_field(section.fields, key, value)
        settings[key.text] = Setting(key.text, content, value.span)
        settings.pop(_DISPLACES.get(key.text, ""), None)
    return _with(spec, section, tuple(settings.values()))


def _nested(old: Option, key: Scalar, rest: list[Scalar], value: Node, section: Section) -> Option:
    """A setting with a part of it replaced: an entry of its mapping, or a keyword of its call."""
    field = next((field for field in section.fields if field.name == key.text), None)
    if field is None:
        raise SpecError([_unknown(key, [field.name for field in section.fields])])
    if isinstance(old, Expression):
        return _in_call(old, key, rest, value)
    table = _table(option_text(old) if isinstance(old, dict) else "{}")
    if not field.kind.accepts(table):
        raise _without_keys(key, rest[0])
    return read_field(section.fields, key, _put(table, rest, value))


def _declaration(spec: Spec, section: Section, keys: list[Scalar], value: Node) -> Spec:
    held = getattr(spec, section.name)
    declarations = {declaration.key: declaration for declaration in (held if isinstance(held, tuple) else ())}
    key, *rest = keys
    parsed = read_key(key)
    if is_null(value) or rest:
        _require(replace(key, text=key_text(parsed)), [key_text(known) for known in declarations])
    if is_null(value) and not rest:
        declarations.pop(parsed)
    else:
        content = _in_call(declarations[parsed].value, key, rest, value) if rest else expression(value)
        declarations[parsed] = Declaration(parsed, content)
    return _with(spec, section, tuple(declarations.values()))


def _data(spec: Spec, keys: list[Scalar], value: Node) -> tuple[DataDeclaration, ...]:
    declarations = {data.name: data for data in spec.data}
    name, *rest = keys
    if not rest:
        declarations[name.text] = read_data(name, value, ".")
        return tuple(declarations.values())
    if name.text not in declarations:
        raise SpecError([_unknown(name, list(declarations))])
    declarations[name.text] = _with_option(declarations[name.text], rest, value)
    return tuple(declarations.values())


def _with_option(data: DataDeclaration, keys: list[Scalar], value: Node) -> DataDeclaration:
    """The declaration read again from its normal form, with one option put in its place."""
    key = keys[0]
    sources = {field.name for field in SOURCES}
    displaced = sources - {key.text} if key.text in sources else set()
    written = _table(data_text(replace(data, base=".")))
    kept = tuple(entry for entry in written.entries if entry[0].text not in displaced)
    changed = read_data(
        Scalar(data.name, key.span, "plain"), _put(replace(written, entries=kept), keys, value), data.base
    )
    spans = {name: span for name, span in data.spans if name not in displaced} | {key.text: value.span}
    return replace(changed, span=data.span, spans=tuple(spans.items()))


# ---- inside a value -------------------------------------------------------------------------------------------------


def _put(table: Table, keys: list[Scalar], value: Node) -> Table:
    """A mapping with the value at the end of a path in its place; `null` drops what is there."""
    key, *rest = keys
    names = [name.text for name, _ in table.entries]
    old = table.get(key.text)
    if rest:
        if old is not None and not isinstance(old, Table):
            raise _without_keys(key, rest[0])
        value = _put(old or _table("{}"), rest, value)
    elif is_null(value):
        _require(key, names)
        return replace(table, entries=tuple(entry for entry in table.entries if entry[0].text != key.text))
    kept = tuple(entry for entry in table.entries if entry[0].text != key.text)
    return replace(table, entries=(*kept, (key, value)))


def _in_call(old: Any, key: Scalar, keys: list[Scalar], value: Node) -> Expression:
    """A call with the keyword at the end of a path replaced; `null` drops it. A bare name is a call of nothing."""
    if isinstance(old, Name):
        old = Call(old.id, span=old.span)
    if not isinstance(old, Call):
        raise _without_keys(key, keys[0])
    name, *rest = keys
    keywords = dict(old.keywords)
    if is_null(value) and not rest:
        _require(name, list(keywords))
        keywords.pop(name.text)
        return replace(old, keywords=tuple(keywords.items()))
    arguments, place = list(old.arguments), _position(old, name.text)
    before = keywords.get(name.text) if place is None else arguments[place]
    content = _in_call(before, name, rest, value) if rest else expression(value)
    if place is not None:
        arguments[place] = content
    else:
        keywords[name.text] = content
    return replace(old, arguments=tuple(arguments), keywords=tuple(keywords.items()))


def _position(call: Call, name: str) -> int | None:
    """Where an option of a network or of a table's entry stands among the positional arguments; None: nowhere."""
    names = [option.name for option in NETWORKS[call.function].options] if call.function in NETWORKS else []
    for entry in (table[call.function] for table in TABLES.values() if call.function in table):
        names = [argument.name for argument in entry.arguments]
    given = names[: len(call.arguments)]
    return given.index(name) if name in given else None


def _table(text: str) -> Table:
    """A mapping in flow style as a node."""
    node = compose(Source("--set", text))
    assert isinstance(node, Table)
    return node


def _without_keys(key: Scalar, inner: Scalar) -> SpecError:
    message = f"`{key.text}` holds nothing that has a key `{inner.text}`"
    return SpecError([Diagnostic("override-form", message, inner.span, f"`{key.text}=VALUE`")])


def _require(key: Scalar, known: list[str]) -> None:
    if key.text not in known:
        raise SpecError([_unknown(key, known)])


def _unknown(key: Scalar, known: list[str]) -> Diagnostic:
    close = nearest(key.text, known)
    fix = f"write `{close}`" if close else None
    return Diagnostic("unknown-key", f"there is no key `{key.text}` here", key.span, listing(known), fix=fix)


def _span(source: Source, start: int, end: int) -> Span:
    return Span(source, 1, start + 1, 1, end + 1)

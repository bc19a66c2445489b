"""`--set KEY=VALUE`: single values of a spec replaced from the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic, Source, Span, nearest
from dgmppl.spec.checks import check
from dgmppl.spec.containers import read_field
from dgmppl.spec.data_section import read_data, resolve_bare
from dgmppl.spec.document import key_text, read_key, read_text
from dgmppl.spec.kinds import expression, is_null, listing
from dgmppl.spec.sections import SECTIONS, SOURCES, Form, Section
from dgmppl.spec.syntax import DataDeclaration, Declaration, Setting, Spec
from dgmppl.spec.writer import data_text
from dgmppl.spec.yaml_reader import Node, Scalar, Table, compose

_DISPLACES = {"steps": "epochs", "epochs": "steps"}
_FORM = "such as `train.steps=500`, `networks.decoder=mlp([64])` or `data.x.size=1000`"


def apply_override(spec: Spec, text: str) -> Spec:
    """A spec with one value replaced; `null` drops it.

    Args:
        spec: the spec.
        text: `SECTION.KEY=VALUE`, `SECTION=VALUE` for a section that holds one value, or `data.NAME.OPTION=VALUE`;
            the value as it would stand in the spec.

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
    changed = _apply(spec, source, path, value)
    problems = list(check(changed, value.span))
    if problems:
        raise SpecError(problems)
    return changed


def _apply(spec: Spec, source: Source, path: str, value: Node) -> Spec:
    name, dot, rest = path.partition(".")
    section = SECTIONS.get(name)
    if section is None or section.form in {Form.VERSION, Form.PATH}:
        known = [other.name for other in SECTIONS.values() if other.form not in {Form.VERSION, Form.PATH}]
        raise SpecError([_unknown(_span(source, 0, len(name)), name, known)])
    key = Scalar(rest, _span(source, len(name) + len(dot), len(path)), "plain")
    if not dot:
        return _whole(spec, section, _span(source, 0, len(name)), value)
    match section.form:
        case Form.SETTINGS:
            return _setting(spec, section, key, value)
        case Form.DATA:
            return replace(spec, data=resolve_bare(_data(spec, key, value)))
        case Form.DECLARATIONS | Form.GUIDE:
            return _declaration(spec, section, key, value)
    raise SpecError([Diagnostic("override-form", f"`{name}` has no keys", key.span, f"`{name}=VALUE`")])


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


def _setting(spec: Spec, section: Section, key: Scalar, value: Node) -> Spec:
    settings = {setting.key: setting for setting in getattr(spec, section.name)}
    if is_null(value):
        _require(key, list(settings))
        settings.pop(key.text)
    else:
        settings[key.text] = Setting(key.text, read_field(section.fields, key, value), value.span)
        settings.pop(_DISPLACES.get(key.text, ""), None)
    return _with(spec, section, tuple(settings.values()))


def _declaration(spec: Spec, section: Section, key: Scalar, value: Node) -> Spec:
    held = getattr(spec, section.name)
    declarations = {declaration.key: declaration for declaration in (held if isinstance(held, tuple) else ())}
    parsed = read_key(key)
    if is_null(value):
        _require(replace(key, text=key_text(parsed)), [key_text(known) for known in declarations])
        declarations.pop(parsed)
    else:
        declarations[parsed] = Declaration(parsed, expression(value))
    return _with(spec, section, tuple(declarations.values()))


def _data(spec: Spec, key: Scalar, value: Node) -> tuple[DataDeclaration, ...]:
    declarations = {data.name: data for data in spec.data}
    name, dot, option = key.text.partition(".")
    if not dot:
        declarations[name] = read_data(key, value, ".")
        return tuple(declarations.values())
    if name not in declarations:
        raise SpecError([_unknown(key.span, name, list(declarations))])
    place = Span(key.span.source, key.span.line, key.span.column + len(name) + 1, key.span.line, key.span.end_column)
    declarations[name] = _with_option(declarations[name], Scalar(option, place, "plain"), value)
    return tuple(declarations.values())


def _with_option(data: DataDeclaration, key: Scalar, value: Node) -> DataDeclaration:
    """The declaration read again from its normal form, with one option put in its place."""
    written = compose(Source("--set", data_text(replace(data, base="."))))
    assert isinstance(written, Table)
    sources = {field.name for field in SOURCES}
    displaced = sources if key.text in sources else {key.text}
    if is_null(value):
        _require(key, [name.text for name, _ in written.entries])
    kept = tuple(entry for entry in written.entries if entry[0].text not in displaced)
    entries = kept if is_null(value) else (*kept, (key, value))
    changed = read_data(Scalar(data.name, key.span, "plain"), replace(written, entries=entries), data.base)
    spans = {name: span for name, span in data.spans if name not in displaced} | {key.text: value.span}
    return replace(changed, span=data.span, spans=tuple(spans.items()))


def _require(key: Scalar, known: list[str]) -> None:
    if key.text not in known:
        raise SpecError([_unknown(key.span, key.text, known)])


def _unknown(span: Span, name: str, known: list[str]) -> Diagnostic:
    close = nearest(name, known)
    fix = f"write `{close}`" if close else None
    return Diagnostic("unknown-key", f"there is no key `{name}` here", span, listing(known), fix=fix)


def _span(source: Source, start: int, end: int) -> Span:
    return Span(source, 1, start + 1, 1, end + 1)

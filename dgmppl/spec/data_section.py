"""Entries of `data` in any of their forms -> `DataDeclaration`."""

from __future__ import annotations

import re
from dataclasses import replace

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Expression, Name
from dgmppl.source import Diagnostic
from dgmppl.spec.containers import read_field, unknown_key
from dgmppl.spec.kinds import describe, expression, gather, is_null, wrong_type
from dgmppl.spec.sections import DATA_OPTIONS, OPTIONS_OF_SOURCE, SECTIONS, SOURCES
from dgmppl.spec.syntax import DataDeclaration, Option
from dgmppl.spec.yaml_reader import List, Node, Scalar, Table

# The kind of `x: moons` until all names in `data` are known: a data set, or an earlier source of that name.
BARE = "bare"

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Text that names a file, rather than a data set or an expression.
FILE = re.compile(
    r".*\.(csv|tsv|txt|npz|npy|nc|h5|hdf5|arrow|feather|parquet|json|png|jpg)|[^()\[\]]*/[^()\[\]]*\w\.[A-Za-z]\w*"
)
_KINDS = {"values": "inline"}
_SOURCE_NAMES = tuple(field.name for field in SOURCES)
_FORMS = "`digits.images`, `{file: t.csv, column: x}`, `{shape: [28, 28]}`, a list of rows, or an expression"


def read_data(key: Scalar, value: Node, base: str) -> DataDeclaration:
    """One entry of `data`.

    Args:
        key: the variable.
        value: its source.
        base: the folder of the file that wrote it.

    Raises:
        SpecError: all that is wrong with the entry.
    """
    if not NAME.fullmatch(key.text):
        message = f"`{key.text}` is no name of a variable"
        fix = "declare the variable by its name alone; the index stands in `model`" if "[" in key.text else None
        expected = "ASCII letters, digits and `_`"
        raise SpecError([Diagnostic("name-form", message, key.span, expected=expected, fix=fix)])
    match value:
        case Table():
            return _from_table(key, value, base)
        case List():
            rows = read_field(SOURCES, replace(key, text="values"), value)
            return DataDeclaration(key.text, "inline", rows, base=base, span=key.span, spans=(("values", value.span),))
    if is_null(value):
        raise wrong_type(value, _FORMS, f"`{key.text}`")
    return _from_text(key, value, base)


def resolve_bare(declarations: tuple[DataDeclaration, ...]) -> tuple[DataDeclaration, ...]:
    """Each plain name settled: an earlier source of that name, else a data set."""
    settled: list[DataDeclaration] = []
    for declaration in declarations:
        if declaration.kind != BARE:
            settled.append(declaration)
            continue
        assert isinstance(declaration.source, str)
        earlier = any(declaration.source == other.name for other in settled)
        span = dict(declaration.spans).get("dataset")
        source: Option = Name(declaration.source, span=span) if earlier else declaration.source
        spans = (("expression" if earlier else "dataset", span),) if span is not None else ()
        settled.append(replace(declaration, kind="expression" if earlier else "dataset", source=source, spans=spans))
    return tuple(settled)


def _from_text(key: Scalar, value: Scalar, base: str) -> DataDeclaration:
    text = value.text.strip()
    if FILE.fullmatch(text):
        fix = f"write {{file: {text}}}, with `column:` or `key:` where the file holds several"
        raise SpecError([Diagnostic("data-source", f"`{text}` looks like a file", value.span, found=text, fix=fix)])
    dotted = isinstance(value.value, str) and _DOTTED.fullmatch(text)
    if dotted or (isinstance(value.value, str) and NAME.fullmatch(text)):
        kind = "dataset" if dotted else BARE
        return DataDeclaration(key.text, kind, text, base=base, span=key.span, spans=(("dataset", value.span),))
    spans = (("expression", value.span),)
    return DataDeclaration(key.text, "expression", expression(value), base=base, span=key.span, spans=spans)


def _from_table(key: Scalar, value: Table, base: str) -> DataDeclaration:
    given = [entry for entry in value.entries if entry[0].text in _SOURCE_NAMES]
    if len(given) != 1:
        raise SpecError(_unknown(value) or [_source_problem(key, value, given)])
    source_key, source_node = given[0]
    declaration = DataDeclaration(
        key.text, _KINDS.get(source_key.text, source_key.text), None, base=base, span=key.span,
        spans=tuple((name.text, node.span) for name, node in value.entries),
    )  # fmt: skip
    values = dict(gather(value.entries, lambda entry: (entry[0].text, _option(source_key.text, *entry))))
    transform = values.pop("transform", [])
    assert isinstance(transform, list)
    calls: list[Expression] = [
        step for step in transform if not isinstance(step, (bool, int, float, str, list, dict, type(None)))
    ]
    source = values.pop(source_key.text)
    if source_key.text == "shape" and isinstance(source_node, Scalar):
        source = [source] if not isinstance(source, list) else source
    return replace(declaration, source=source, options=tuple(values.items()), transform=tuple(calls))


def _option(source: str, key: Scalar, value: Node) -> Option:
    known = OPTIONS_OF_SOURCE[source]
    if key.text in {field.name for field in DATA_OPTIONS} and key.text not in known:
        message = f"`{key.text}` does not go with `{source}`"
        raise SpecError(
            [Diagnostic("data-option", message, key.span, expected=", ".join(sorted(known)), fix="leave it out")]
        )
    return read_field(SECTIONS["data"].fields, key, value)


def _unknown(value: Table) -> list[Diagnostic]:
    known = [field.name for field in SECTIONS["data"].fields]
    return [unknown_key(key, known) for key, _ in value.entries if key.text not in known]


def _source_problem(key: Scalar, value: Table, given: list[tuple[Scalar, Node]]) -> Diagnostic:
    if not given:
        message = f"`{key.text}` says nothing about where its values come from"
        expected = f"one of {', '.join(_SOURCE_NAMES)}"
        return Diagnostic(
            "data-source", message, key.span, expected, describe(value), f"such as {_FORMS.split(',')[0]}"
        )
    names = " and ".join(f"`{name.text}`" for name, _ in given)
    message = f"`{key.text}` has several sources: {names}"
    return Diagnostic("data-source", message, given[1][0].span, "one source", fix="keep one, or declare two variables")

"""The language as JSON Schema, printed from the declarations in `sections`: editors complete and check specs by it.

The schema refuses what is wrong with the structure of one file: sections, keys, names, types, ranges, words to choose
from, sources and what goes with them, values that are left out. Expressions are text to it, and it sees neither data
nor the specs that a file extends: what is wrong there is for `dgmppl check`.
"""

from __future__ import annotations

import json

from dgmppl.spec.containers import Field
from dgmppl.spec.data_section import FILE, NAME
from dgmppl.spec.document import TITLE
from dgmppl.spec.kinds import EXPRESSION_SCHEMA, Schema, Text
from dgmppl.spec.sections import DATA_OPTIONS, OPTIONS_OF_SOURCE, SECTIONS, SOURCES, VERSION, Form, Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NULL: Schema = {"type": "null"}
_GIVEN: Schema = {"not": _NULL}
_TWO_LENGTHS: Schema = {
    "required": ["steps", "epochs"],
    "properties": {"steps": {"type": "integer"}, "epochs": {"type": "integer"}},
}


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of one file of a spec."""
    return {
        "$schema": DIALECT,
        "title": f"dgmppl spec, version {VERSION}",
        "type": "object",
        "required": ["dgmppl"],
        "properties": {name: {"description": section.help, **_section(section)} for name, section in SECTIONS.items()},
        "additionalProperties": False,
        # `null` drops what the extended spec has; where there is none, a value is missing.
        "if": {"required": ["extends"], "properties": {"extends": _GIVEN}},
        "else": {"properties": {section.name: _complete(section) for section in SECTIONS.values()}},
        "$defs": {
            "expression": {
                "description": "a formula in the language's expression grammar",
                "anyOf": [
                    {"type": ["string", "number", "boolean"]},
                    {"type": "array", "items": EXPRESSION_SCHEMA},
                ],
            },
            "source": _source(),
        },
    }


def schema_text() -> str:
    """The schema as the file that ships with the specs."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _section(section: Section) -> Schema:
    match section.form:
        case Form.VERSION:
            return {"const": VERSION}
        case Form.TEXT | Form.PATH:
            titled = {"pattern": f"^{TITLE.pattern}$"} if section.name == "name" else {}
            return {"anyOf": [{**Text().schema(), **titled}, _NULL]}
        case Form.EXPRESSION:
            return {"anyOf": [EXPRESSION_SCHEMA, _NULL]}
        case Form.DATA:
            names = {"propertyNames": {"pattern": f"^{NAME.pattern}$"}}
            return {**_object({"anyOf": [{"$ref": "#/$defs/source"}, _NULL]}), **names}
        case Form.DECLARATIONS:
            return _object(_value(section))
        case Form.GUIDE:
            return {"anyOf": [EXPRESSION_SCHEMA, _object(_value(section))]}
        case Form.SETTINGS:
            return {
                "type": ["object", "null"],
                "properties": _properties(section.fields),
                "additionalProperties": False,
                "not": _TWO_LENGTHS,
            }


def _complete(section: Section) -> Schema:
    """A section of a spec that extends no other: neither it nor an entry of it is null."""
    return {**_GIVEN, "additionalProperties": _GIVEN} if section.merges else _GIVEN


def _object(value: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": value}


def _value(section: Section) -> Schema:
    return {"anyOf": [EXPRESSION_SCHEMA, _NULL]} if section.merges else EXPRESSION_SCHEMA


def _properties(fields: tuple[Field, ...]) -> Schema:
    return {field.name: {"description": field.help, "anyOf": [field.kind.schema(), _NULL]} for field in fields}


def _source() -> Schema:
    fields = {field.name: {"description": field.help, **field.kind.schema()} for field in (*SOURCES, *DATA_OPTIONS)}
    forms = [
        {"required": [source], "propertyNames": {"enum": [source, *sorted(options)]}}
        for source, options in OPTIONS_OF_SOURCE.items()
    ]
    table: Schema = {"type": "object", "properties": fields, "oneOf": forms}
    return {
        "description": "a data set's name, an expression of earlier sources, the rows, or a source with options",
        "anyOf": [
            {"type": ["number", "boolean"]},
            {"type": "string", "not": {"pattern": f"^({FILE.pattern})$"}},
            {"type": "array"},
            table,
        ],
    }

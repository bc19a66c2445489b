"""The language as JSON Schema, printed from the declarations in `sections`: editors complete and check specs by it."""

from __future__ import annotations

import json

from dgmppl.spec.containers import Field
from dgmppl.spec.kinds import EXPRESSION_SCHEMA, Schema
from dgmppl.spec.sections import DATA_OPTIONS, OPTIONS_OF_SOURCE, SECTIONS, SOURCES, VERSION, Form, Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of one file of a spec.

    It checks sections, keys, and types and ranges of options; expressions are text to it.
    """
    return {
        "$schema": DIALECT,
        "title": f"dgmppl spec, version {VERSION}",
        "type": "object",
        "required": ["dgmppl"],
        "properties": {name: {"description": section.help, **_section(section)} for name, section in SECTIONS.items()},
        "additionalProperties": False,
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
        case Form.TEXT:
            return {"type": ["string", "number", "null"]}
        case Form.PATH:
            return {"type": ["string", "null"]}
        case Form.EXPRESSION:
            return {"anyOf": [EXPRESSION_SCHEMA, {"type": "null"}]}
        case Form.DATA:
            return _object({"anyOf": [{"$ref": "#/$defs/source"}, {"type": "null"}]})
        case Form.DECLARATIONS:
            return _object(_value(section))
        case Form.GUIDE:
            return {"anyOf": [EXPRESSION_SCHEMA, _object(_value(section))]}
        case Form.SETTINGS:
            return {
                "type": ["object", "null"],
                "properties": _properties(section.fields),
                "additionalProperties": False,
            }


def _object(value: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": value}


def _value(section: Section) -> Schema:
    return {"anyOf": [EXPRESSION_SCHEMA, {"type": "null"}]} if section.merges else EXPRESSION_SCHEMA


def _properties(fields: tuple[Field, ...]) -> Schema:
    return {
        field.name: {"description": field.help, "anyOf": [field.kind.schema(), {"type": "null"}]} for field in fields
    }


def _source() -> Schema:
    fields = {field.name: {"description": field.help, **field.kind.schema()} for field in (*SOURCES, *DATA_OPTIONS)}
    forms = [
        {"required": [source], "propertyNames": {"enum": [source, *sorted(options)]}}
        for source, options in OPTIONS_OF_SOURCE.items()
    ]
    table: Schema = {"type": "object", "properties": fields, "oneOf": forms}
    return {
        "description": "a data set's name, an expression of earlier sources, the rows, or a source with options",
        "anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "array"}, table],
    }

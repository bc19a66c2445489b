"""Terms and expressions as stable JSON data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum

from dgmppl.ir.expressions import Node, text


def to_dict(value: object) -> object:
    """A term as JSON data: `{"node": class name, field: value, ...}`; expressions as their text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Node():
            return text(value)  # type: ignore[arg-type]
        case Enum():
            return value.value
        case tuple() | list():
            return [to_dict(part) for part in value]
        case _ if is_dataclass(value):
            return {
                "node": type(value).__name__,
                **{part.name: to_dict(getattr(value, part.name)) for part in fields(value)},
            }
        case _:
            return str(value)

"""Entries of closed tables: a name, the arguments that it takes with their defaults, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dgmppl.ir.expressions import Call, Expression

Default: TypeAlias = "int | float | bool | str | None"


class _Required:
    """The default of an argument that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of an entry.

    Attributes:
        name: its keyword.
        default: its value where it is left out, or `REQUIRED`.
        doc: what it means.
        sort: what may stand there: `number`, `positive`, `whole` (from 1 on), `natural` (from 0 on), `unit` (from 0 to
            1), `flag`, `scalar` (a number or a scalar schedule), `positive_scalar`, `count_or_auto`, `site`, `names`,
            `generator` (a function of `u`), `map:TABLE` (site -> entry), or a table.
    """

    name: str
    default: Default | _Required
    doc: str
    sort: str = "number"


@dataclass(frozen=True, slots=True)
class Entry:
    """One choice of a table."""

    name: str
    arguments: tuple[Argument, ...] = ()
    doc: str = ""

    def argument(self, name: str) -> Argument | None:
        """An argument's declaration, or None."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def given(self, call: Call, name: str) -> Expression | None:
        """An argument of a call of this entry as written, by position or keyword; None where it is left out."""
        names = [argument.name for argument in self.arguments]
        return (dict(zip(names, call.arguments, strict=False)) | dict(call.keywords)).get(name)


Table: TypeAlias = Mapping[str, Entry]


def table(*entries: Entry) -> Table:
    """A table by name, in the order written."""
    return {entry.name: entry for entry in entries}


def steps(default: int, doc: str) -> Argument:
    """The argument `steps`."""
    return Argument("steps", default, doc, "whole")

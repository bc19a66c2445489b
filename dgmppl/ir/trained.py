"""Where a part of a program came from: a finished run that stands in it with its parameters frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dgmppl.ir.types import TensorType
from dgmppl.source import Span


@dataclass(frozen=True, slots=True)
class Inlined:
    """What a finished run has become in a program.

    Attributes:
        site: the site that `Trained(...)` was written for.
        section: `model`, or `guide` where the run's guide stands in the program's.
        run: its folder, as written.
        folder: its folder, from the root.
        sha256: of its resolved spec, its columns and its parameters.
        types: name in the program -> type in the run, of the site, of what it is given and of what it brought along.
        groups: the parameter groups that it brought along; no player owns them.
        guide: the guide's sites that came along.
    """

    site: str
    section: str
    run: str
    folder: str
    sha256: str
    types: Mapping[str, TensorType]
    groups: frozenset[str]
    guide: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

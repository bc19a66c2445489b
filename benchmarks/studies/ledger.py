"""Results as JSON lines, one per fit, appended when the fit is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Facts: TypeAlias = dict[str, Any]


class Key(NamedTuple):
    """Which fit: of a study's contender, on a backend, with a seed."""

    contender: str
    backend: str
    seed: int


class Ledger:
    """The lines of a file.

    Attributes:
        path: of the file; it and its folder are made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[tuple[Key, Facts]]:
        """Every finished fit; a line that was cut off while it was written is none."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                facts = json.loads(line)
                yield Key(*facts["key"]), facts
            except (ValueError, KeyError, TypeError):
                continue

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Those that have no line yet, in order."""
        done = {key for key, _ in self.lines()}
        return [key for key in keys if key not in done]

    def append(self, key: Key, facts: Facts) -> None:
        """Writes a fit's line; after a line that was cut off it begins a new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        begin = "" if not before or before.endswith("\n") else "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(begin + json.dumps({"key": list(key), **facts}) + "\n")

"""What a shell offers for an argument: specs, run folders, names of the zoo, backends, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

_DEPTH = 2


def specs(incomplete: str) -> list[str]:
    """Specs in the folder that is being typed, and in the ones below it."""
    return [str(path) for path in _below(incomplete) if path.suffix in {".yaml", ".yml"}]


def runs(incomplete: str) -> list[str]:
    """Folders that hold a finished run."""
    return [str(path) for path in _below(incomplete) if (path / "receipt.json").is_file()]


def zoo(incomplete: str) -> list[tuple[str, str]]:
    """Names of the zoo with what they are."""
    from dgmppl.scaffold import names

    return [(name, meaning) for name, meaning in names().items() if name.startswith(incomplete)]


def backends(incomplete: str) -> list[str]:
    """Installed backends."""
    from dgmppl.backend import available

    return _starting(incomplete, available())


def tables(incomplete: str) -> list[tuple[str, str]]:
    """Tables of the language with what they hold."""
    from dgmppl.tables import TABLES

    return [(name, meaning) for name, meaning in TABLES.items() if name.startswith(incomplete)]


def stages(incomplete: str) -> list[str]:
    """Stages of the compiler."""
    from dgmppl.compiler import STAGES

    return _starting(incomplete, STAGES)


def devices(incomplete: str) -> list[str]:
    """Kinds of devices."""
    from dgmppl.api.settings import DEVICES

    return _starting(incomplete, DEVICES)


def precisions(incomplete: str) -> list[str]:
    """Element types."""
    from dgmppl.api.settings import PRECISIONS

    return _starting(incomplete, PRECISIONS)


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _below(incomplete: str) -> list[Path]:
    """Paths that start as typed, sorted; hidden ones are left out, and nothing is searched deeper than two folders."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    return sorted(path for path in _walk(folder, _DEPTH) if str(path).startswith(incomplete))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith((".", "_"))]
    except OSError:
        return
    for path in entries:
        yield path
        if depth and path.is_dir():
            yield from _walk(path, depth - 1)

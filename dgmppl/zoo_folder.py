"""Where the ready-to-run specs are: beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from dgmppl.errors import RunError


def folder() -> Path:
    """The folder of the specs and of the data files that they name.

    Raises:
        RunError: this installation has none.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "zoo", package.parent / "specs"):
        if (candidate / "vae.yaml").is_file():
            return candidate
    raise RunError("this installation of dgmppl holds no specs")


def specs() -> dict[str, str]:
    """The paths of the specs, each with the comment that opens it."""
    return {str(path): _opening(path) for path in sorted(folder().glob("*.yaml"))}


def _opening(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").split("\n")
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))

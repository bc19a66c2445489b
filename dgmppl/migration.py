"""Specs of older versions of the language, rewritten one version at a time.

Version 1 is the first, so that `MIGRATIONS` is empty: every spec that says `dgmppl: 1` is up to date, and any other
version is refused with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dgmppl.errors import SpecError
from dgmppl.runs.folder import write_whole
from dgmppl.source import Source
from dgmppl.spec.document import read_document
from dgmppl.spec.reader import open_file
from dgmppl.spec.sections import VERSION
from dgmppl.spec.yaml_reader import Scalar, Table, compose

# For each older version, the text of a spec -> the text of the same spec in the version after it.
MIGRATIONS: dict[int, Callable[[str], str]] = {}


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of a spec.

    Attributes:
        path: the file.
        found: the version that it was written in.
        version: the version that it is in now.
    """

    path: Path
    found: int
    version: int = VERSION

    @property
    def changed(self) -> bool:
        """Whether the file was rewritten."""
        return self.found != self.version

    def to_dict(self) -> dict[str, object]:
        """The facts as JSON data."""
        return {"spec": str(self.path), "found": self.found, "version": self.version, "changed": self.changed}

    def __str__(self) -> str:
        if self.changed:
            return f"{self.path}: rewritten from version {self.found} to version {self.version}"
        return f"{self.path}: version {self.version}, up to date"


def migrate(path: Path) -> Migration:
    """Bring a spec to the current version of the language, in place; one that is up to date stays as it is.

    Raises:
        SpecError: the file cannot be read, says no version, or one that nothing migrates from.
        RunError: the file cannot be written.
    """
    source = open_file(path, str(path), None)
    found = _version(source)
    text = source.text
    for version in range(found, VERSION):
        text = MIGRATIONS[version](text)
    if text != source.text:
        write_whole(path, text.encode("utf-8"))
    return Migration(path, found)


def _version(source: Source) -> int:
    """The version that a spec says: the current one, or one from which every step up to it is in the table."""
    root = compose(source)
    node = root.get("dgmppl") if isinstance(root, Table) else None
    said = node.value if isinstance(node, Scalar) else None
    if isinstance(said, int) and said < VERSION and all(step in MIGRATIONS for step in range(said, VERSION)):
        return said
    _, problems = read_document(source, ".")
    unknown = [problem for problem in problems if problem.code.startswith("version-")]
    if unknown:
        raise SpecError(unknown)
    return VERSION

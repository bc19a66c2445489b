"""What `dgmppl new` writes: a spec of the zoo with comments, the specs that it extends, the data files it reads."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dgmppl.errors import RunError, SpecError
from dgmppl.runs.folder import write_whole
from dgmppl.source import Diagnostic, nearest
from dgmppl.spec.reader import read
from dgmppl.spec.sections import SECTIONS
from dgmppl.spec.syntax import DataDeclaration, Spec
from dgmppl.zoo_folder import folder, specs

_SECTION = re.compile(r"([a-z]+):")
_CLAUSE = re.compile(r"(?<!\bal)[.:;] ")
_SILENT = frozenset({"dgmppl", "name", "description"})


@dataclass(frozen=True, slots=True)
class Written:
    """What was done.

    Attributes:
        spec: the new spec.
        wrote: the files that were written, the spec first.
        kept: files beside it that were there before and stay as they are.
    """

    spec: Path
    wrote: tuple[str, ...]
    kept: tuple[str, ...]


def names() -> dict[str, str]:
    """The names of the zoo, each with the first clause of the comment that opens it."""
    return {Path(path).stem: _CLAUSE.split(meaning)[0].rstrip(".") for path, meaning in specs().items()}


def write(name: str, out: Path | None = None, *, force: bool = False) -> Written:
    """Write a spec of the zoo, and beside it whatever it needs to compile and to fit.

    Args:
        name: its name, as in `names()`.
        out: the file to write; NAME.yaml in the current folder by default.
        force: replace files that exist. Without it an existing spec is refused, and a file that the spec needs is kept.

    Raises:
        SpecError: the zoo has no spec of this name; all of its names are listed.
        RunError: the file exists, or cannot be written.
    """
    known = Path(name.removesuffix(".yaml")).name.replace("-", "_")
    if known not in names():
        raise SpecError([_unknown(name)])
    target = out or Path(f"{known}.yaml")
    if target.exists() and not force:
        raise RunError(f"{target} exists; --force replaces it, --out writes elsewhere")
    spec = read(folder() / f"{known}.yaml")
    contents: dict[Path, str | bytes] = {target: commented(spec.source.text, target, spec)}
    contents |= {target.parent / place: content for place, content in _needed(spec).items()}
    kept = [] if force else [path for path in contents if path != target and path.exists()]
    for path, content in contents.items():
        if path not in kept:
            write_whole(path, content if isinstance(content, bytes) else content.encode("utf-8"))
    wrote = tuple(str(path) for path in contents if path not in kept)
    return Written(target, wrote, tuple(map(str, kept)))


def _unknown(name: str) -> Diagnostic:
    close = nearest(name, names())
    fix = f"dgmppl new {close}" if close is not None else None
    return Diagnostic("unknown-choice", f"the zoo has no spec `{name}`", expected=", ".join(names()), fix=fix)


def _needed(spec: Spec) -> dict[str, bytes]:
    """The files beside a spec of the zoo that it reads, by their place relative to it."""
    paths = [Path(source.name) for source in spec.sources[1:]]
    paths += [Path(declaration.base) / file for declaration in spec.data for file in _files(declaration)]
    return {os.path.relpath(path, folder()): path.read_bytes() for path in dict.fromkeys(paths)}


def _files(declaration: DataDeclaration) -> list[str]:
    test = dict(declaration.options).get("test")
    named = [declaration.source if declaration.kind == "file" else None]
    named += [test.get("file") if isinstance(test, Mapping) else None]
    return [file for file in named if isinstance(file, str)]


def commented(text: str, path: Path, spec: Spec) -> str:
    """The text of a spec with what to do with it on top, what each section holds, and which sections it leaves out."""
    lines = text.rstrip("\n").split("\n")
    opening = [line for line in lines[: _first_key(lines)] if line]
    run = f"runs/{path.stem}"
    usage = (
        "",
        f"  dgmppl explain {path.name}",
        f"  dgmppl fit {path.name} --out {run}",
        f"  dgmppl evaluate {run}",
        "",
    )
    words = "`dgmppl list` prints the words of the language, `dgmppl schema` what an editor checks specs by."
    heading = [*opening, *(f"# {line}".rstrip() for line in (*usage, words))]
    return "\n".join([*heading, *_sections(lines[len(opening) :]), "", *_left_out(spec)]) + "\n"


def _first_key(lines: list[str]) -> int:
    return next(number for number, line in enumerate(lines) if _SECTION.match(line))


def _sections(lines: list[str]) -> list[str]:
    """The lines, each section opened by what it holds."""
    found: list[str] = []
    for line in lines:
        match = _SECTION.match(line)
        if match is not None and match[1] not in _SILENT:
            found += ["", f"# {SECTIONS[match[1]].help}"]
        found.append(line)
    return found


def _left_out(spec: Spec) -> list[str]:
    written = {match[1] for line in spec.source.text.split("\n") if (match := _SECTION.match(line))}
    width = max(map(len, SECTIONS))
    left = [
        f"#   {section.name:<{width}}  {section.help}" for section in SECTIONS.values() if section.name not in written
    ]
    return ["# What else a spec can have:", *left]

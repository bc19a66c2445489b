"""A path, a text, a mapping or a built spec -> `Spec`: the one way in.

    read      text -> YAML nodes -> documents (one for each file)
    merge     documents -> one, along `extends`
    check     names, excluding sections

All problems of a spec are raised at once, sorted by their places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dgmppl import zoo_folder
from dgmppl.errors import InternalError, Problem, RunError, SpecError
from dgmppl.ir.expressions import Expression
from dgmppl.source import Diagnostic, Source, Span, nearest
from dgmppl.spec import builder
from dgmppl.spec.checks import check
from dgmppl.spec.data_section import resolve_bare
from dgmppl.spec.document import Content, Document, entries_of, read_document
from dgmppl.spec.merge import merge
from dgmppl.spec.syntax import DataDeclaration, Declaration, Setting, Spec
from dgmppl.spec.writer import document_text
from dgmppl.spec.yaml_reader import decode

MAX_EXTENDS = 16
# More problems than anyone reads: what is beyond is left out, so that a report stays short whatever the input.
MAX_PROBLEMS = 100
MAX_SHOWN = 200

_TEXT = re.compile(r"\ufeff?\s*(#|['\"]?dgmppl['\"]?\s*:)")

Readable = str | os.PathLike[str] | Mapping[str, object] | builder.Spec


def read(source: Readable) -> Spec:
    """A whole spec, with `extends` merged.

    Args:
        source: a path; YAML text (a string with a line break, or one that starts with `dgmppl:`); a mapping of sections
            as YAML would give it; or a spec built in Python. Paths in anything but a file are relative to the current
            folder.

    Returns:
        The spec; no name in it is resolved yet.

    Raises:
        SpecError: everything that is wrong with it.
    """
    reading = _Reading()
    try:
        document = reading.follow(*_opened(source), ())
    except SpecError as error:
        raise SpecError(_sorted([*reading.problems, *error.diagnostics], reading.sources)) from None
    spec = _spec(document, reading)
    objective = document.spans.get("objective")
    problems = [*reading.problems, *islice(check(spec, objective), MAX_PROBLEMS)]
    if problems:
        raise SpecError(_sorted(problems, reading.sources))
    return spec


def _opened(source: Readable) -> tuple[Source, Path | None]:
    """The text to read, and the file it comes from."""
    if isinstance(source, builder.Spec):
        return Source("<python>", source.text), None
    if isinstance(source, Mapping):
        return Source("<python>", document_text(source)), None
    if isinstance(source, str) and ("\n" in source or _TEXT.match(source)):
        return decode(source.encode("utf-8", errors="surrogatepass"), "<text>"), None
    path = Path(source)
    return open_file(path, str(source), None), path


def open_file(path: Path, shown: str, place: Span | None) -> Source:
    """The text of a file.

    Args:
        path: where it is.
        shown: how a user wrote its path.
        place: where it is named in a spec; None on the command line.

    Raises:
        SpecError: it cannot be read, or is no text.
    """
    try:
        return decode(path.read_bytes(), shown)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        message = f"`{shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...'}` cannot be read: {reason}"
        fix = "paths are relative to the file that wrote them" if place is not None else _meant(path, error)
        raise SpecError([Diagnostic("file-missing", message, place, fix=fix)]) from None


def _meant(path: Path, error: Exception) -> str | None:
    """What a spec that is not there may have been meant to be: a file beside it, or one of the zoo."""
    if not isinstance(error, FileNotFoundError):
        return None
    beside = {file.stem: file for file in sorted(path.parent.glob("*.y*ml"))}
    close = nearest(path.stem, beside)
    if close is not None:
        return f"did you mean `{beside[close]}`?"
    try:
        known = (zoo_folder.folder() / f"{path.stem}.yaml").is_file()
    except RunError:  # an installation without the zoo
        known = False
    return f"`dgmppl new {path.stem}` writes the zoo's" if known else None


@dataclass(slots=True)
class _Reading:
    """The files of one spec as they are followed along `extends`."""

    problems: list[Problem] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)

    def follow(self, source: Source, path: Path | None, above: tuple[Path, ...]) -> Document:
        self.sources.append(source)
        document, problems = read_document(source, str(path.parent) if path is not None else ".")
        self.problems += problems
        if document.extends is None:
            return merge(None, document, self.problems)
        extended, place = document.extends
        here = above if path is None else (*above, path.resolve())
        target = Path(document.folder) / extended
        resolved = target.resolve()
        if resolved in here or len(here) >= MAX_EXTENDS:
            chain = " -> ".join([*(file.name for file in here), target.name])
            message = (
                "a spec extends itself" if resolved in here else f"more than {MAX_EXTENDS} specs extend each other"
            )
            self.problems.append(
                Diagnostic("extends-cycle", message, place, found=chain, fix="let one of them stand alone")
            )
            return merge(Document(source, "."), document, [])
        try:
            base = self.follow(open_file(target, str(target), place), target, here)
        except SpecError as error:
            self.problems += error.diagnostics
            return merge(Document(source, "."), document, [])
        return merge(base, document, self.problems)


def _spec(document: Document, reading: _Reading) -> Spec:
    sections = document.sections
    own = [part for part in (document.source.name,) if part not in {"<python>", "<text>"}]
    default = Path(own[0]).stem if own else "spec"
    guide = sections.get("guide")
    return Spec(
        name=_text(sections.get("name")) or default,
        description=_text(sections.get("description")),
        data=resolve_bare(
            tuple(entry for entry in entries_of(sections.get("data")) if isinstance(entry, DataDeclaration))
        ),
        parameters=_declarations(sections.get("parameters")),
        model=_declarations(sections.get("model")),
        guide=_declarations(guide) if isinstance(guide, dict) else _expression(guide),
        networks=_declarations(sections.get("networks")),
        bijectors=_declarations(sections.get("bijectors")),
        critics=_declarations(sections.get("critics")),
        objective=_expression(sections.get("objective")),
        train=_settings(sections.get("train")),
        infer=_expression(sections.get("infer")),
        evaluate=_settings(sections.get("evaluate")),
        source=document.source,
        sources=tuple(reading.sources),
    )


def _text(content: Content | None) -> str:
    return content if isinstance(content, str) else ""


def _expression(content: Content | None) -> Expression | None:
    return content if isinstance(content, Expression) else None


def _declarations(content: Content | None) -> tuple[Declaration, ...]:
    return tuple(entry for entry in entries_of(content) if isinstance(entry, Declaration))


def _settings(content: Content | None) -> tuple[Setting, ...]:
    return tuple(entry for entry in entries_of(content) if isinstance(entry, Setting))


def _sorted(problems: list[Problem], sources: list[Source]) -> list[Problem]:
    """By place: the file that was asked for first, then those that it extends."""
    order = {id(source): position for position, source in enumerate(sources)}

    def place(problem: Problem) -> tuple[int, int, int]:
        if not isinstance(problem, Diagnostic):
            raise InternalError(f"a problem that is no diagnostic: {problem.code}")
        span = problem.span
        return (order.get(id(span.source), len(order)), span.line, span.column) if span is not None else (-1, 0, 0)

    return sorted(dict.fromkeys(problems), key=place)[:MAX_PROBLEMS]

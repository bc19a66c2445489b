"""Ill-formed and suspicious specs with their exact messages; DGMPPL_ACCEPT=1 rewrites the messages.

A spec's first line may hold options of `dgmppl check`: `# check: --pedantic`, `# check: --set KEY=VALUE`,
`# check: --data NAME=FILE`. With `--pedantic`, or where only warnings are expected, the spec itself is well formed.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dgmppl.compiler import check
from dgmppl.errors import CODES, SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import read

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "bad"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ACCEPT = os.environ.get("DGMPPL_ACCEPT") == "1"

# Codes that no spec can show by itself, and the test that shows them: a missing library, trusted code that cannot be
# imported, a Python object in place of a spec, a finished run of another model, a refusal of the lowering.
ELSEWHERE = {
    "data-library": "tests/unit/test_data_files.py",
    "network-import": "tests/laws/test_networks.py",
    "not-lowered": "tests/unit/test_lowering.py",
    "python-value": "tests/unit/test_spec_builder.py",
    "run-mismatch": "tests/workflow/test_trained.py",
    "samples-collapsed": "tests/workflow/test_likeness.py",
}
MOST_SPECS = 5


def options(path: Path) -> dict[str, Any]:
    """The keywords of `check` that a spec's first line asks for."""
    first = path.read_bytes().split(b"\n", 1)[0].decode("utf-8", errors="replace")
    words = shlex.split(first.removeprefix("# check:")) if first.startswith("# check:") else []
    chosen: dict[str, Any] = {"pedantic": "--pedantic" in words}
    given = list(pairwise(words))
    chosen["overrides"] = [value for word, value in given if word == "--set"]
    chosen["bindings"] = dict(value.split("=", 1) for word, value in given if word == "--data")
    return chosen


def diagnostics(path: str) -> list[Diagnostic]:
    """What is wrong with a spec; by the reader alone where it refuses the spec already."""
    try:
        read(path)
    except SpecError as error:
        return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]
    try:
        return list(check(path, **options(Path(path))))
    except SpecError as error:  # an override that is none is refused before anything is checked
        return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]


def warns(name: str) -> bool:
    """Whether a spec is well formed and only warned about."""
    return name.startswith("lint_")


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    found = diagnostics(f"{name}.yaml")
    message = "\n\n".join(problem.render() for problem in found) + "\n"
    expected = FOLDER / f"{name}.txt"
    if ACCEPT:
        expected.write_text(message, encoding="utf-8")
    severities = {problem.severity for problem in found}
    assert severities == {"warning"} if warns(name) else "error" in severities, f"{name} is not refused"
    assert message == expected.read_text(encoding="utf-8")


def test_no_message_without_a_spec() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES


def test_the_corpus_is_large_and_even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    first = Counter(next(problem.code for problem in diagnostics(f"{name}.yaml")) for name in NAMES)
    assert {code: count for code, count in first.items() if count > MOST_SPECS} == {}
    assert len(NAMES) >= 250
    assert len(first) >= 80


def test_every_code_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    shown = {problem.code for name in NAMES for problem in diagnostics(f"{name}.yaml")}
    assert set(CODES) - shown == set(ELSEWHERE), "a code without a spec, or one that has got a spec"
    for code, test in ELSEWHERE.items():
        assert f'"{code}"' in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not speak of {code}"


def _errors(found: list[Diagnostic]) -> list[tuple[str, str]]:
    return [(problem.code, problem.message) for problem in found if problem.severity == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_fix_removes_its_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine-applicable fix removes its problem; where it was the only one, what is left is well formed."""
    monkeypatch.chdir(FOLDER)
    found = diagnostics(f"{name}.yaml")
    fixed = FOLDER / f".{name}.fixed.yaml"
    for problem in found:
        if problem.edit is None:
            continue
        assert problem.span is not None
        assert problem.edit.span.source.name == f"{name}.yaml", "a fix of another file is not applied here"
        fixed.write_text(problem.edit.apply(), encoding="utf-8")
        try:
            left = _errors(diagnostics(fixed.name))
        finally:
            fixed.unlink()
        assert (problem.code, problem.message) not in left
        assert len(found) > 1 or left == []

"""Ill-formed specs with their exact messages; DGMPPL_ACCEPT=1 rewrites the messages."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from dgmppl.errors import SpecError
from dgmppl.source import Diagnostic
from dgmppl.spec.reader import read

FOLDER = Path(__file__).parent / "bad"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ACCEPT = os.environ.get("DGMPPL_ACCEPT") == "1"


def diagnostics(path: str) -> list[Diagnostic]:
    """What is wrong with a spec; by the reader alone where it refuses the spec already."""
    try:
        read(path)
    except SpecError as error:
        return [problem for problem in error.diagnostics if isinstance(problem, Diagnostic)]
    compiler = pytest.importorskip("dgmppl.compiler", exc_type=ModuleNotFoundError)
    return list(compiler.check(path))


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    found = diagnostics(f"{name}.yaml")
    message = "\n\n".join(problem.render() for problem in found) + "\n"
    expected = FOLDER / f"{name}.txt"
    if ACCEPT:
        expected.write_text(message, encoding="utf-8")
    assert any(problem.severity == "error" for problem in found), f"{name} is not refused"
    assert message == expected.read_text(encoding="utf-8")


def test_no_message_without_a_spec() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES


def test_at_most_five_specs_for_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    first = Counter(next(problem.code for problem in diagnostics(f"{name}.yaml")) for name in NAMES)
    assert {code: count for code, count in first.items() if count > 5} == {}


@pytest.mark.parametrize("name", NAMES)
def test_fix_removes_its_problem(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(FOLDER)
    for problem in diagnostics(f"{name}.yaml"):
        if problem.edit is None:
            continue
        fixed = tmp_path / f"{name}.yaml"
        fixed.write_text(problem.edit.apply(), encoding="utf-8")
        left = [(other.code, other.message) for other in diagnostics(str(fixed))]
        assert (problem.code, problem.message) not in left

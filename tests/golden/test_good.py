"""What follows from every canonical spec, as `explain --json` says it; DGMPPL_ACCEPT=1 rewrites the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dgmppl.objectives.printers import explain, explain_text
from tests.deriving import completed, derive

FOLDER = Path(__file__).parent / "good"
SPECS = Path(__file__).parents[2] / "specs"
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))
ACCEPT = os.environ.get("DGMPPL_ACCEPT") == "1"


def explained(name: str) -> str:
    program = completed(f"specs/{name}.yaml")
    return json.dumps(explain(program, derive(program)), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_explanation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)
    found = explained(name)
    expected = FOLDER / f"{name}.explain.json"
    if ACCEPT:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_explanation_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)
    assert explained("ss_vae") == explained("ss_vae")


@pytest.mark.parametrize("name", NAMES)
def test_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)
    program = completed(f"specs/{name}.yaml")
    derivation = derive(program)
    page = explain_text(program, derivation)
    assert page.startswith(program.name)
    assert derivation.factorization in page


def test_no_explanation_without_a_spec() -> None:
    assert sorted(path.name.removesuffix(".explain.json") for path in FOLDER.glob("*.explain.json")) == NAMES

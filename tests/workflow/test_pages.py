"""Every spec and every Python text that README.md and docs/ show is one that dgmppl takes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dgmppl.compiler import compile_spec
from dgmppl.spec.yaml_reader import compose, decode

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown(language: str) -> list[object]:
    """The fenced texts of a language, each with its place."""
    texts = [(page.name, page.read_text(encoding="utf-8")) for page in PAGES]
    return [
        pytest.param(found[1], id=f"{name}:{text.count(chr(10), 0, found.start()) + 1}")
        for name, text in texts
        for found in re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


@pytest.mark.parametrize("text", shown("yaml"))
def test_a_shown_spec_compiles(text: str) -> None:
    """A whole spec is derived; a part of one, or a comment for editors, is YAML of the language."""
    if "\nmodel:" in text and text.startswith("dgmppl:"):
        assert compile_spec(text, backend="numpyro").derivation.objective.players
    else:
        assert compose(decode(text.encode(), "page")) is not None


@pytest.mark.parametrize("text", shown("python"))
def test_a_shown_python_text_is_python(text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []

"""The page that `explain` prints: as wide as it may be, its formulas broken between terms."""

from __future__ import annotations

import pytest

from dgmppl.cli.output import page_width
from dgmppl.compiler import compile_spec
from dgmppl.objectives.printers import explain_text
from tests.support import SPECS


@pytest.mark.parametrize("name", ["eight_schools", "garch", "hierarchical_vae", "nce", "radon", "ss_vae", "vae_gan"])
def test_a_page_fits_its_width_and_says_the_same(name: str) -> None:
    compiled = compile_spec(SPECS / f"{name}.yaml")
    pages = {width: explain_text(compiled.program, compiled.derivation, width) for width in (80, 100, 1000)}
    for width, page in pages.items():
        assert max(map(len, page.splitlines())) <= width
        assert page.split() == pages[1000].split()


def test_formulas_are_broken_after_brackets_alone() -> None:
    compiled = compile_spec(SPECS / "ss_vae.yaml")
    page = explain_text(compiled.program, compiled.derivation, 80)
    assert (
        "    E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x)\n        − KL(q(z|y, x) ‖ p(z))] + log q(y|x)\n"
    ) in page


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("300", 100), ("5", 40)])
def test_a_page_is_as_wide_as_the_terminal(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert page_width() == width

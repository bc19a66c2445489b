"""What becomes of every canonical spec, stage by stage; DGMPPL_ACCEPT=1 rewrites the files.

`NAME.explain.json` is `explain --json`; `NAME.ir.txt` the typed program; `NAME.explain.txt` the page of `explain`;
`NAME.objective.tex` the objective; `NAME.BACKEND.py` the emitted program of a spec that is lowered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dgmppl import __version__
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import UnsupportedError
from dgmppl.objectives.printers import explain, objective_latex
from tests.support import BACKENDS

FOLDER = Path(__file__).parent / "good"
SPECS = Path(__file__).parents[2] / "specs"
NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))
ACCEPT = os.environ.get("DGMPPL_ACCEPT") == "1"


@cache
def compiled(name: str, backend: str = "numpyro") -> Compilation:
    return compile_spec(f"specs/{name}.yaml", backend=backend)


def stages(name: str) -> dict[str, str]:
    """The stages of a spec as text, by the ending of their file."""
    one = compiled(name)
    texts = {
        "explain.json": json.dumps(explain(one.program, one.derivation), indent=1, ensure_ascii=False),
        "ir.txt": one.stage("program"),
        "explain.txt": one.stage("derivation"),
        "objective.tex": objective_latex(one.derivation.objective),
    }
    try:
        compiled(name).module  # noqa: B018
    except UnsupportedError:
        sources = {}
    else:
        made_by = f"dgmppl {__version__}"
        sources = {f"{backend}.py": compiled(name, backend).source.replace(made_by, "dgmppl") for backend in BACKENDS}
    return {ending: text.rstrip("\n") + "\n" for ending, text in (texts | sources).items()}


@pytest.fixture(autouse=True)
def beside_the_specs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The specs are called by their path in the repository, of which no finished run is seen."""
    for name in ("specs", "tests"):
        (tmp_path / name).symlink_to(SPECS.parent / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_stages(name: str) -> None:
    found = stages(name)
    if ACCEPT:
        for path in FOLDER.glob(f"{name}.*"):
            path.unlink()
        for ending, text in found.items():
            (FOLDER / f"{name}.{ending}").write_text(text, encoding="utf-8")
    kept = {path.name.removeprefix(f"{name}."): path for path in FOLDER.glob(f"{name}.*")}
    assert sorted(kept) == sorted(found)
    for ending, text in found.items():
        assert text == kept[ending].read_text(encoding="utf-8"), f"{name}.{ending}"


def test_no_file_without_a_spec() -> None:
    assert {path.name.partition(".")[0] for path in FOLDER.iterdir()} == set(NAMES)


def test_no_file_says_where_or_by_which_version_it_was_made() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert str(SPECS.parent) not in text, path.name
        assert __version__ not in text, path.name


@pytest.mark.slow
def test_stages_do_not_depend_on_the_order_of_sets() -> None:
    program = (
        "from tests.golden.test_good import stages; print(*(stages(n) for n in ('ss_vae', 'hierarchical_vae', 'hmm')))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1

"""Every example runs with few steps, in a process of its own, and prints finite numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("quick_compilation")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STEPS = {"digits_vae": 2, "regimes": 20, "clusters": 50, "eight_schools": 100, "carry_the_program_away": 20}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_example(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(STEPS[name])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d\.\d", done.stdout), done.stdout
    assert "nan" not in done.stdout.lower()

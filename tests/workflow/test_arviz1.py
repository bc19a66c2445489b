"""ArviZ 1.x on NumPyro alone: the ArviZ tests and a reference posterior in an environment without torch.

`make test-arviz1` builds that environment and names its interpreter in `DGMPPL_ARVIZ1_PYTHON`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("DGMPPL_ARVIZ1_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="DGMPPL_ARVIZ1_PYTHON names no interpreter with ArviZ 1.x"),
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert PYTHON is not None
    return subprocess.run(
        [PYTHON, *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=1800
    )


def test_the_environment_is_arviz_1_without_torch() -> None:
    found = run("-c", "import importlib.util as u, arviz; print(arviz.__version__, u.find_spec('torch'))")
    version, torch = found.stdout.split()
    assert int(version.split(".")[0]) >= 1
    assert torch == "None"


def test_arviz_tests() -> None:
    result = run("-m", "pytest", "-p", "no:cacheprovider", "tests/workflow/test_arviz.py")
    assert result.returncode == 0, result.stdout


def test_eight_schools() -> None:
    result = run(
        "-m", "pytest", "-p", "no:cacheprovider", "tests/conformance/test_posteriors.py", "-k", "eight_schools"
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("check", "specs/vae.yaml"), 0, ""),
        (("explain", "specs/eight_schools.yaml"), 0, "log joint"),
        (("compile", "specs/vae.yaml", "--backend", "numpyro"), 0, "def loss"),
        (("compile", "specs/vae.yaml", "--backend", "pyro"), 1, "pip install 'dgmppl[pyro]'"),
    ],
    ids=["check", "explain", "numpyro", "pyro"],
)
def test_the_command_line_needs_no_torch(arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run("-m", "dgmppl", *arguments)
    assert result.returncode == code, result.stderr
    assert text in result.stdout + result.stderr

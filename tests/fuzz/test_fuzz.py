"""2,000 seeded cases in processes of bounded memory: diagnostics, never a traceback, within bounded time.

`python -m benchmarks.fuzz` is the long run of the same cases; `python -m tests.fuzz.campaign KIND --first N --cases 1`
repeats one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = {"spec": 900, "expression": 600, "data": 350, "run": 150}
# Part of the cases must get past the reader, or only the reader is tested.
ACCEPTED = {"spec": 0.05, "expression": 0.03, "data": 0.1, "run": 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_only_diagnostics(kind: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.campaign", kind, "--cases", str(CASES[kind]), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert report["cases"] == CASES[kind]
    assert 1 - report["refused"] / report["cases"] > ACCEPTED[kind]

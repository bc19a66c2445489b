"""Killed with -9 at random moments and resumed, a run ends bit for bit where an undisturbed one does.

`DGMPPL_KILLS=50` is the recorded long run; without it a few kills are spread over both backends and several specs.
`DGMPPL_SEED` chooses the moments.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.workflow.killing import CASES, Tally, finish, kill, require_equal

pytestmark = pytest.mark.usefixtures("quick_compilation")

KILLS = int(os.environ.get("DGMPPL_KILLS", "4"))
SEED = int(os.environ.get("DGMPPL_SEED", "0"))
PLACES = [(name, backend) for name in CASES for backend in ("numpyro", "pyro")]
# The first places get one kill more, so that all of them are made.
SHARES = {place: KILLS // len(PLACES) + (number < KILLS % len(PLACES)) for number, place in enumerate(PLACES)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), [place for place in PLACES if SHARES[place]])
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(tmp_path: Path, name: str, backend: str) -> None:
    case, chance, tally = CASES[name], random.Random(f"{SEED} {name} {backend}"), Tally()
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    case.program(backend).fit(out=whole)
    while len(tally.killed) < SHARES[name, backend]:
        if kill(case, backend, broken, tally, chance):
            # It came to its end before it was killed: it must be right already; the rest of the kills hit a new run.
            require_equal(whole, broken)
            broken = tmp_path / f"broken-{tally.finished}"
    finish(case, backend, broken)
    require_equal(whole, broken)
    print(f"{name} {backend}: killed at {tally.killed}, {tally.half_written} inside a checkpoint", end=" ")

"""Data that a spline does not reach: what explains, what warns before a run, and what a run says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dgmppl as dg
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation")

TEXT = """dgmppl: 1
name: spline
data:
  x: {shape: [2]}
bijectors:
  flow: [coupling(mlp([4]), spline(bins=4, bound=3)), reverse()]
model:
  z: Normal(0, 1, shape=2)
  x: flow(z)
train: {steps: 1, batch_size: 4}
"""
ROWS = np.concatenate([np.linspace(-1.0, 1.0, 12).reshape(6, 2), [[0.0, -3.5], [7.5, 0.0]]])
SAID = (
    "0.25 of the training rows of x have an element outside of [-3, 3], where the spline at <text>:6:10 is the identity"
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_says_how_many_rows_a_spline_leaves_alone(backend: str, tmp_path: Path) -> None:
    program = dg.compile(TEXT, backend=backend)
    assert "The splines of flow are the identity outside of [-3, 3]." in program.explain()["notes"]
    for name, rows, expected in (("wide", ROWS, [SAID]), ("narrow", ROWS[:6], [])):
        program.fit(rows, out=tmp_path / name)
        notes = json.loads((tmp_path / name / "receipt.json").read_text(encoding="utf-8"))["notes"]
        assert [note for note in notes if "training rows" in note] == expected

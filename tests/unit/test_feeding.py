"""Data beyond a device's memory: fed a few steps at a time, with the same results bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.data.mapped import MappedRows
from dgmppl.errors import RunError
from dgmppl.feeding import Feed, budget
from dgmppl.runs.interrupts import Interrupted

BACKENDS = ("pyro", "numpyro")
ROWS, WIDTH, BATCH = 60, 6, 8
# A batch of WIDTH real numbers of four bytes: what a step needs on the device.
STEP = BATCH * WIDTH * 4
MIXTURE = """\
dgmppl: 1
name: mixture
data:
  x: {shape: [6]}
parameters:
  w: learned(simplex(3))
  mu: learned(normal(3, 6))
model:
  k: Categorical(probs=w)
  x: Normal(mu[k], 1)
train:
  batch_size: 8
  steps: 25
"""


def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)) + np.arange(ROWS)[:, None] % 3


def feed(data: dict[str, np.ndarray], allowed: int | None, placed: list[Any]) -> Feed[np.ndarray]:
    def place(arrays: Any) -> dict[str, np.ndarray]:
        placed.append(sum(array.nbytes for array in arrays.values()))
        return {name: np.array(array) for name, array in arrays.items()}

    return Feed(data, BATCH, varies=lambda name: name != "level", place=place, budget=allowed, real_bytes=8)


def test_every_step_gets_its_rows_however_many_fit() -> None:
    data = {"x": points(), "y": np.arange(ROWS), "level": np.arange(5.0)}
    rows = np.random.default_rng(1).integers(ROWS, size=(7, BATCH))
    step = BATCH * (WIDTH + 1) * 8
    for allowed, resident, parts in ((None, True, 1), (10**9, True, 1), (3 * step, False, 3), (1, False, 7)):
        placed: list[int] = []
        one = feed(data, allowed, placed)
        pieces = list(one.pieces(rows))
        assert (one.resident, len(pieces)) == (resident, parts)
        found = {name: np.concatenate([held[name][lines] for held, lines in pieces]) for name in ("x", "y")}
        for name, values in found.items():
            np.testing.assert_array_equal(values, data[name][rows])
        assert all(held["level"].shape == (5,) for held, _ in pieces)
        if not resident:
            # The level's values once; then never more rows than fit, but for a step that must go on somehow.
            assert placed[0] == data["level"].nbytes
            assert max(placed[1:]) <= max(allowed or 0, step)


def test_the_budget_is_what_is_asked_for_or_half_of_what_is_free() -> None:
    assert budget(7, 100) == 7
    assert budget(None, 100) == 50
    host = budget(None, None)
    assert host is None or host > 2**20


def fitted(backend: str, **options: Any) -> dg.Fit:
    return dg.compile(MIXTURE, backend=backend).fit(points(), **options)


def same(left: dg.Fit, right: dg.Fit) -> None:
    assert left.records == right.records
    for name, value in left.parameters.items():
        np.testing.assert_array_equal(value, right.parameters[name], err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_fed_and_resident_training_are_the_same(backend: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl.runs.training._BLOCKS", 3)
    same(fitted(backend, data_bytes=steps * STEP), fitted(backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fed_run_is_resumed_bit_for_bit(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after some steps with few rows on the device, and gone on with all of them there."""
    whole = fitted(backend, out=tmp_path / "whole", checkpoint_seconds=0)
    stop_after(monkeypatch, 11)
    with pytest.raises(Interrupted):
        fitted(backend, out=tmp_path / "parts", checkpoint_seconds=0, data_bytes=2 * STEP)
    monkeypatch.undo()
    same(fitted(backend, out=tmp_path / "parts", checkpoint_seconds=0, resume=True), whole)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Training is interrupted, as by Ctrl-C, at the end of the block that holds a step."""
    from dgmppl.runs import training

    block: Callable[..., Any] = training._block

    def stopping(trainer: Any, *rest: Any) -> Any:
        record = block(trainer, *rest)
        if trainer.step >= steps:
            raise Interrupted(trainer.step)
        return record

    monkeypatch.setattr(training, "_block", stopping)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mapped_file_is_fed_from_where_it_lies(backend: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", points())
    program = dg.compile(MIXTURE, backend=backend, bindings={"x": tmp_path / "x.npy"})
    assert isinstance(program.load_data().train.arrays["x"].base, np.memmap)
    same(program.fit(data_bytes=STEP), fitted(backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_split_of_a_mapped_file_is_trained_on_where_it_lies(backend: str, tmp_path: Path) -> None:
    """Rows that a split picks, and that are widened, are the same as if all had been held in memory."""
    narrow = points().astype(np.float32)
    np.save(tmp_path / "x.npy", narrow)
    np.savez(tmp_path / "x.npz", x=narrow)
    runs = {}
    for name, allowed in (("x.npy", STEP), ("x.npy", None), ("x.npz", None)):
        text = MIXTURE.replace("{shape: [6]}", f"{{file: {tmp_path / name}, split: {{test: 0.2}}}}")
        program = dg.compile(text, backend=backend)
        mapped = isinstance(program.load_data().train.arrays["x"], MappedRows)
        assert mapped == name.endswith(".npy")
        runs[name, allowed] = program.fit(data_bytes=allowed)
    held = runs.pop(("x.npz", None))
    for run in runs.values():
        same(run, held)
        assert run.evaluate() == held.evaluate()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fed_run_stops_before_the_step_that_is_not_finite(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl.runs.training._BLOCKS", 2)
    said = []
    for allowed in (None, 3 * STEP, 0):
        program = dg.compile(MIXTURE, backend=backend, overrides=["train.optimizer=sgd(1e30)"])
        with pytest.raises(RunError) as caught:
            program.fit(points(), data_bytes=allowed)
        said.append(str(caught.value))
    assert "not finite" in said[0] or "the loss is" in said[0]
    assert said == said[:1] * 3


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(RunError, match="cannot take -1 bytes"):
        fitted("pyro", data_bytes=-1)

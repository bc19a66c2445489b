"""Recorded and compiled training steps: the same numbers, and only where that is certain."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dgmppl as dg
from dgmppl.backend import Device
from dgmppl.compiler import compile_spec
from dgmppl.errors import ArgumentError, RunError
from dgmppl.ir.parameters import initial_values
from dgmppl_pyro.losses import Arguments, Loss
from dgmppl_pyro.training import Trainer

REAL = {"x": {"shape": [3], "support": "real"}}
FLOW = {
    "bijectors": {"flow": "repeat(2, [coupling(mlp([8]), spline(bins=4, bound=3)), reverse()])"},
    "model": {"z": "Normal(0, 1, shape=3)", "x": "flow(z)"},
}
LATENT = {
    "networks": {"enc": "mlp([8])", "dec": "mlp([8])"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "Normal(dec(z), 1)"},
    "guide": {"z": "Normal(**enc(x))"},
}
GAME = {
    "networks": {"generate": "mlp([8])", "judge": "mlp([8])"},
    "critics": {"x": "judge(x)"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "generate(z)"},
    "objective": "adversarial(x, divergence=wasserstein, penalty=gradient(10), critic_steps=2)",
}
SPECS: dict[str, dict[str, Any]] = {
    "change of variables": FLOW,
    "two particles": {**LATENT, "objective": "iwae(particles=2)"},
    "a schedule": {**LATENT, "objective": "elbo(beta=linear(0, 1, steps=9))"},
    "a penalized game": GAME,
    "second derivatives": {
        "networks": {"potential": "mlp([8], activation=softplus)"},
        "model": {"x": "Energy(potential)"},
        "objective": "implicit_score_matching()",
    },
    "clipping and averages": {**LATENT, "train": {"clip_norm": 0.1, "ema": 0.9, "schedule": "cosine()"}},
}
ROWS = np.random.default_rng(1).integers(40, size=(12, 16))
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile takes a C++ compiler")


def trainer(spec: dict[str, Any], *, fused: bool = False) -> Trainer:
    """The start of a run on forty rows."""
    train = {"steps": 100, "batch_size": 16, **spec.get("train", {})}
    compiled = compile_spec({"dgmppl": 1, "name": "step", "data": REAL, **spec, "train": train}, backend="pyro")
    x = np.random.default_rng(0).normal(size=(40, 3))
    started: Trainer = compiled.executable.trainer(  # type: ignore[assignment]
        initial_values(compiled.module.parameters, 0), {"x": x}, compiled.program.train, steps=100, seed=0,
        device=Device("cpu", "float32", 1, compiled=fused),
    )  # fmt: skip
    return started


def records(one: Trainer) -> list[bool]:
    """Of each player: whether its step has been recorded and found sound."""
    return [any(found and found.sound for found in player.loss._records.values()) for player in one._players]


@pytest.mark.parametrize("name", SPECS)
def test_a_recorded_step_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Parameters, moments and reports, over the steps before the record, at its check and after."""
    plain = trainer(SPECS[name])
    expected = [plain.advance(block) for block in np.split(ROWS, 3)]
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 2)
    faster = trainer(SPECS[name])
    found = [faster.advance(block) for block in np.split(ROWS, 3)]
    assert (any(records(plain)), all(records(faster))) == (False, True)
    for before, after in zip(expected, found, strict=True):
        assert before.keys() == after.keys()
        for entry, values in before.items():
            np.testing.assert_array_equal(after[entry], values, err_msg=entry)
    for entry, array in plain.state().items():
        np.testing.assert_array_equal(faster.state()[entry], array, err_msg=entry)


def test_a_step_with_a_chain_is_left_to_the_records_of_its_transitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 1)
    started = trainer({**SPECS["second derivatives"], "objective": "contrastive_divergence(steps=3, step_size=0.1)"})
    started.advance(ROWS)
    assert records(started) == [False]


def test_a_run_that_ends_soon_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 60)
    started = trainer(LATENT)
    for _ in range(8):
        started.advance(ROWS)
    assert started.step == 96
    assert records(started) == [False]


def loss_of(value: Any, *, compiled: bool = False, steps: int = 100) -> tuple[Loss, Tensor]:
    """The loss `value(weight, x)` and its parameter."""
    weight = torch.ones(3, requires_grad=True)

    def run(own: Any, _other: Any, state: Any, batch: Any, _noise: Any, _step: Any) -> Any:
        return value(own["weight"], batch["x"]), state, {}

    return Loss(run, {"weight": weight}, {}, [weight], (), steps=steps, compiled=compiled), weight


def taken(loss: Loss, count: int) -> list[float]:
    """The first slopes of steps on x = 1, 2, ..., each three times."""
    inputs = (Arguments({}, {"x": torch.full((3,), float(step + 1))}, {}, step) for step in range(count))
    return [float(found.gradients[0][0]) for found in map(loss, inputs) if found.gradients[0] is not None]


def test_operations_that_values_choose_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 1)
    loss, _ = loss_of(lambda weight, x: (weight * x).sum() if x.sum() < 10 else (weight * x**2).sum())
    assert taken(loss, 6) == [1.0, 2.0, 3.0, 16.0, 25.0, 36.0]
    assert list(loss._records.values()) == [None]


def test_a_record_that_other_rows_disprove_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factor is a constant of the record, and another one at each step."""
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 1)
    factors = iter(range(100))
    loss, _ = loss_of(lambda weight, x: next(factors) * (weight * x).sum())
    slopes = taken(loss, 6)
    assert list(loss._records.values()) == [None]
    # One factor went to the record that was made at the second step.
    assert slopes == [0.0 * 1, 2.0 * 2, 3.0 * 3, 4.0 * 4, 5.0 * 5, 6.0 * 6]


def test_a_generator_among_the_random_numbers_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgmppl_pyro.losses.WORTH", 1)
    loss, _ = loss_of(lambda weight, x: (weight * x).sum())
    for step in range(4):
        loss(Arguments({}, {"x": torch.ones(3)}, {"generator": torch.Generator()}, step))
    assert not loss._records


def test_what_cannot_be_compiled_says_so() -> None:
    loss, _ = loss_of(lambda weight, x: (weight * x).sum() if x.sum() < 10 else weight.sum(), compiled=True)
    with pytest.raises(RunError, match=r"cannot be compiled: .* choose its operations; fit without --compile"):
        taken(loss, 1)


def test_inference_has_no_step_to_compile(tmp_path: Path) -> None:
    program = dg.compile(
        {"dgmppl": 1, "name": "mean", "data": {"y": [1.0, 2.0]}, "parameters": {"m": "Normal(0, 1)"},
         "model": {"y": "Normal(m, 1)"}, "infer": "nuts()"},
        backend="pyro",
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="nuts has no training steps to compile"):
        program.fit(out=tmp_path / "run", compile=True)
    assert not (tmp_path / "run").exists()


@COMPILER
@pytest.mark.slow
def test_a_compiled_step_agrees_up_to_rounding_and_goes_on_bit_for_bit() -> None:
    """Sums come in another order: 1e-5 is a hundred roundings of single precision, at values about one."""
    plain, fused = trainer(GAME), trainer(GAME, fused=True)
    np.testing.assert_allclose(fused.advance(ROWS[:1])["loss"], plain.advance(ROWS[:1])["loss"], rtol=1e-5)
    fused.advance(ROWS[1:6])
    kept = fused.state()
    whole = fused.advance(ROWS[6:])
    resumed = trainer(GAME, fused=True)
    resumed.restore(kept)
    again = resumed.advance(ROWS[6:])
    assert all(records(fused))
    for entry, values in whole.items():
        np.testing.assert_array_equal(again[entry], values, err_msg=entry)


def test_mixed_precision_sees_the_weights_of_the_present_step() -> None:
    """Rounding a weight to eight bits changes a loss by far less than sixty steps of training change it."""
    compiled = compile_spec(
        {"dgmppl": 1, "name": "slope",
         "data": {"u": {"shape": [2], "support": "real"}, "y": {"shape": [], "support": "real"}},
         "networks": {"net": "mlp([16])"}, "model": {"y": "Normal(net(u), 1)"},
         "train": {"optimizer": "adam(1e-2)", "batch_size": 16, "steps": 100}},
        backend="pyro",
    )  # fmt: skip
    u = np.random.default_rng(0).normal(size=(40, 2))
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = compiled.executable.trainer(
            initial_values(compiled.module.parameters, 0), {"u": u, "y": 3 * u[:, 0] + 1}, compiled.program.train,
            steps=100, seed=0, device=Device("cpu", precision, 1),
        )  # fmt: skip
        losses[precision] = run.advance(np.tile(ROWS, (5, 1)))["loss"]
    assert losses["float32"][0] - losses["float32"][-1] > 1.0
    np.testing.assert_allclose(losses["bfloat16"][-12:], losses["float32"][-12:], rtol=0.02)

"""What keeps critics in bounds, and games in training: penalties, spectral normalization, moves in turn, resuming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgmppl.api.program import compile as compile_program
from dgmppl.backend import Device
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.settings import Train
from tests.games import SMALL, linear, losses, noise_of, rows_of
from tests.support import BACKENDS, SPECS, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

# ---- penalties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["gradient(3)", "gradient", "gradient(3, sided=one)", "r1(3)", "r2(3)"])
def test_penalties_are_of_the_critic_s_gradient(penalty: str) -> None:
    """v = sum a x^2, whose gradient is 2 a x."""
    spec = {
        **SMALL,
        "parameters": {"a": "learned(normal(2))"},
        "networks": {"make": "mlp([])"},
        "critics": {"x": "sum(a * square(x))"},
        "objective": f"adversarial(x, divergence=wasserstein, penalty={penalty})",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    values["a"] = 4.0 * values["a"]
    noise = noise_of(compiled, "critic")
    fake = linear(values, "make", noise["z@model"])
    dual = ((batch["x"] ** 2 - fake**2) @ values["a"]).mean()
    if penalty.startswith("gradient"):
        between = batch["x"] + noise["x@between"][:, None] * (fake - batch["x"])
        norm = np.linalg.norm(2.0 * values["a"] * between, axis=-1)
        assert norm.min() < 1.0 < norm.max()
        excess = np.maximum(norm - 1.0, 0.0) if "one" in penalty else norm - 1.0
        expected = (3.0 if "3" in penalty else 10.0) * (excess**2).mean()
    else:
        points = batch["x"] if penalty.startswith("r1") else fake
        expected = 1.5 * ((2.0 * values["a"] * points) ** 2).sum(-1).mean()
    for loss, _, report in losses(spec, "critic", values, batch):
        assert loss == pytest.approx(expected - dual, rel=1e-9)
        if penalty.startswith("gradient"):
            assert report["gradient_norm"] == pytest.approx(norm.mean(), rel=1e-9)


def test_the_gradient_of_a_joint_critic_is_by_everything_that_is_swapped() -> None:
    spec = {
        **SMALL,
        "networks": {"make": "mlp([])", "encode": "mlp([])"},
        "parameters": {"a": "learned(normal(2))", "b": "learned(normal(3))"},
        "guide": {"z": "encode(x)"},
        "critics": {"(x, z)": "sum(a * square(x)) * sum(b * z)"},
        "objective": "adversarial(x, divergence=js, penalty=r1(2))",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    plain = {**spec, "objective": "adversarial(x, divergence=js)"}
    (without, _, _), _ = losses(plain, "critic", values, batch)
    x, z = batch["x"], linear(values, "encode", batch["x"])
    by_x = 2.0 * values["a"] * x * (z @ values["b"])[:, None]
    by_z = values["b"] * (x**2 @ values["a"])[:, None]
    expected = (by_x**2).sum(-1).mean() + (by_z**2).sum(-1).mean()
    for loss, _, _ in losses(spec, "critic", values, batch):
        assert loss - without == pytest.approx(expected, rel=1e-9)


# ---- spectral normalization -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_power_iteration_finds_the_largest_singular_values(backend: str) -> None:
    spec = {**SMALL, "objective": "adversarial(x, divergence=hinge, penalty=spectral)"}
    compiled = compile_spec(spec, backend=backend)
    values, generator = start(compiled), np.random.default_rng(0)
    first, last = (values[f"judge.layers.{number}.weight"] for number in (0, 1))
    directions = {"layers.0.weight": generator.normal(size=4), "layers.1.weight": generator.normal(size=1)}
    x = generator.normal(size=(5, 2))
    hidden = np.tanh(x @ first.T / np.linalg.norm(first, 2) + values["judge.layers.0.bias"])
    expected = hidden @ last[0] / np.linalg.norm(last, 2) + values["judge.layers.1.bias"]
    normalized = {"pyro": _normalized_on_torch, "numpyro": _normalized_on_jax}[backend]
    np.testing.assert_allclose(normalized(compiled, values, directions, x), expected, rtol=1e-10)


def _normalized_on_torch(compiled: Compilation, values: Any, directions: Any, x: Any) -> Any:
    import torch

    from dgmppl_pyro.critics import spectral

    judge = compiled.executable.namespace.NETWORKS["judge"]().double()
    judge.load_state_dict({name: torch.as_tensor(values[f"judge.{name}"]) for name in judge.state_dict()})
    vectors = {name: torch.as_tensor(vector) for name, vector in directions.items()}
    for _ in range(200):
        network, vectors = spectral(judge, vectors)
    return network(torch.as_tensor(x)).detach().numpy()


def _normalized_on_jax(compiled: Compilation, values: Any, directions: Any, x: Any) -> Any:
    import equinox as eqx
    import jax

    from dgmppl_numpyro.critics import spectral

    names = [f"judge.layers.{number}.{kind}" for number in (0, 1) for kind in ("weight", "bias")]
    with jax.enable_x64(True):
        judge = eqx.tree_at(
            lambda tree: [getattr(layer, kind) for layer in tree.layers for kind in ("weight", "bias")],
            compiled.executable.namespace.NETWORKS["judge"](),
            [jax.numpy.asarray(values[name]) for name in names],
        )
        vectors = {name: jax.numpy.asarray(vector) for name, vector in directions.items()}
        for _ in range(200):
            network, vectors = spectral(judge, vectors)
        return np.asarray(network(jax.numpy.asarray(x)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_critic_carries_its_weights_directions_on(backend: str) -> None:
    compiled = compile_spec(
        {**SMALL, "objective": "adversarial(x, divergence=hinge, penalty=spectral)"}, backend=backend
    )
    assert [player for player, _, _ in compiled.module.players] == ["critic", "model"]
    batch = rows_of(compiled, 32)
    rows = np.random.default_rng(0).integers(0, 32, (6, 8))
    whole = _trainer(compiled, batch)
    begun = {name: value for name, value in whole.state().items() if name.endswith("direction")}
    assert len(begun) == 2
    whole.advance(rows[:3])
    state = whole.state()
    moved = {name: state[name] for name in begun}
    assert any(not np.allclose(moved[name], value) for name, value in begun.items())
    assert all(np.linalg.norm(value) == pytest.approx(1.0) for value in moved.values())
    whole.advance(rows[3:])
    resumed = _trainer(compiled, batch)
    resumed.restore(state)
    resumed.advance(rows[3:])
    assert all(np.array_equal(value, resumed.state()[name]) for name, value in whole.state().items())


# ---- clamped weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_clamped_critics_go_on_bit_for_bit(backend: str) -> None:
    """Every array of the critic is what one step of its optimizer gives, clamped; nothing else is touched."""
    clip = {**SMALL, "objective": "adversarial(x, divergence=wasserstein, penalty=clip(0.05), critic_steps=2)"}
    free = {**SMALL, "objective": "adversarial(x, divergence=pearson, critic_steps=2)"}
    compiled, batch = compile_spec(clip, backend=backend), rows_of(compile_spec(clip), 32)
    rows = np.random.default_rng(0).integers(0, 32, (6, 8))
    whole, other = _trainer(compiled, batch), _trainer(compile_spec(free, backend=backend), batch)
    whole.advance(rows[:3])
    other.advance(rows[:3])
    now, unbound = whole.parameters(), other.parameters()
    assert all(np.abs(now[name]).max() <= 0.05 for name in now if name.startswith("judge"))
    assert any(np.abs(now[name]).max() == 0.05 for name in now if name.startswith("judge"))
    for values in (now, unbound):
        assert max(np.abs(values[name]).max() for name in values if name.startswith("make")) > 0.05
    assert max(np.abs(unbound[name]).max() for name in unbound if name.startswith("judge")) > 0.05
    state = whole.state()
    whole.advance(rows[3:])
    resumed = _trainer(compiled, batch)
    resumed.restore(state)
    resumed.advance(rows[3:])
    assert all(np.array_equal(value, resumed.state()[name]) for name, value in whole.state().items())


def test_one_clamped_step_is_a_step_and_a_clamp() -> None:
    """Plain descent by hand at the trainer's own noise, on both backends."""
    clip = {**SMALL, "objective": "adversarial(x, divergence=wasserstein, penalty=clip(0.3))"}
    for backend in BACKENDS:
        compiled = compile_spec(clip, backend=backend)
        batch, values = rows_of(compiled, 8), start(compiled)
        trainer = _trainer(compiled, batch)
        noise = trainer.noise("critic", 8)
        trainer.advance(np.arange(8)[None])
        _, slopes, _ = compiled.executable.loss("critic", values, batch, noise=noise, gradient=True)
        for name, slope in slopes.items():
            expected = np.clip(values[name] - 1e-2 * slope, -0.3, 0.3)
            np.testing.assert_allclose(trainer.parameters()[name], expected, rtol=1e-12, atol=1e-15)


def test_a_clamped_critic_is_said_to_estimate_no_wasserstein_distance() -> None:
    said = explain({**SMALL, "objective": "adversarial(x, divergence=wasserstein, penalty=clip)"})
    assert "a Wasserstein distance is not estimated" in said
    assert "W₁" not in said
    held = explain({**SMALL, "objective": "adversarial(x, divergence=wasserstein)"})
    assert "an estimate, no bound, of W₁(p_data, p_model)" in held


def test_a_penalty_on_slopes_in_one_dimension_is_said_to_keep_the_sign() -> None:
    line = {**SMALL, "data": {"x": {"shape": [], "support": "real"}}}
    two, one = (
        explain({**line, "objective": f"adversarial(x, divergence=wasserstein, penalty={penalty})"})
        for penalty in ("gradient", "gradient(sided=one)")
    )
    assert "keeps it: its slope would have to pass zero" in two
    assert "lets slopes below one be" in one
    assert "keeps it" not in one
    assert "keeps it" not in explain({**SMALL, "objective": "adversarial(x, divergence=wasserstein)"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_one_sided_penalty_lets_a_critic_turn(backend: str) -> None:
    """A line's critic v = a x that starts at a = -1, where the two-sided penalty holds it; W1 = the shift, 1.5.

    Without noise in the shift, -1.5 a + w max(0, |a| - 1)^2 is least at a = 1 + 1.5 / (2 w).
    """
    draw = np.random.default_rng(0)
    found = {}
    for sided in ("one", "two"):
        spec = {
            "dgmppl": 1,
            "name": "line",
            "data": {"x": {"shape": [], "support": "real"}},
            "parameters": {"a": "learned(-1.0)"},
            "model": {"x": "Normal(0, 1)"},
            "critics": {"x": "a * x"},
            "objective": f"adversarial(x, divergence=wasserstein, penalty=gradient(20, sided={sided}))",
            "train": {"optimizer": "adam(3e-2)", "schedule": "cosine()", "batch_size": 500, "steps": 300},
        }
        fit = compile_program(spec, backend=backend, bindings={"x": draw.normal(1.5, 1.0, 5000)}).fit(seed=0)
        found[sided] = float(fit.parameters["a"])
    # The shift of 5,000 rows and of 500 samples a step, whose averages Adam takes, is known to 1.4 and 0.3 hundredths.
    assert found["one"] == pytest.approx(1.0375, abs=0.01)
    assert found["two"] == pytest.approx(-0.9625, abs=0.01)


def explain(spec: Any) -> str:
    return " ".join(compile_spec(spec).derivation.notes)


# ---- training -------------------------------------------------------------------------------------------------------


def _trainer(compiled: Compilation, batch: Any) -> Any:
    settings = Train(
        optimizer=Call("adam", (Literal(1e-2),)), optimizers={"judge": Call("sgd", (Literal(1e-2),))}, batch_size=8
    )
    device = Device("cpu", "float64")
    return compiled.executable.trainer(start(compiled), batch, settings, steps=12, seed=3, device=device)


@pytest.mark.parametrize("backend", BACKENDS)
def test_players_move_in_turn_and_go_on_bit_for_bit(backend: str) -> None:
    compiled = compile_spec(
        {**SMALL, "objective": "adversarial(x, divergence=wasserstein, critic_steps=3)"}, backend=backend
    )
    batch = rows_of(compiled, 32)
    rows = np.random.default_rng(0).integers(0, 32, (6, 8))
    whole, before = _trainer(compiled, batch), start(compiled)
    report = whole.advance(rows[:2])
    first = whole.parameters()
    still = {name for name, value in before.items() if np.array_equal(first[name], value)}
    # A Wasserstein critic's last bias cancels.
    assert still == {name for name in before if name.startswith("make")} | {"judge.layers.1.bias"}
    assert np.isnan(report.get("model.loss", np.nan)).all()
    state = whole.state()
    report = whole.advance(rows[2:])
    assert np.isfinite(report["model.loss"]).tolist() == [True, False, False, True]
    assert {"divergence", "gradient_norm"} <= report.keys()
    resumed = _trainer(compiled, batch)
    resumed.restore(state)
    resumed.advance(rows[2:])
    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert not np.array_equal(whole.parameters()["make.layers.0.weight"], before["make.layers.0.weight"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_counts_the_model_s_updates_and_samples(backend: str) -> None:
    fit = compile_program(SPECS / "wgan_gp.yaml", backend=backend, overrides=["train.batch_size=16"]).fit(steps=2)
    assert fit.records[-1]["step"] == 10
    assert fit.sample(7, seed=0).shape == (7, 2)
    with pytest.raises(RunError, match="samples but no density"):
        fit.log_prob()

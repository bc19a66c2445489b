"""Models that can only sample: what `evaluate` says of them, and what it warns of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from typer.testing import CliRunner

import dgmppl as dg
from dgmppl.backend import Device
from dgmppl.cli.app import app
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.settings import Train
from dgmppl.results.distances import sliced_wasserstein
from tests.games import SMALL, rows_of
from tests.support import BACKENDS, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

LINEAR: dict[str, Any] = {
    "dgmppl": 1,
    "name": "linear",
    "data": {"x": {"dataset": "eight_gaussians", "size": 2000}},
    "networks": {"make": "linear()", "judge": "linear()"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "make(z)"},
    "critics": {"x": "judge(x)"},
}
IDENTITY = {"make.weight": np.eye(2), "make.bias": np.zeros(2)}
HELD_OUT = {"x": {"dataset": "eight_gaussians", "split": {"test": 0.5, "seed": 0}}}


def at(program: dg.CompiledProgram, **values: Any) -> dg.Fit:
    """The program at the identity and a critic of zero, but for what is given."""
    start_values = program.initial(0).parameters
    zeros = {name: np.zeros_like(value) for name, value in start_values.items()}
    given = {name.replace("__", "."): np.asarray(value) for name, value in values.items()}
    chosen = {**zeros, **{_named(zeros, name): value for name, value in {**IDENTITY, **given}.items()}}
    return program.at(
        {name: np.asarray(value, np.float32).reshape(zeros[name].shape) for name, value in chosen.items()}
    )


def _named(values: Any, short: str) -> str:
    """The canonical name of a linear network's array."""
    network, _, kind = short.partition(".")
    return next(str(name) for name in values if name.startswith(f"{network}.") and name.endswith(f".{kind}"))


def metric(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """A metric by its name."""
    found: dict[str, Any] = next(one for one in facts["metrics"] if one["metric"] == name)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_perfect_sampler_is_near_the_data_and_warns_of_nothing(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((1000, 2))
    facts = at(dg.compile({**LINEAR, "data": HELD_OUT}, backend=backend, bindings={"x": x})).evaluate()
    assert (facts["split"], facts["rows"], facts["warnings"]) == ("test", 500, [])
    found = metric(facts, "sliced_wasserstein")
    assert found["value"] < found["reference"] + 4.0 * found["standard_error"]
    # The constant critic's dual is zero, whatever is compared: nothing above the divergence.
    dual = metric(facts, "divergence")
    assert (dual["value"], dual["status"], dual["of"]) == (
        pytest.approx(0.0, abs=1e-7),
        "bound",
        "D_JS(p_data ‖ p_model)",
    )
    assert "why" in facts


def test_one_mode_of_eight_is_counted_and_warned_of() -> None:
    program = dg.compile(LINEAR)
    facts = at(program, make__weight=0.1 * np.eye(2), make__bias=[2.0, 0.0]).evaluate()
    covered, near = metric(facts, "modes_covered"), metric(facts, "share_near_modes")
    assert (covered["value"], covered["shares"][1:]) == (1.0, [0.0] * 7)
    expected = 1.0 - math.exp(-4.5)
    assert abs(near["value"] - expected) < 4.0 * math.sqrt(expected * (1.0 - expected) / 2000)
    assert near["standard_error"] == pytest.approx(math.sqrt(near["value"] * (1.0 - near["value"]) / 2000))
    (warning,) = facts["warnings"]
    assert (warning["code"], warning["severity"]) == ("samples-collapsed", "warning")
    assert warning["message"] == "samples of x cover little of the data"
    assert "apart on average" in warning["notes"][0]


def test_two_far_modes_spread_enough_but_cover_too_little() -> None:
    """Spread alone does not see the loss of modes; the neighbours do."""
    x = np.random.default_rng(0).standard_normal((800, 2))
    data = {"x": {"shape": [2], "support": "real"}}
    program = dg.compile({**LINEAR, "data": data}, bindings={"x": x})
    (warning,) = at(program, make__weight=[[1.5, 0.0], [0.0, 0.0]]).evaluate()["warnings"]
    assert "have a sample among their neighbours" in warning["found"]
    assert warning["notes"] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_optimal_critic_s_dual_is_the_divergence(backend: str) -> None:
    """p = N(0, I), q = N((m, 0), I): log p / q = m^2 / 2 - m x_1 is linear, and JS is a one-dimensional integral."""
    m, x = 1.5, np.random.default_rng(0).standard_normal((8000, 2))
    program = dg.compile({**LINEAR, "data": HELD_OUT}, backend=backend, bindings={"x": x})
    facts = at(program, make__bias=[m, 0.0], judge__weight=[[-m, 0.0]], judge__bias=[m**2 / 2.0]).evaluate()
    found = metric(facts, "divergence")

    def half(one: float, other: float) -> float:
        def integrand(t: float) -> float:
            p, q = norm.pdf(t, one), norm.pdf(t, other)
            return float(p * math.log(2.0 * p / (p + q)))

        return 0.5 * float(quad(integrand, -8.0, 10.0)[0])

    truth = half(0.0, m) + half(m, 0.0)
    assert found["unit"] == "nats"
    assert found["standard_error"] < 0.1 * truth
    assert abs(found["value"] - truth) < 4.0 * found["standard_error"]


def test_what_is_no_bound_is_not_called_one() -> None:
    x = np.random.default_rng(0).standard_normal((200, 2))
    seen = at(dg.compile({**LINEAR, "data": {"x": {"shape": [2], "support": "real"}}}, bindings={"x": x})).evaluate()
    assert (seen["split"], metric(seen, "divergence")["status"]) == ("train", "estimate")
    spec = {**LINEAR, "data": HELD_OUT, "objective": "adversarial(x, divergence=wasserstein)"}
    earth = metric(at(dg.compile(spec, bindings={"x": x})).evaluate(), "divergence")
    assert (earth["status"], earth["unit"]) == ("estimate", "model units")
    assert "no bound" in earth["why"]


def test_covariates_of_the_rows_reach_the_sampler() -> None:
    """x is its label: samples that were given other labels than the rows would lie elsewhere."""
    y = np.arange(400) % 4
    spec = {
        **LINEAR,
        "data": {"x": {"shape": [1], "support": "real"}, "y": {"shape": [], "support": "integer(4)"}},
        "model": {"z": "Normal(0, 1, shape=1)", "x": "make(z, one_hot(y, 4))"},
        "critics": {"x": "judge(x, one_hot(y, 4))"},
    }
    program = dg.compile(spec, bindings={"x": 10.0 * y[:, None].astype(float), "y": y})
    facts = at(program, make__weight=[[0.0, 0.0, 10.0, 20.0, 30.0]], make__bias=[0.0]).evaluate()
    assert metric(facts, "sliced_wasserstein")["value"] == pytest.approx(0.0, abs=1e-5)


def test_parameters_that_are_sampled_are_the_moving_averages() -> None:
    """An average that hardly moves samples as the start did; one that is the newest value does not."""
    slow, fast = (dg.compile({**LINEAR, "train": {"ema": ema, "batch_size": 32}}) for ema in (0.9999999, 0.0000001))
    before = slow.initial(0).sample(50)
    assert np.abs(slow.fit(seed=0, steps=20).sample(50) - before).max() < 1e-4
    assert np.abs(fast.fit(seed=0, steps=20).sample(50) - before).max() > 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_player_reports_the_norm_of_its_gradient(backend: str) -> None:
    program = dg.compile({**SMALL, "objective": "adversarial(x, critic_steps=2)"}, backend=backend)
    compiled = program.compiled
    batch, values = rows_of(compiled, 8), start(compiled)
    settings = Train(optimizer=Call("sgd", (Literal(1e-30),)), batch_size=8)
    device = Device("cpu", "float64")
    trainer = compiled.executable.trainer(values, batch, settings, steps=2, seed=0, device=device)
    noise = trainer.noise("critic", 8)
    report = trainer.advance(np.arange(8)[None])
    _, gradient, _ = compiled.executable.loss("critic", values, batch, noise=noise, gradient=True)
    expected = math.sqrt(sum(float((value**2).sum()) for value in gradient.values()))
    assert report["parameter_gradient_norm"][0] == pytest.approx(expected, rel=1e-6)
    noise = trainer.noise("model", 8)
    report = trainer.advance(np.arange(8)[None])
    _, gradient, _ = compiled.executable.loss("model", values, batch, noise=noise, gradient=True)
    expected = math.sqrt(sum(float((value**2).sum()) for value in gradient.values()))
    assert report["model.parameter_gradient_norm"][0] == pytest.approx(expected, rel=1e-6)


def test_the_command_line_says_it(tmp_path: Any) -> None:
    at(dg.compile(LINEAR), make__weight=0.1 * np.eye(2), make__bias=[2.0, 0.0]).save(tmp_path / "run")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "train x modes covered: 1 of 8 modes (estimate, 2000 rows, 2000 samples)" in result.output
    assert "train divergence D_JS(p_data ‖ p_model): " in result.output
    assert "warning: " in result.output
    assert "samples of x cover little of the data" in result.output


def test_the_distance_is_that_of_the_samples() -> None:
    fit = at(dg.compile(LINEAR))
    facts = fit.evaluate()
    rows = fit.loaded.train.arrays["x"]
    expected = sliced_wasserstein(rows, fit.sample(2000, seed=5))
    found = metric(facts, "sliced_wasserstein")
    assert abs(found["value"] - expected.value) < 4.0 * math.hypot(found["standard_error"], expected.standard_error)

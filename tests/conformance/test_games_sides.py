"""The two sides of a critic: two data sets, sites that are implicit jointly, noise of each player's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit

from dgmppl.api.program import compile as compile_program
from dgmppl.backend import Device
from dgmppl.compiler import compile_spec
from dgmppl.errors import SpecError
from tests.games import SMALL, linear, losses, noise_of, rows_of
from tests.support import BACKENDS, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

TWO_SETS = {
    "dgmppl": 1,
    "name": "two-sets",
    "data": {"old": {"shape": [], "support": "real"}, "new": {"shape": [], "support": "real"}},
    "parameters": {"a": "learned(0.0)", "b": "learned(0.0)"},
    "model": {"old": "new"},
    "critics": {"old": "a + b * old"},
    "objective": "adversarial(old)",
    "train": {"optimizer": "adam(0.1)", "batch_size": "all", "steps": 400},
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_critic_between_two_data_sets_estimates_their_log_ratio(backend: str) -> None:
    """The optimum is that of logistic regression between the sets, found by another minimizer."""
    random = np.random.default_rng(0)
    old, new = random.normal(0.7, 1.0, 400), random.normal(-0.3, 1.0, 400)
    program = compile_program(TWO_SETS, backend=backend, bindings={"old": old, "new": new})
    assert program.compiled.module.players == (("critic", ("a", "b"), 1),)
    fit = program.fit(seed=0, precision="float64")

    def logistic(line: Any) -> float:
        return float(-log_expit(line[0] + line[1] * old).mean() - log_expit(-line[0] - line[1] * new).mean())

    expected = minimize(logistic, np.zeros(2), tol=1e-12).x
    np.testing.assert_allclose([fit.parameters["a"], fit.parameters["b"]], expected, atol=1e-4)


def test_samples_made_of_other_data_need_a_critic() -> None:
    without = {key: TWO_SETS[key] for key in ("dgmppl", "name", "data", "model")}
    with pytest.raises(SpecError, match="nothing random stands in `new`"):
        compile_spec(without)


def test_rows_of_another_set_are_translated_by_a_network() -> None:
    spec = {
        **SMALL,
        "data": {"x": {"shape": [2], "support": "real"}, "photo": {"shape": [3], "support": "real"}},
        "networks": {"paint": "mlp([])", "judge": "mlp([])"},
        "model": {"x": "paint(photo)"},
        "objective": "adversarial(x, divergence=wasserstein)",
    }
    compiled = compile_spec(spec, backend="pyro")
    values, batch = start(compiled), rows_of(compiled, 6)
    expected = -linear(values, "judge", linear(values, "paint", batch["photo"])).mean()
    for loss, gradient, _ in losses(spec, "model", values, batch):
        assert loss == pytest.approx(expected, rel=1e-12)
        assert {name.split(".")[0] for name in gradient} == {"paint"}


def test_data_that_share_a_latent_with_implicit_ones_are_compared_together() -> None:
    spec = {
        **SMALL,
        "data": {"left": {"shape": [2], "support": "real"}, "right": {"shape": [3], "support": "real"}},
        "networks": {"make": "mlp([])", "read": "mlp([])", "judge": "mlp([])"},
        "model": {"z": "Normal(0, 1, shape=3)", "left": "make(z)", "right": "Normal(read(z), 0.2)"},
        "critics": {"(left, right)": "judge(left, right)"},
        "objective": "adversarial(left, divergence=kl)",
    }
    compiled = compile_spec(spec, backend="pyro")
    assert compiled.derivation.status == "implicit"
    values, noise = start(compiled), noise_of(compiled, "model")
    z = noise["z@model"]
    right = linear(values, "read", z) + 0.2 * noise["right@model"]
    expected = -np.exp(linear(values, "judge", linear(values, "make", z), right) - 1.0).mean()
    for loss, gradient, _ in losses(spec, "model", values):
        assert loss == pytest.approx(expected, rel=1e-12)
        assert {name.split(".")[0] for name in gradient} == {"make", "read"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_players_draw_noise_of_their_own(backend: str) -> None:
    compiled = compile_spec({**SMALL, "objective": "adversarial(x)"}, backend=backend)
    settings, batch = compiled.program.train, rows_of(compiled, 8)
    trainer = compiled.executable.trainer(
        start(compiled), batch, settings, steps=4, seed=0, device=Device("cpu", "float64")
    )
    drawn = []
    for _ in range(2):
        drawn += [trainer.noise(player, 8)["z@model"] for player in ("critic", "model")]
        trainer.advance(np.arange(8)[None])
    for number, one in enumerate(drawn):
        assert all(not np.isin(one, other).any() for other in drawn[:number])


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_critics_are_two_players_that_move_before_the_model(backend: str) -> None:
    spec = {
        **SMALL,
        "data": {name: {"shape": [2], "support": "real"} for name in ("x", "y")},
        "networks": dict.fromkeys(("make", "form", "judge", "rate"), "mlp([4])"),
        "model": {"z": "Normal(0, 1, shape=3)", "w": "Normal(0, 1, shape=3)", "x": "make(z)", "y": "form(w)"},
        "critics": {"x": "judge(x)", "y": "rate(y)"},
    }
    compiled = compile_spec(spec, backend=backend)
    owned = {name: groups for name, groups, _ in compiled.module.players}
    assert owned == {"critic_0": ("judge",), "critic_1": ("rate",), "model": ("make", "form")}
    batch = rows_of(compiled, 8)
    trainer = compiled.executable.trainer(
        start(compiled), batch, compiled.program.train, steps=2, seed=0, device=Device("cpu", "float64")
    )
    report = trainer.advance(np.arange(8)[None].repeat(2, 0))
    assert {"loss", "critic_1.loss", "model.loss", "critic_1.divergence"} <= report.keys()
    assert all(np.isfinite(report[name]).all() for name in ("loss", "critic_1.loss", "model.loss"))


def test_a_critic_that_no_term_trains_is_refused() -> None:
    spare = {**SMALL, "networks": {**SMALL["networks"], "spare": "mlp([4])"}, "objective": "adversarial(x)"}
    with pytest.raises(SpecError, match="nothing trains spare"):
        compile_spec({**spare, "critics": {"x": "judge(x)", "z": "spare(z)"}})


# ---- what samples alone train ----------------------------------------------------------------------------------------

SCORED = {
    **SMALL,
    "model": {"z": "Normal(0, 1, shape=3)", "x": "Normal(make(z), 0.5)"},
    "objective": "adversarial(x)",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_density_that_critics_alone_train_gets_no_guide(backend: str) -> None:
    compiled = compile_spec(SCORED, backend=backend)
    assert not compiled.program.guide
    assert compiled.module.players == (("critic", ("judge",), 1), ("model", ("make",), 1))
    assert compiled.derivation.status == "implicit"
    assert "a declared guide would give a lower bound" in compiled.derivation.capabilities["log_prob"].why
    trainer = compiled.executable.trainer(
        start(compiled), rows_of(compiled, 8), compiled.program.train, steps=1, seed=0, device=Device("cpu", "float64")
    )
    assert trainer.advance(np.arange(8)[None])["finite"].all()


def test_a_guide_that_something_reads_is_kept_and_exact_rules_still_apply() -> None:
    both = compile_spec({**SCORED, "objective": "elbo() + adversarial(x)"})
    assert [site.name for site in both.program.guide] == ["z"]
    assert both.derivation.status == "bound"
    again = compile_spec({**SCORED, "objective": "adversarial(x, source=reconstruction)"})
    assert [site.name for site in again.program.guide] == ["z"]
    mixture = {"c": "Categorical(probs=[0.3, 0.7])", "x": "Normal(make(one_hot(c, 2)), 0.5)"}
    summed = compile_spec({**SCORED, "model": mixture, "objective": "adversarial(x, fake=score_function)"})
    assert summed.derivation.status == "exact"
    assert summed.derivation.eliminated == {"c": "enumerate"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_sides_of_a_critic_are_evaluated_at_once(backend: str) -> None:
    compiled = compile_spec({**SMALL, "objective": "adversarial(x)"}, backend=backend)
    loss = compiled.source.split("def loss_critic")[1].split("\ndef ")[0]
    assert loss.count("judge(") == 1, loss


# ---- what is refused ------------------------------------------------------------------------------------------------

PAIR = {
    "dgmppl": 1,
    "name": "pair",
    "data": {"left": {"shape": [3], "support": "real"}, "right": {"shape": [3], "support": "real"}},
    "networks": {"make": "mlp([4])", "read": "mlp([4])", "judge": "mlp([4])"},
    "model": {"z": "Normal(0, 1, shape=4)", "left": "make(z)", "right": "Normal(read(z), 0.1)"},
}


@pytest.mark.parametrize("read", ["left", "right"])
def test_a_critic_that_reads_too_little_or_the_wrong_site_is_refused(read: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_spec({**PAIR, "critics": {read: f"judge({read})"}})
    (problem,) = caught.value.diagnostics
    said = problem.render()
    assert "no rule gives left a density, and nothing compares its samples with the data" in said
    assert "left: make(z)" in said
    assert "add to `critics`: `(left, right): CRITIC(left, right)`" in said

"""A loss that is not finite stops the run and says where: site, place in the spec, ranges; training's options hold."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.runs import checkpoints
from dgmppl.runs.folder import RunFolder
from dgmppl.runs.stopping import EarlyStopping, early_stopping

pytestmark = pytest.mark.usefixtures("quick_compilation")

SPECS = Path(__file__).resolve().parents[2] / "specs"
BACKENDS = ("numpyro", "pyro")

HEAD = """dgmppl: 1
name: wrong
data:
  x: {dataset: iris.features, transform: standardize()}
parameters:
  mu: learned(zeros(4))
model:
"""
TRAIN = "train: {optimizer: sgd(1e-2), steps: 20, batch_size: 32}\n"


def refused(tmp_path: Path, backend: str, text: str, **options: Any) -> str:
    spec = tmp_path / "wrong.yaml"
    spec.write_text(text)
    with pytest.raises(RunError) as error:
        dg.compile(spec, backend=backend).fit(**options)
    return str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_assertion_that_does_not_hold_is_named_with_its_place(tmp_path: Path, backend: str) -> None:
    said = refused(tmp_path, backend, HEAD + "  x: Normal(mu, checked(mu - 1, positive))\n" + TRAIN)
    assert "the loss is nan at step 1" in said
    assert "wrong.yaml:8:17: x: the assertion that it is positive does not hold" in said
    assert "value: -1 .. -1\n" in said
    assert "mu (parameters): 0 .. 0\n" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path, backend: str) -> None:
    said = refused(tmp_path, backend, HEAD + "  x: Normal(sqrt(abs(mu)), 1)\n" + TRAIN)
    assert "but its gradient is not finite, at step 1" in said
    assert "wrong.yaml:8:3: x: the gradient of the log density with respect to mu is not finite" in said


@pytest.mark.parametrize(
    ("backend", "limit"),
    [pytest.param("numpyro", "MAX_STEPS", marks=pytest.mark.slow), ("pyro", "MAX_EVALUATIONS")],
)
def test_an_equation_that_misses_its_tolerance_is_named_with_its_line(
    backend: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"dgmppl_{backend}.odes"), limit, 8)
    program = dg.compile(SPECS / "ffjord.yaml", backend=backend, overrides=[
        "networks.field=mlp([4], activation=tanh)", "bijectors.flow=ode(field, rtol=1e-12, atol=1e-9)",
        "data.x.size=16", "train.batch_size=8", "train.precision=float64",
    ])  # fmt: skip
    with pytest.raises(RunError) as error:
        program.fit(steps=1)
    said = str(error.value)
    assert "the first variable that is not finite is z" in said
    assert "flow.0: the differential equation was not solved as solver=dopri5, rtol=1e-12, atol=1e-09" in said
    assert "fix: a larger rtol and atol" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chain_that_crosses_steps_is_replayed_from_where_it_stood(tmp_path: Path, backend: str) -> None:
    """A step that is much too long: the next one's chain starts where the last left it, and runs away from there."""
    program = dg.compile(SPECS / "ebm_cd.yaml", backend=backend, overrides=[
        "objective.steps=3", "train.batch_size=16", "train.optimizer=sgd(1e12)", "networks.potential=mlp([8])",
    ])  # fmt: skip
    with pytest.raises(RunError, match="the loss is nan at step 2") as error:
        program.fit(steps=5, out=tmp_path / "run")
    said = str(error.value)
    assert "the first variable that is not finite is x_sampled" in said
    assert "specs/ebm.yaml:9:3: x: the Markov chain exploded" in said
    assert "take a smaller step_size" in said
    assert "potential (parameters): -" in said
    chain = checkpoints.latest(tmp_path / "run" / "checkpoints").state["state/x.chain"]
    assert f"x.chain (carried): {chain.min():.6g} .. {chain.max():.6g}" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_finite_parameters_stay_and_nothing_is_made_up(tmp_path: Path, backend: str) -> None:
    program = dg.compile(SPECS / "vae.yaml", backend=backend, overrides=[
        "networks.encoder=mlp([8])", "networks.decoder=mlp([8])", "train.optimizer=sgd(1e6)", "train.steps=50",
    ])  # fmt: skip
    with pytest.raises(RunError, match=r"vae\.yaml:1[01]:3: [xz]: ") as error:
        program.fit(out=tmp_path / "run")
    assert "(parameters): " in str(error.value)
    assert "x (data): 0 .. 1" in str(error.value)
    kept = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert all(np.isfinite(value).all() for value in kept.parameters.values())
    assert all(np.isfinite(record["loss"]) for record in RunFolder(tmp_path / "run").read_metrics())
    assert f"at step {kept.step + 1}" in str(error.value)


# ---- averages and early stopping ------------------------------------------------------------------------------------


def test_what_is_asked_of_a_fit_is_asked_of_the_averages(tmp_path: Path) -> None:
    """a_0 = p_0, a_t = d a_{t-1} + (1 - d) p_t over the parameters of an equal run without averages."""
    overrides = ["train.batch_size=all", "train.optimizer=sgd(1e-1)"]
    plain = dg.compile(SPECS / "gmm.yaml", backend="pyro", overrides=overrides)
    path = [plain.initial().parameters["loc"], *(plain.fit(steps=n).parameters["loc"] for n in range(1, 6))]
    expected = path[0].astype(np.float64)
    for value in path[1:]:
        expected = 0.7 * expected + 0.3 * value
    averaged = dg.compile(SPECS / "gmm.yaml", backend="pyro", overrides=[*overrides, "train.ema=0.7"])
    fitted = averaged.fit(steps=5, out=tmp_path / "run")
    # A dozen roundings of float32.
    np.testing.assert_allclose(fitted.parameters["loc"], expected, rtol=0, atol=1e-6)
    assert np.abs(expected - path[-1]).max() > 1e-3
    loaded = dg.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.parameters["loc"], fitted.parameters["loc"])
    np.testing.assert_array_equal(
        loaded.log_prob(fitted.data.train.raw), averaged.at(fitted.parameters).log_prob(fitted.data.train.raw)
    )  # type: ignore[union-attr]


def test_patience_is_counted_and_the_best_parameters_are_kept() -> None:
    losses = iter([3.0, 2.0, 2.5, 1.0, 1.0, 4.0])
    call = Call("early_stopping", (), (("patience", Literal(2)), ("every", Literal(5))))
    stopping = early_stopping(call, lambda _: next(losses))
    for number in range(6):
        assert not stopping.over
        stopping.look(5 * (number + 1), {"w": np.array(number)})
    assert stopping.over
    assert (stopping.best, stopping.best_step, stopping.every) == (1.0, 20, 5)
    assert stopping.parameters["w"] == 3
    again = EarlyStopping(lambda _: 0.0)
    again.restore(stopping.state())
    assert (again.best, again.best_step, again.waited, int(again.parameters["w"])) == (1.0, 20, 2, 3)
    with pytest.raises(RunError, match="early stopping"):
        again.restore({})


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_ends_after_so_many_looks_without_improvement(backend: str) -> None:
    """With a rate of nothing the first look is the best: the end comes `patience` looks later."""
    program = dg.compile(SPECS / "gmm.yaml", backend=backend, overrides=[
        "data.x.split={validation: 0.2, seed: 0}", "train.optimizer=sgd(1e-30)", "train.steps=500",
        "train.early_stopping=early_stopping(patience=3, every=7)",
    ])  # fmt: skip
    fitted = program.fit()
    assert fitted.records[-1]["step"] == 7 * (1 + 3)
    assert [record["step"] for record in fitted.records if "validation" in record] == [7, 14, 21, 28]


def test_early_stopping_without_rows_to_look_at_is_refused() -> None:
    program = dg.compile(
        SPECS / "gmm.yaml", backend="pyro", overrides=["train.early_stopping=early_stopping(patience=3)"]
    )
    with pytest.raises(RunError, match="needs validation rows; fix: a split"):
        program.fit(steps=5)

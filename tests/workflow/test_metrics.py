"""The metrics that a spec asks for by name, against closed forms and the statistics themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import dgmppl as dg
from dgmppl.api.metrics import COMPUTED
from dgmppl.backend import Draws
from dgmppl.cli.app import app
from dgmppl.ir.options import METRICS
from dgmppl.results import two_sample
from dgmppl.results.distances import sliced_wasserstein
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation")

PAIR: dict[str, Any] = {
    "dgmppl": 1,
    "name": "pair",
    "data": {"x": {"shape": [2]}},
    "parameters": {"slope": "learned(normal(2))"},
    "model": {"z": "Normal(0, 1)", "x": "Normal(slope * z, 0.5)"},
}
CODE: dict[str, Any] = {
    "dgmppl": 1,
    "name": "code",
    "data": {"x": {"shape": [2]}},
    "networks": {"embed": "linear()", "render": "mlp([4])"},
    "model": {"z": "Normal(0, 1, shape=3)", "x": "Normal(render(z), 1)"},
    "guide": {"z": "Normal(embed(x), 0.5)"},
}


def asking(spec: dict[str, Any], *metrics: str, **settings: Any) -> dict[str, Any]:
    """A spec that asks for metrics."""
    return {**spec, "evaluate": {"metrics": list(metrics), **settings}}


def evaluated(fit: dg.Fit) -> dict[str, dict[str, Any]]:
    """The metrics of a fit by name."""
    return {one["metric"]: one for one in fit.evaluate()["metrics"]}


def pairs(rows: int, seed: int = 0) -> np.ndarray:
    """Draws of the model `pair` at slopes (1, -2)."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((rows, 1)) * np.array([1.0, -2.0]) + 0.5 * draw.standard_normal((rows, 2))


def test_every_metric_is_computed_or_refused() -> None:
    refused = set(METRICS) - set(COMPUTED)
    assert set(COMPUTED) < set(METRICS)
    for name in sorted(refused):
        with pytest.raises(dg.UnsupportedError) as caught:
            dg.compile(asking(CODE, name)).source  # noqa: B018
        assert [one.code for one in caught.value.diagnostics] == ["not-lowered"]
        assert f"the metric '{name}'" in caught.value.diagnostics[0].message


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_compared_with_rows(backend: str) -> None:
    names = ("mmd", "energy_distance", "sliced_wasserstein(projections=50)", "wasserstein", "c2st")
    spec = asking(PAIR, *names, "log_likelihood", samples=300, seed=3)
    fit = dg.compile(spec, backend, {"x": pairs(1000)}).at({"slope": np.array([1.0, -2.0], np.float32)})
    found = evaluated(fit)
    rows = fit.loaded.train.arrays["x"][np.random.default_rng(3).permutation(1000)[:300]]
    samples = fit.draw(300, {}, seed=3)["x"]
    expected = {
        "mmd": two_sample.mmd(rows, samples),
        "energy_distance": two_sample.energy_distance(rows, samples),
        "sliced_wasserstein": sliced_wasserstein(rows, samples, directions=50),
        "wasserstein": two_sample.wasserstein(rows, samples),
        "c2st": two_sample.classifier_accuracy(rows, samples, seed=3),
    }
    for name, estimate in expected.items():
        assert (found[name]["value"], found[name]["standard_error"]) == pytest.approx(estimate, rel=1e-6), name
        assert (found[name]["rows"], found[name]["samples"], found[name]["site"]) == (300, 300, "x")
    # The parameters are those that the rows were drawn at.
    assert abs(found["mmd"]["value"]) < 4.0 * found["mmd"]["standard_error"]
    assert abs(found["c2st"]["value"] - 0.5) < 4.0 * found["c2st"]["standard_error"]
    assert found["log_likelihood"]["status"] == "exact"
    covariance = np.array([[1.25, -2.0], [-2.0, 4.25]])
    quadratic = np.einsum("ni,ij,nj->n", pairs(1000), np.linalg.inv(covariance), pairs(1000))
    exact = -0.5 * (quadratic.mean() + math.log(np.linalg.det(covariance)) + 2.0 * math.log(2.0 * math.pi))
    assert found["log_likelihood"]["value"] == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_units_whose_mean_does_not_move_are_inactive(backend: str) -> None:
    program = dg.compile(asking(CODE, "active_units", "iwae(particles=7)", "elbo"), backend, {"x": pairs(400)})
    weight = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.3]])
    fit = program.at(
        {**program.initial(0).parameters, "embed.layers.0.weight": weight, "embed.layers.0.bias": np.ones(3)}
    )
    found = evaluated(fit)
    assert (found["active_units"]["value"], found["active_units"]["unit"]) == (2.0, "of 3 dimensions")
    assert (found["iwae"]["particles"], found["elbo"]["particles"]) == (7, 1)
    assert found["iwae"]["value"] == pytest.approx(float(fit.iwae(pairs(400), 7).mean()), rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_are_predicted_from_covariates(backend: str) -> None:
    side = np.where(np.arange(200) % 2, 1.0, -1.0)
    labels = (side > 0).astype(np.int64)
    labels[:30] = 1 - labels[:30]
    spec = {
        "dgmppl": 1, "name": "side", "data": {"s": {"shape": []}, "y": {"shape": [], "support": "binary"}},
        "parameters": {"w": "learned(1.0)"}, "model": {"y": "Bernoulli(logits=w * s)"},
    }  # fmt: skip
    program = dg.compile(asking(spec, "accuracy(y)"), backend, {"s": side, "y": labels})
    found = evaluated(program.at({"w": np.asarray(6.0, np.float32)}))["accuracy"]
    assert found["value"] == pytest.approx(170 / 200)
    assert found["standard_error"] == pytest.approx(math.sqrt(0.85 * 0.15 / 200))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_guide_is_not_told_the_labels(backend: str) -> None:
    x = np.array([[2.0], [-2.0], [2.0], [-2.0]])
    labels = np.array([0.0, 1.0, 1.0, np.nan])  # of the three that are known the guide finds the last alone
    spec = {
        "dgmppl": 1, "name": "half", "networks": {"sort": "linear()"},
        "data": {"x": {"shape": [1]}, "y": {"shape": [], "support": "integer(2)"}},
        "model": {"y": "Categorical(probs=[0.5, 0.5])", "x": "Normal(4 * y - 2, 1)"},
        "guide": {"y": "Categorical(logits=sort(x))"}, "objective": "elbo()",
    }  # fmt: skip
    program = dg.compile(asking(spec, "accuracy(y)"), backend, {"x": x, "y": labels})
    fit = program.at({"sort.layers.0.weight": np.array([[-9.0], [9.0]]), "sort.layers.0.bias": np.zeros(2)})
    found = evaluated(fit)["accuracy"]
    assert (found["value"], found["rows"]) == (pytest.approx(1 / 3), 3)


def test_leaving_out_rows_meets_the_conjugate_predictive() -> None:
    x = np.random.default_rng(0).normal(1.0, 1.0, 30)
    spec = {
        "dgmppl": 1, "name": "mean", "data": {"x": {"shape": []}}, "parameters": {"mu": "Normal(0, 10)"},
        "model": {"x": "Normal(mu, 1)"}, "infer": "nuts(warmup=10, draws=10, chains=1)",
    }  # fmt: skip
    program = dg.compile(asking(spec, "loo", "waic"), "numpyro", {"x": x})
    precision = 0.01 + len(x)
    drawn = np.random.default_rng(1).normal(x.sum() / precision, precision**-0.5, (4, 500))
    draws = Draws({"mu": drawn}, engine="nuts()", sampler="nuts")
    fit = dg.Fit(program, {"mu": np.asarray(drawn.mean(), np.float32)}, draws, program.load_data())
    found = evaluated(fit)
    rest = precision - 1.0
    exact = norm.logpdf(x, (x.sum() - x) / rest, np.sqrt(1.0 + 1.0 / rest))
    for name in ("loo", "waic"):
        # 2,000 draws know each row's density to a few thousandths.
        assert found[name]["value"] == pytest.approx(exact.mean(), abs=0.005)
        assert found[name]["standard_error"] == pytest.approx(exact.std(ddof=1) / math.sqrt(len(x)), rel=0.05)
        assert "0 of them with a" in found[name]["why"]


def test_what_a_model_cannot_have_says_why() -> None:
    fit = dg.compile(asking(PAIR, "bits_per_dim", "elbo", "loo", "accuracy(x)"), bindings={"x": pairs(20)}).initial()
    found = evaluated(fit)
    assert all(one["value"] is None and one["status"] == "none" for one in found.values())
    assert "some observed element is continuous" in found["bits_per_dim"]["why"]
    assert "no evidence lower bound" in found["elbo"]["why"]
    assert "point parameters" in found["loo"]["why"]
    assert "x has none" in found["accuracy"]["why"]


def test_a_finished_run_is_evaluated_otherwise(tmp_path: Path) -> None:
    run = tmp_path / "run"
    np.save(tmp_path / "x.npy", pairs(60))
    spec = {**PAIR, "data": {"x": {"file": str(tmp_path / "x.npy")}}}
    dg.compile(spec).initial().save(run)
    result = CliRunner().invoke(app, ["evaluate", str(run), "--set", "evaluate.metrics=[mmd, bits_per_dim]"])
    assert result.exit_code == 0
    assert "train x mmd: " in result.output
    assert "train bits per dim: not to be had: bits per dimension are of discrete data" in result.output
    refused = CliRunner().invoke(app, ["evaluate", str(run), "--set", "train.steps=5"])
    assert isinstance(refused.exception, dg.RunError)
    assert "only how it is evaluated can be changed" in str(refused.exception)
    wrong = CliRunner().invoke(app, ["evaluate", str(run), "--set", "evaluate.metrics=[mdm]"])
    assert isinstance(wrong.exception, dg.SpecError)
    assert "write `mmd`" in str(wrong.exception)


def test_as_many_samples_as_are_asked_for() -> None:
    spec = asking(PAIR, "sliced_wasserstein(projections=5)", samples=2500)
    fit = dg.compile(spec, "pyro", {"x": pairs(3000)}).at({"slope": np.array([1.0, -2.0], np.float32)})
    found = evaluated(fit)["sliced_wasserstein"]
    assert (found["rows"], found["samples"]) == (2500, 2500)

"""Gradients of emitted losses: between backends, against the libraries' own, and in expectation.

Float64, and the same noise on both sides; 1e-9 is justified in `test_estimators`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.data import load
from tests.conformance.libraries import divergence, estimate, log_prob, sites
from tests.support import BACKENDS, BATCH, SPECS, library_log_density, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
_LOWERED = ("vae", "iwae", "gmm", "ppca", "hierarchical_vae", "ss_vae", "eight_schools", "radon", "bnn")


@pytest.mark.parametrize("name", _LOWERED)
def test_losses_and_their_gradients_agree_between_backends(name) -> None:
    posterior = name in {"eight_schools", "radon", "bnn"}
    overrides = ["infer=map(steps=1)"] if posterior else []
    pair = [compile_spec(SPECS / f"{name}.yaml", backend=backend, overrides=overrides) for backend in BACKENDS]
    values = start(pair[0], 2)
    columns = load(pair[0].spec.data, seed=0).train.arrays
    rows = len(next(iter(columns.values())))
    size = rows if posterior else 16
    batch = {column: array[:size] if len(array) == rows else array for column, array in columns.items()}
    if name == "ss_vae":
        batch["y.observed"] = np.arange(size) < 5
        batch["y"] = np.where(batch["y.observed"], np.arange(size) % 10, 0)
    (player,) = (one for one, _, _ in pair[0].module.players)
    noise = noise_for(pair[0].module.function(f"loss_{player}"), size, seed=5)
    (first, first_slopes, first_report), (second, second_slopes, second_report) = (
        one.executable.loss(player, values, batch, noise=noise, gradient=True) for one in pair
    )
    np.testing.assert_allclose(first, second, **TIGHT)
    assert set(first_slopes) == set(second_slopes) == {spec.name for spec in pair[0].module.parameters}
    assert set(first_report) == set(second_report)
    for key, slope in first_slopes.items():
        np.testing.assert_allclose(slope, second_slopes[key], err_msg=key, **TIGHT)
        assert np.abs(slope).max() > 0, f"{key} has no gradient"
    for key, entry in first_report.items():
        np.testing.assert_allclose(entry, second_report[key], err_msg=key, **TIGHT)


SMALL = {
    "dgmppl": 1,
    "name": "small",
    "data": {"dots": {"values": [[0.3, -1.1], [1.2, 0.4], [-0.7, 0.9]]}},
    "networks": {"up": "mlp([3], activation=tanh)", "down": "mlp([3], activation=tanh)"},
    "model": {"code": "Normal(0, 1, shape=2)", "dots": "Normal(up(code), 0.5)"},
    "guide": {"code": "Normal(**down(dots))"},
    "objective": "iwae(particles=3)",
}
# A batch that repeats its rows averages over as many independent draws of the noise.
REPEATS, DRAWS = 60, 150


def _repeated(spec: dict[str, Any], column: str) -> dict[str, Any]:
    return {column: np.tile(np.asarray(spec["data"][column]["values"]), (REPEATS, 1))}


def test_doubly_reparameterized_gradient_is_the_plain_one_in_expectation() -> None:
    """Paired: both gradients at the same noise. NumPyro's loss has this one's gradient, by the test above."""
    compiled = compile_spec(SMALL, backend="pyro")
    values, batch = start(compiled, 3, jitter=0.3), _repeated(SMALL, "dots")
    rows = len(batch["dots"])
    doubly: dict[str, list[Any]] = {}
    plain: dict[str, list[Any]] = {}
    for draw in range(DRAWS):
        theirs = estimate(compiled, "RenyiELBO", values, batch, particles=3, gradient=True, seed=draw, rows=rows)
        _, gradient, _ = compiled.executable.loss("model", values, batch, noise=theirs.noise, gradient=True)
        for name, slope in gradient.items():
            doubly.setdefault(name, []).append(slope)
            plain.setdefault(name, []).append(-theirs.gradient[name.replace(".", "_")] / rows)
    for name in doubly:
        one, other = np.array(doubly[name]), np.array(plain[name])
        if name.startswith("up."):
            np.testing.assert_allclose(one, other, err_msg=name, **TIGHT)
            continue
        assert np.abs(one - other).max() > 1e-3, "the guide's gradient is the plain one at every draw"
        error = (one - other).std(0, ddof=1) / np.sqrt(DRAWS)
        assert (np.abs((one - other).mean(0)) <= 4 * error).all(), name
        assert np.linalg.norm(error) < 0.1 * np.linalg.norm(one.mean(0)), "too few draws to see a difference"


CLASSES = {
    "dgmppl": 1,
    "name": "classes",
    "data": {"dots": SMALL["data"]["dots"]},
    "parameters": {"centre": "learned(normal(3, 2))", "share": "learned(simplex(3))"},
    "networks": {"sort": "mlp([3], activation=tanh)"},
    "model": {"which": "Categorical(probs=share)", "dots": "Normal(centre[which], 0.8)"},
    "guide": {"which": "Categorical(logits=sort(dots))"},
}
LAYERED = {
    **CLASSES,
    "name": "layered",
    "networks": {**CLASSES["networks"], "up": "mlp([3], activation=tanh)", "down": "mlp([3], activation=tanh)"},
    "model": {
        "which": "Categorical(probs=share)",
        "code": "Normal(centre[which], 1.0)",
        "dots": "Normal(up(code), 0.6)",
    },
    "guide": {"which": "Categorical(logits=sort(dots))", "code": "Normal(**down(dots, one_hot(which, 3)))"},
}


def _estimator(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return {**spec, "objective": f"elbo(particles=4, estimator={{which: {name}()}})"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", [CLASSES, LAYERED], ids=["classes", "layered"])
def test_score_function_gradient_is_the_enumerated_one_in_expectation(spec, backend) -> None:
    scored = compile_spec(_estimator(spec, "score_function"), backend=backend)
    summed = compile_spec(_estimator(spec, "enumerate"), backend=backend)
    values, batch = start(scored, 4, jitter=0.3), _repeated(spec, "dots")
    assert [entry.kind for entry in scored.module.function("loss_model").noise if entry.name == "which"] == ["gumbel"]
    assert "which" not in {entry.name for entry in summed.module.function("loss_model").noise}
    rows = len(batch["dots"])

    def gradients(compiled: Compilation, seed: int) -> dict[str, Any]:
        noise = noise_for(compiled.module.function("loss_model"), rows, seed=seed)
        return compiled.executable.loss("model", values, batch, noise=noise, gradient=True)[1]

    first = [gradients(scored, draw) for draw in range(DRAWS)]
    second = [gradients(summed, DRAWS + draw) for draw in range(DRAWS if spec is LAYERED else 1)]
    for name in first[0]:
        samples, exact = (np.array([one[name] for one in several]) for several in (first, second))
        spread = exact.var(0, ddof=1) / len(exact) if len(exact) > 1 else 0.0
        error = np.sqrt(samples.var(0, ddof=1) / DRAWS + spread)
        assert (np.abs(samples.mean(0) - exact.mean(0)) <= 3 * error + 1e-12).all(), name
        assert np.linalg.norm(error) < 0.1 * np.linalg.norm(exact.mean(0)), f"too few draws to see an error in {name}"


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_score_function_loss_has_the_bounds_value(backend) -> None:
    """What is added for the gradient is zero: the loss is the plain average over particles."""
    compiled = compile_spec(_estimator(LAYERED, "score_function"), backend=backend)
    values, batch = start(compiled, 4), {"dots": np.asarray(CLASSES["data"]["dots"]["values"])}
    noise = noise_for(compiled.module.function("loss_model"), 3, seed=1)
    loss, _, _ = compiled.executable.loss("model", values, batch, noise=noise)
    drawn = compiled.executable.call("encode", values, batch, noise=noise, particles=4)
    total = np.zeros(3)
    for particle in range(4):
        latents = {name: entry[particle] for name, entry in drawn.items()}
        model, guide = (sites(compiled, part, values, batch, latents) for part in ("model", "guide"))
        for site in ("which", "code", "dots"):
            total += log_prob(backend, model.densities[site], model.values[site]) / 4
        for site, _ in _closed(compiled):
            total -= log_prob(backend, model.densities[site], model.values[site]) / 4
            total -= divergence(backend, guide.densities[site], model.densities[site]) / 4
        for site in {"which", "code"} - {site for site, _ in _closed(compiled)}:
            total -= log_prob(backend, guide.densities[site], guide.values[site]) / 4
    np.testing.assert_allclose(-loss, total.mean(), **TIGHT)


def _closed(compiled: Compilation) -> list[tuple[str, str]]:
    """(site, its entry in the report) of the closed-form divergences in the loss."""
    report = compiled.module.function("loss_model").body[-1].report
    return [(entry.removeprefix("kl_"), entry) for entry, _ in report if entry.startswith("kl_")]


def _classifier(gradient: dict[str, Any]) -> float:
    return max(float(np.abs(slope).max()) for name, slope in gradient.items() if name.startswith("classifier."))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_labelled_rows_give_the_classifier_no_gradient_but_through_supervision(program, backend) -> None:
    compiled, values, batch = program("ss_vae", backend)
    bare = compile_spec(SPECS / "ss_vae.yaml", backend=backend, overrides=["objective=elbo()"])
    noise = noise_for(bare.module.function("loss_model"), BATCH, seed=1)
    label = np.arange(BATCH) % 10

    def gradient(one: Compilation, given: Any) -> dict[str, Any]:
        columns = {"x": batch["x"], "y": np.where(given, label, 0), "y.observed": given}
        return one.executable.loss("model", values, columns, noise=noise, gradient=True)[1]

    every, some = np.ones(BATCH, bool), np.arange(BATCH) < 3
    assert _classifier(gradient(bare, every)) == 0.0
    assert _classifier(gradient(bare, some)) > 1e-6
    assert _classifier(gradient(compiled, every)) > 1e-6
    # The unlabelled rows alone: their own mean, times their share of the batch.
    rest = {"x": batch["x"][3:], "y": np.zeros(3, np.int64), "y.observed": np.zeros(3, bool)}
    alone = bare.executable.loss(
        "model", values, rest, noise={name: entry[..., 3:, :] for name, entry in noise.items()}, gradient=True
    )[1]
    for name, slope in gradient(bare, some).items():
        if name.startswith("classifier."):
            np.testing.assert_allclose(slope, 0.5 * alone[name], err_msg=name, **TIGHT)
    added = {
        name: slope - gradient(bare, some)[name]
        for name, slope in gradient(compiled, some).items()
        if not name.startswith("classifier.")
    }
    assert max(np.abs(slope).max() for slope in added.values()) == 0.0, "supervision reaches more than q(y|x)"


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_importance_weighted_score_function_gradient_is_the_enumerated_one(backend) -> None:
    """Mnih and Rezende's gradient against the slope of E[bound], summed over all pairs of states, along a direction."""
    compiled = compile_spec({**CLASSES, "objective": "iwae(particles=2)"}, backend=backend)
    batch = {"dots": np.asarray(CLASSES["data"]["dots"]["values"])[:1]}
    values = start(compiled, 4, jitter=0.3)
    generator = np.random.default_rng(8)
    direction = {name: generator.standard_normal(value.shape) for name, value in values.items() if name != "share"}
    direction["share"] = np.zeros_like(values["share"])

    def expected(step: float) -> float:
        moved = {name: value + step * direction[name] for name, value in values.items()}
        guide = compiled.executable.library_guide(moved)
        weights, probabilities = [], []
        for state in range(3):
            forced = {"which": np.where(np.arange(3) == state, 1e6, 0.0)[None, None]}
            call = compiled.executable.call("log_weights", moved, batch, noise=forced, particles=1)
            weights.append(call["value"].item())
            held = {"which": np.array([state])}
            probabilities.append(np.exp(library_log_density(backend, guide, batch, held)))
        pairs = np.logaddexp(np.array(weights)[:, None], np.array(weights)) - np.log(2)
        return float(np.outer(probabilities, probabilities).ravel() @ pairs.ravel())

    slope = (expected(1e-5) - expected(-1e-5)) / 2e-5
    draws = []
    for seed in range(DRAWS):
        noise = noise_for(compiled.module.function("loss_model"), 1, seed=seed)
        gradient = compiled.executable.loss("model", values, batch, noise=noise, gradient=True)[1]
        draws.append(-sum((gradient[name] * direction[name]).sum() for name in direction if name != "share"))
    error = np.std(draws, ddof=1) / np.sqrt(DRAWS)
    assert abs(np.mean(draws) - slope) <= 3 * error
    assert error < 0.2 * abs(slope), "too few draws to see a wrong gradient"

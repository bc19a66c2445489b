"""Emitted bounds, losses and gradients against the libraries' own estimators, and against their expectations.

Float64, and the same noise on both sides. Sums of some hundred terms of size one to ten carry rounding errors of about
1e-13: 1e-9 leaves room for other orders of summation and for none of the mistakes that these tests are after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.data import load
from tests.conformance.libraries import divergence, estimate, log_prob, sites
from tests.support import BACKENDS, SPECS, library_log_density, noise_for, start

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
BATCH, PARTICLES = 6, 4
AMORTIZED = ("vae", "iwae", "hierarchical_vae")


@pytest.fixture(scope="module")
def program():
    """Specs compiled once: (name, backend) -> compilation, parameters, a mini-batch."""
    known: dict[tuple[str, str], tuple[Compilation, Any, Any]] = {}

    def find(name: str, backend: str):
        if (name, backend) not in known:
            compiled = compile_spec(SPECS / f"{name}.yaml", backend=backend)
            columns = load(compiled.spec.data, seed=0).train.arrays
            batch = {column: array[:BATCH] for column, array in columns.items()}
            known[name, backend] = compiled, start(compiled, 1), batch
        return known[name, backend]

    return find


def _log_weights(compiled, values, batch, noise):
    particles = len(next(iter(noise.values())))
    return compiled.executable.call("log_weights", values, batch, noise=noise, particles=particles)["value"]


# ---- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", AMORTIZED)
@pytest.mark.parametrize("rows", [BATCH, 1000])
def test_log_weights_average_to_the_librarys_elbo_scaled_to_all_rows(program, name, backend, rows) -> None:
    compiled, values, batch = program(name, backend)
    theirs = estimate(compiled, "Trace_ELBO", values, batch, particles=PARTICLES, rows=rows)
    ours = _log_weights(compiled, values, batch, theirs.noise)
    assert ours.shape == (PARTICLES, BATCH)
    np.testing.assert_allclose(rows / BATCH * ours.mean(0).sum(), theirs.elbo, **TIGHT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_left_out_are_those_of_the_spec(program, backend) -> None:
    compiled, values, batch = program("vae", backend)
    whole = len(load(compiled.spec.data, seed=0).train.arrays["x"])
    theirs = estimate(compiled, "Trace_ELBO", values, batch)
    ours = _log_weights(compiled, values, batch, theirs.noise)
    np.testing.assert_allclose(whole / BATCH * ours.sum(), theirs.elbo, **TIGHT)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [BATCH, 1000])
def test_loss_is_the_librarys_mean_field_elbo_per_datum_with_its_gradient(program, backend, rows) -> None:
    compiled, values, batch = program("vae", backend)
    theirs = estimate(compiled, "TraceMeanField_ELBO", values, batch, gradient=True, rows=rows)
    noise = {name: entry[0] for name, entry in theirs.noise.items()}
    loss, gradient, report = compiled.executable.loss("model", values, batch, noise=noise, gradient=True)
    np.testing.assert_allclose(-rows * loss, theirs.elbo, **TIGHT)
    assert report["loss"] == pytest.approx(loss, rel=1e-12)
    assert {name.replace(".", "_") for name in gradient} == set(theirs.gradient)
    for name, slope in gradient.items():
        np.testing.assert_allclose(-rows * slope, theirs.gradient[name.replace(".", "_")], err_msg=name, **TIGHT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_elbo_with_closed_forms_is_the_librarys_mean_field_elbo_over_particles(program, backend) -> None:
    compiled, values, batch = program("vae", backend)
    theirs = estimate(compiled, "TraceMeanField_ELBO", values, batch, particles=PARTICLES, rows=BATCH)
    ours = compiled.executable.call("elbo", values, batch, noise=theirs.noise, particles=PARTICLES)["value"]
    np.testing.assert_allclose(ours.sum(), theirs.elbo, **TIGHT)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "closed"), [("vae", {"z"}), ("hierarchical_vae", {"z2"})])
def test_loss_is_made_of_the_librarys_terms(program, name, closed, backend) -> None:
    """The terms site by site: a closed-form KL where the report names one, log p - log q at the draw elsewhere."""
    compiled, values, batch = program(name, backend)
    noise = noise_for(compiled.module.function("loss_model"), BATCH, seed=4)
    loss, _, report = compiled.executable.loss("model", values, batch, noise=noise)
    assert {entry.removeprefix("kl_") for entry in report if entry.startswith("kl_")} == closed
    drawn = compiled.executable.call("encode", values, batch, noise={key: one[None] for key, one in noise.items()})
    latents = {key: one[0] for key, one in drawn.items()}
    model = sites(compiled, "model", values, batch, latents)
    guide = sites(compiled, "guide", values, batch, latents)
    total = log_prob(backend, model.densities["x"], model.values["x"])
    for site in latents:
        if site in closed:
            total = total - divergence(backend, guide.densities[site], model.densities[site])
        else:
            total = total + log_prob(backend, model.densities[site], model.values[site])
            total = total - log_prob(backend, guide.densities[site], guide.values[site])
    np.testing.assert_allclose(-loss, total.mean(), **TIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_importance_weighted_loss_is_the_librarys_renyi_bound(program, backend) -> None:
    """At alpha = 0, row by row inside the data plate. The decoder's gradient is the plain one (q alone has DReG's)."""
    compiled, values, batch = program("iwae", backend)
    particles = compiled.module.function("loss_model").particles
    assert particles == 8
    theirs = estimate(compiled, "RenyiELBO", values, batch, particles=particles, gradient=True, rows=BATCH)
    loss, gradient, _ = compiled.executable.loss("model", values, batch, noise=theirs.noise, gradient=True)
    np.testing.assert_allclose(-BATCH * loss, theirs.elbo, **TIGHT)
    weights = _log_weights(compiled, values, batch, theirs.noise)
    np.testing.assert_allclose((logsumexp(weights, 0) - np.log(particles)).sum(), theirs.elbo, **TIGHT)
    decoder = [name for name in gradient if name.startswith("decoder.")]
    assert decoder
    for name in decoder:
        np.testing.assert_allclose(-BATCH * gradient[name], theirs.gradient[name.replace(".", "_")], **TIGHT)


# ---- integers in float64 programs -----------------------------------------------------------------------------------

# Densities of integers, or of functions of integers, in which a literal stands where a parameter's dtype would tell.
# Written with x for the column, s = 1.7 for the one learned parameter.
_INTEGERS = {
    "Normal((x + 0.1) / 3 + x / 7, s)": lambda x, s: stats.norm((x + 0.1) / 3 + x / 7, s).logpdf(0.0),
    "Normal(0.3 - x, s)": lambda x, s: stats.norm(0.3 - x, s).logpdf(0.0),
    "Normal(where(x > 1, 0.1, 0.7), s)": lambda x, s: stats.norm(np.where(x > 1, 0.1, 0.7), s).logpdf(0.0),
    "Normal(exp(0.1 * x) + sqrt(x), s)": lambda x, s: stats.norm(np.exp(0.1 * x) + np.sqrt(x), s).logpdf(0.0),
}
_COUNTS = {
    "Poisson(2.3)": lambda x, _: stats.poisson(2.3).logpmf(x),
    "Geometric(probs=0.3)": lambda x, _: stats.geom(0.3, loc=-1).logpmf(x),
    "NegativeBinomial(2.3, s)": lambda x, s: stats.nbinom(s, s / (s + 2.3)).logpmf(x),
    "NegativeBinomial(s, 2.3)": lambda x, s: stats.nbinom(2.3, 2.3 / (s + 2.3)).logpmf(x),
    "Poisson(s)": lambda x, s: stats.poisson(s).logpmf(x),
    "Geometric(logits=0.3)": lambda x, _: stats.geom(expit(0.3), loc=-1).logpmf(x),
    "Binomial(9, probs=0.3)": lambda x, _: stats.binom(9, 0.3).logpmf(x),
    "Binomial(9, logits=0.3)": lambda x, _: stats.binom(9, expit(0.3)).logpmf(x),
    "Bernoulli(logits=0.3)": lambda x, _: stats.bernoulli(expit(0.3)).logpmf(x),
    "Bernoulli(0.3)": lambda x, _: stats.bernoulli(0.3).logpmf(x),
}
_SUPPORTS = {"Binomial": "integer(10)", "Bernoulli": "binary"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("density", [*_INTEGERS, *_COUNTS])
def test_integers_do_not_fall_back_to_single_precision(density, backend) -> None:
    counted, support = density in _COUNTS, _SUPPORTS.get(density.split("(")[0], "count")
    numbers = np.array([0, 1, 1, 0, 1] if support == "binary" else [0, 1, 2, 5, 9])
    data: dict[str, Any] = {"x": {"values": numbers.tolist(), "support": support}}
    data["y"] = {"values": [0.0] * 5, "support": "real"}
    model = {"x": density, "y": "Normal(0.2, s)"} if counted else {"y": density}
    spec = {"dgmppl": 1, "name": "integers", "data": data, "model": model, "parameters": {"s": "learned(positive())"}}
    compiled = compile_spec(spec, backend=backend)
    batch = {"x": numbers, "y": np.zeros(5)}
    found = compiled.executable.call("log_prob", {"s": np.array(1.7)}, batch)["value"]
    expected = (_COUNTS if counted else _INTEGERS)[density](numbers, 1.7)
    expected = expected + stats.norm(0.2, 1.7).logpdf(0.0) if counted else expected
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_of_integers_alone_has_a_density(backend) -> None:
    """Nothing real is at hand for a dtype: the density is in single precision, whose relative error is 6e-8."""
    spec = {"dgmppl": 1, "name": "alone", "data": {"x": {"values": [0, 3, 7], "support": "count"}}}
    compiled = compile_spec({**spec, "model": {"x": "Poisson(2.3)"}}, backend=backend)
    numbers = np.array([0, 3, 7])
    found = compiled.executable.call("log_prob", {}, {"x": numbers})["value"]
    np.testing.assert_allclose(found, stats.poisson(2.3).logpmf(numbers), rtol=1e-6)


# ---- enumeration ----------------------------------------------------------------------------------------------------


def _enumerated(compiled, values, batch, **options):
    if compiled.backend == "numpyro":
        pytest.importorskip("funsor", reason="NumPyro enumerates with funsor")
    return estimate(compiled, "TraceEnum_ELBO", values, batch, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [BATCH, 150])
def test_exact_mixture_likelihood_is_the_librarys_enumerated_elbo(program, backend, rows) -> None:
    compiled, values, batch = program("gmm", backend)
    theirs = _enumerated(compiled, values, batch, rows=rows)
    ours = compiled.executable.call("log_prob", values, batch)["value"]
    np.testing.assert_allclose(rows / BATCH * ours.sum(), theirs.elbo, **TIGHT)
    np.testing.assert_allclose(compiled.executable.loss("model", values, batch)[0], -theirs.elbo / rows, **TIGHT)


def _hidden(batch):
    """The batch of a semi-supervised model with every label missing."""
    return {"x": batch["x"], "y": np.zeros(BATCH, np.int64), "y.observed": np.zeros(BATCH, bool)}


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_unlabelled_rows_are_the_librarys_enumerated_elbo(program, backend) -> None:
    """y is enumerated under q(y|x) and z is drawn given each state: NumPyro does so with noise of the state's own."""
    compiled, values, batch = program("ss_vae", backend)
    theirs = _enumerated(compiled, values, {"x": batch["x"]}, particles=1, rows=BATCH)
    noise = {"z": np.moveaxis(theirs.noise["z"], 0, -3)}  # [states, particles, rows, 16], or without states
    ours = compiled.executable.call("log_weights", values, _hidden(batch), noise=noise, particles=1)["value"]
    np.testing.assert_allclose(ours.sum(), theirs.elbo, **TIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("labelled", [0, 2, BATCH])
def test_partly_labelled_rows_are_summed_by_hand_from_the_librarys_densities(program, backend, labelled) -> None:
    """q(y|x)-weighted sums over y in rows without a label; log p(x, y, z) - log q(z|x, y) in rows with one."""
    compiled, values, batch = program("ss_vae", backend)
    noise = noise_for(compiled.module.function("log_weights"), BATCH, 1, seed=2)
    given = np.arange(BATCH) < labelled
    label = np.arange(BATCH) % 10
    ours = compiled.executable.call(
        "log_weights", values, {"x": batch["x"], "y": np.where(given, label, 0), "y.observed": given}, noise=noise
    )["value"][0]
    table, share = [], []
    for state in range(10):
        latents = {"y": np.full(BATCH, state)}
        first = sites(compiled, "guide", values, {"x": batch["x"]}, {**latents, "z": np.zeros((BATCH, 16))})
        base = first.densities["z"]
        while hasattr(base, "base_dist"):
            base = base.base_dist
        loc, scale = (np.asarray(one.detach() if hasattr(one, "detach") else one) for one in (base.loc, base.scale))
        latents["z"] = loc + scale * noise["z"][0]
        model = sites(compiled, "model", values, {"x": batch["x"]}, latents)
        guide = sites(compiled, "guide", values, {"x": batch["x"]}, latents)
        joint = sum(log_prob(backend, model.densities[site], model.values[site]) for site in ("x", "y", "z"))
        table.append(joint - log_prob(backend, guide.densities["z"], guide.values["z"]))
        share.append(log_prob(backend, guide.densities["y"], guide.values["y"]))
    terms, logits = np.array(table), np.array(share)
    hidden = (np.exp(logits) * (terms - logits)).sum(0)
    np.testing.assert_allclose(ours, np.where(given, terms[label, np.arange(BATCH)], hidden), **TIGHT)


# ---- gradients ------------------------------------------------------------------------------------------------------

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

"""Emitted bounds and losses against the libraries' own estimators.

Float64, and the same noise on both sides. Sums of some hundred terms of size one to ten carry rounding errors of about
1e-13: 1e-9 leaves room for other orders of summation and for none of the mistakes that these tests are after.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from dgmppl.data import load
from tests.conformance.libraries import divergence, estimate, log_prob, sites
from tests.support import BACKENDS, BATCH, noise_for

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
PARTICLES = 4
AMORTIZED = ("vae", "iwae", "hierarchical_vae")


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

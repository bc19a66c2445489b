"""The emitted `model` and `guide` as programs of their library: its engines, autoguides and predictions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.infer
import numpyro.infer.autoguide
import optax
import pyro
import pyro.infer
import pyro.infer.autoguide
import pyro.optim
import pytest
import torch

from tests.conformance.libraries import nothing
from tests.conformance.library_runs import ROWS, WIDTH, Run, bits, canonical_run
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation", "exact_libraries")


# ---- stochastic variational inference -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO"])
def test_pyro_svi_trains_the_emitted_guide_and_leaves_the_store_empty(kind) -> None:
    run = Run(bits(), "pyro")
    program = run.compiled.executable.namespace.Program()
    svi = pyro.infer.SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), getattr(pyro.infer, kind)())
    losses = [svi.step(**run.data) for _ in range(150)]
    assert np.mean(losses[-30:]) < np.mean(losses[:30])
    assert not list(pyro.get_param_store().keys())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO"])
def test_numpyro_svi_trains_the_emitted_guide(kind) -> None:
    run = Run(bits(), "numpyro")
    svi = numpyro.infer.SVI(run.model, run.guide, optax.adam(1e-2), getattr(numpyro.infer, kind)())
    result = svi.run(jax.random.key(0), 200, progress_bar=False, **run.data)
    assert result.losses[-40:].mean() < result.losses[:40].mean()
    assert set(result.params) == {"up$params", "down$params"}


@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDelta", "AutoLowRankMultivariateNormal"])
def test_pyro_autoguides_fit_the_model(kind) -> None:
    run = canonical_run("eight_schools", "pyro")
    guide = getattr(pyro.infer.autoguide, kind)(run.model)
    svi = pyro.infer.SVI(run.model, guide, pyro.optim.Adam({"lr": 3e-2}), pyro.infer.Trace_ELBO())
    losses = [svi.step(**run.data) for _ in range(200)]
    assert np.mean(losses[-40:]) < np.mean(losses[:40])
    fitted = guide.median(**run.data)
    assert {name: tuple(value.shape) for name, value in fitted.items()} == {"mu": (), "tau": (), "theta": (8,)}
    assert fitted["tau"] > 0
    assert all(name.startswith(kind) for name in pyro.get_param_store()), "the model put parameters into the store"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDelta", "AutoLowRankMultivariateNormal"])
def test_numpyro_autoguides_fit_the_model(kind) -> None:
    run = canonical_run("eight_schools", "numpyro")
    guide = getattr(numpyro.infer.autoguide, kind)(run.model)
    svi = numpyro.infer.SVI(run.model, guide, optax.adam(3e-2), numpyro.infer.Trace_ELBO())
    result = svi.run(jax.random.key(0), 300, progress_bar=False, **run.data)
    assert result.losses[-60:].mean() < result.losses[:60].mean()
    fitted = guide.median(result.params)
    assert {name: value.shape for name, value in fitted.items()} == {"mu": (), "tau": (), "theta": (8,)}
    assert fitted["tau"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_autoguide_over_a_networks_weights(backend) -> None:
    """The sites `net.layers.0.weight`, ... are latents like any other."""
    run = canonical_run("bnn", backend)
    if backend == "pyro":
        guide = pyro.infer.autoguide.AutoNormal(run.model)
        svi = pyro.infer.SVI(run.model, guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
        losses = np.array([svi.step(**run.data) for _ in range(100)])
        fitted = guide.median(**run.data)
    else:
        guide = numpyro.infer.autoguide.AutoNormal(run.model)
        svi = numpyro.infer.SVI(run.model, guide, optax.adam(1e-2), numpyro.infer.Trace_ELBO())
        result = svi.run(jax.random.key(0), 100, progress_bar=False, **run.data)
        losses, fitted = np.asarray(result.losses), guide.median(result.params)
    assert losses[-20:].mean() < losses[:20].mean()
    assert set(fitted) == {"sigma", *(f"net.layers.{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias"))}


def test_pyro_trains_learned_parameters_inside_their_constraints() -> None:
    run = canonical_run("gmm", "pyro")
    program = run.compiled.executable.namespace.Program()
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    data = {"x": run.data["x"].float()}
    svi = pyro.infer.SVI(program.model, nothing, pyro.optim.Adam({"lr": 5e-2}), elbo)
    losses = [svi.step(**data) for _ in range(60)]
    assert losses[-1] < losses[0]
    assert float(program.model.weights.detach().sum()) == pytest.approx(1.0, abs=1e-5)
    assert (program.model.scale > 0).all()
    assert not list(pyro.get_param_store().keys())


# ---- Markov chains and predictions ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_pyro_nuts_samples_the_model() -> None:
    run = canonical_run("eight_schools", "pyro")
    kernel = pyro.infer.NUTS(run.model, max_tree_depth=5)
    chain = pyro.infer.MCMC(kernel, num_samples=30, warmup_steps=60, disable_progbar=True)
    chain.run(**run.data)
    drawn = chain.get_samples()
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {"mu": (30,), "tau": (30,), "theta": (30, 8)}
    assert (drawn["tau"] > 0).all()
    assert drawn["mu"].dtype == torch.float64
    predicted = pyro.infer.Predictive(run.model, posterior_samples=drawn)(run.data["school"], run.data["sigma"])
    assert predicted["y"].shape == (30, 8)
    assert (drawn["theta"].std(0) > 0).all(), "the chain did not move"


@pytest.mark.slow
def test_numpyro_nuts_samples_the_model() -> None:
    run = canonical_run("eight_schools", "numpyro")
    chain = numpyro.infer.MCMC(numpyro.infer.NUTS(run.model), num_warmup=100, num_samples=50, progress_bar=False)
    chain.run(jax.random.key(0), **run.data)
    drawn = chain.get_samples()
    assert {name: value.shape for name, value in drawn.items()} == {"mu": (50,), "tau": (50,), "theta": (50, 8)}
    assert (drawn["tau"] > 0).all()
    assert drawn["mu"].dtype == jnp.float64
    predictive = numpyro.infer.Predictive(run.model, posterior_samples=drawn)
    assert predictive(jax.random.key(1), run.data["school"], run.data["sigma"])["y"].shape == (50, 8)
    assert (drawn["theta"].std(0) > 0).all(), "the chain did not move"


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictive_draws_from_the_prior_and_from_the_guide(backend) -> None:
    run = Run(bits(), backend)
    if backend == "pyro":
        prior = pyro.infer.Predictive(run.model, num_samples=4)(size=7)
        encoded = pyro.infer.Predictive(run.guide, num_samples=4)(**run.data)
        decoded = pyro.infer.Predictive(run.model, posterior_samples=encoded)(size=ROWS)
    else:
        prior = numpyro.infer.Predictive(run.model, num_samples=4)(jax.random.key(0), size=7)
        encoded = numpyro.infer.Predictive(run.guide, num_samples=4)(jax.random.key(0), **run.data)
        decoded = numpyro.infer.Predictive(run.model, posterior_samples=encoded)(jax.random.key(1), size=ROWS)
    assert prior["code"].shape == (4, 7, 2)
    assert prior["dots"].shape == (4, 7, WIDTH)
    assert set(np.unique(np.asarray(prior["dots"]))) <= {0.0, 1.0}
    assert encoded["code"].shape == (4, ROWS, 2)
    assert decoded["dots"].shape == (4, ROWS, WIDTH)


# ---- two programs in one process ------------------------------------------------------------------------------------


def _pyro_losses(programs: list[tuple[Any, dict[str, Any]]]) -> list[list[float]]:
    """The losses of several SVIs, their steps taken in turn, each step with random numbers of its own."""
    engines = [
        pyro.infer.SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
        for program, _ in programs
    ]
    losses: list[list[float]] = [[] for _ in programs]
    for step in range(10):
        for number, (engine, (_, data)) in enumerate(zip(engines, programs, strict=True)):
            pyro.set_rng_seed(100 * data["dots"].shape[1] + step)
            losses[number].append(engine.step(**data))
    return losses


def test_two_pyro_programs_of_equal_names_do_not_meet() -> None:
    """Networks of other sizes under the same names: in a shared store they would collide."""

    def fresh(width: int) -> tuple[Any, dict[str, Any]]:
        run = Run(bits(width), "pyro")
        torch.manual_seed(width)
        return run.compiled.executable.namespace.Program(), run.data

    alone = [_pyro_losses([fresh(width)])[0] for width in (4, 9)]
    together = _pyro_losses([fresh(4), fresh(9)])
    assert together == alone
    assert not list(pyro.get_param_store().keys())


@pytest.mark.slow
def test_two_numpyro_programs_of_equal_names_do_not_meet() -> None:
    def engine(width: int) -> tuple[Any, dict[str, Any]]:
        run = Run(bits(width), "numpyro")
        return numpyro.infer.SVI(run.model, run.guide, optax.adam(1e-2), numpyro.infer.Trace_ELBO()), run.data

    def losses(engines: list[tuple[Any, dict[str, Any]]]) -> list[list[float]]:
        states = [svi.init(jax.random.key(data["dots"].shape[1]), **data) for svi, data in engines]
        steps = [jax.jit(svi.update) for svi, _ in engines]
        found: list[list[float]] = [[] for _ in engines]
        for _ in range(5):
            for number, (_, data) in enumerate(engines):
                states[number], loss = steps[number](states[number], **data)
                found[number].append(float(loss))
        return found

    assert losses([engine(4), engine(9)]) == [losses([engine(width)])[0] for width in (4, 9)]

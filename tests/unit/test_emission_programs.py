"""Emitted programs run under the libraries' own tools, on both backends."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import numpyro
import numpyro.infer
import optax
import pyro
import pyro.infer
import pyro.optim
import pytest
import torch
from pyro import poutine

from dgmppl_numpyro.emit import emit as emit_numpyro
from dgmppl_pyro.emit import emit as emit_pyro
from tests.kernels import load, mixture, vae

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(autouse=True)
def _clean_store():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    assert not pyro.settings.get("module_local_params")


def _nothing(*_data: object) -> None:
    """A guide without sites."""


PIXELS = np.random.default_rng(0).integers(0, 2, (20, 6)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(15, 4)).astype(np.float32)


@pytest.mark.parametrize("loss", [pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO, pyro.infer.TraceGraph_ELBO])
def test_pyro_svi_moves_the_networks_and_leaves_the_global_store_alone(loss) -> None:
    program = load(emit_pyro(vae()))["Program"]()
    before = program.model.decoder.layers[0].weight.detach().clone()
    svi = pyro.infer.SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), loss())
    data = torch.tensor(PIXELS)
    losses = [svi.step(data) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert not torch.equal(before, program.model.decoder.layers[0].weight)
    assert not list(pyro.get_param_store().keys())


def test_pyro_elbo_as_a_module_finds_every_parameter() -> None:
    program = load(emit_pyro(vae()))["Program"]()
    elbo = pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True)(program.model, program.guide)
    elbo(torch.tensor(PIXELS)).backward()
    assert all(parameter.grad is not None for parameter in elbo.parameters())
    assert len(list(elbo.parameters())) == 8


def test_two_pyro_programs_live_in_one_process() -> None:
    first, second = (load(emit_pyro(vae()))["Program"]() for _ in range(2))
    data = torch.tensor(PIXELS)
    still = second.model.decoder.layers[0].weight.detach().clone()
    svi = pyro.infer.SVI(first.model, first.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    svi.step(data)
    assert torch.equal(still, second.model.decoder.layers[0].weight)


def test_pyro_minibatches_are_scaled_to_all_rows() -> None:
    program = load(emit_pyro(vae()))["Program"]()
    trace = poutine.trace(program.model).get_trace(torch.tensor(PIXELS[:5]))
    assert trace.nodes["x"]["scale"] == 4.0


def test_pyro_enumerates_the_mixture_exactly() -> None:
    space = load(emit_pyro(mixture()))
    program, parameters = space["Program"](), space["initial"]()
    program = space["Program"](parameters)
    data = torch.tensor(ROWS)
    loss = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1).loss(program.model, _nothing, data)
    assert loss == pytest.approx(-space["log_prob"](parameters, {"x": data}).sum().item(), rel=1e-5)


def test_pyro_predictive_condition_mask_and_structure() -> None:
    program = load(emit_pyro(vae()))["Program"]()
    draws = pyro.infer.Predictive(program.model, num_samples=3)(size=7)
    assert draws["x"].shape == (3, 7, 6)
    fixed = pyro.condition(program.model, data={"z": torch.zeros(20, 2)})
    assert poutine.trace(fixed).get_trace(torch.tensor(PIXELS)).nodes["z"]["is_observed"]
    masked = poutine.trace(poutine.mask(program.model, mask=False)).get_trace(torch.tensor(PIXELS))
    assert masked.log_prob_sum() == 0
    relations = pyro.infer.inspect.get_model_relations(program.model, (torch.tensor(PIXELS),))
    assert relations["plate_sample"] == {"data": ["z", "x"]}
    assert relations["observed"] == ["x"]


def test_pyro_autoguide_and_nuts_on_a_prior_model() -> None:
    program = load(emit_pyro(vae()))["Program"]()
    data = torch.tensor(PIXELS)
    guide = pyro.infer.autoguide.AutoNormal(program.model)
    svi = pyro.infer.SVI(program.model, guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    assert np.isfinite(svi.step(data))
    kernel = pyro.infer.NUTS(program.model, max_tree_depth=3)
    mcmc = pyro.infer.MCMC(kernel, num_samples=3, warmup_steps=3, disable_progbar=True)
    mcmc.run(data)
    assert mcmc.get_samples()["z"].shape == (3, 20, 2)


@pytest.mark.parametrize("loss", [numpyro.infer.Trace_ELBO(2), numpyro.infer.TraceMeanField_ELBO()])
def test_numpyro_svi_moves_the_networks(loss) -> None:
    space = load(emit_numpyro(vae()))
    parameters = space["initial"](jax.random.key(0))
    model, guide = partial(space["model"], parameters), partial(space["guide"], parameters)
    svi = numpyro.infer.SVI(model, guide, optax.adam(1e-2), loss)
    result = svi.run(jax.random.key(1), 100, PIXELS, progress_bar=False)
    assert result.losses[-10:].mean() < result.losses[:10].mean()
    assert set(result.params) == {"encoder$params", "decoder$params"}


def test_numpyro_predictive_condition_mask_and_structure() -> None:
    space = load(emit_numpyro(vae()))
    model = partial(space["model"], space["initial"](jax.random.key(0)))
    draws = numpyro.infer.Predictive(model, num_samples=3)(jax.random.key(1), size=7)
    assert draws["x"].shape == (3, 7, 6)
    seeded = numpyro.handlers.seed(model, 0)
    trace = numpyro.handlers.trace(numpyro.handlers.mask(seeded, mask=False)).get_trace(PIXELS[:5])
    assert trace["x"]["scale"] == 4.0
    relations = numpyro.infer.inspect.get_model_relations(model, (PIXELS,))
    assert relations["plate_sample"] == {"data": ["z", "x"]}
    guide = numpyro.infer.autoguide.AutoNormal(model)
    svi = numpyro.infer.SVI(model, guide, optax.adam(1e-2), numpyro.infer.Trace_ELBO())
    assert np.isfinite(svi.run(jax.random.key(1), 3, PIXELS, progress_bar=False).losses).all()


def test_numpyro_nuts_runs() -> None:
    space = load(emit_numpyro(vae()))
    model = partial(space["model"], space["initial"](jax.random.key(0)))
    mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(model), num_warmup=5, num_samples=5, progress_bar=False)
    mcmc.run(jax.random.key(0), PIXELS)
    assert mcmc.get_samples()["z"].shape == (5, 20, 2)

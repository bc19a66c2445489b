"""The emitted `model` under its library's handlers, and as its library's inspection reads it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.infer.inspect
import pyro
import pyro.infer.inspect
import pytest
import torch
from numpyro import handlers
from pyro import poutine

from tests.conformance.library_runs import ROWS, Run, bits, canonical_run, sites_of
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation", "exact_libraries")

COUNTS = {
    "dgmppl": 1,
    "name": "counts",
    "data": {"calls": {"values": [[0, 3], [7, 1], [12, 30]], "support": "count"}},
    "networks": {"up": "mlp([4], activation=tanh)"},
    "model": {"code": "Normal(0, 1, shape=2)", "calls": "Poisson(up(code))"},
}


# ---- handlers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_condition_do_mask_and_scale(backend) -> None:
    run = Run(bits(), backend)
    pyroic = backend == "pyro"
    zeros = torch.zeros(ROWS, 2, dtype=torch.float64) if pyroic else jnp.zeros((ROWS, 2))
    condition, do = (poutine.condition, poutine.do) if pyroic else (handlers.condition, handlers.do)
    held = sites_of(backend, condition(run.model, data={"code": zeros}), run.data)
    assert float(held["code"][1]) == pytest.approx(-ROWS * np.log(2 * np.pi), rel=1e-12)
    latents = {"code": np.zeros((1, ROWS, 2))}
    logits = run.compiled.executable.call("decode", run.values, {"code": latents["code"][0]})["dots.logits"]
    dots = run.batch["dots"]
    expected = (dots * logits - np.logaddexp(0, logits)).sum()
    assert held["dots"][1] == pytest.approx(expected, rel=1e-9)

    cut = sites_of(backend, do(run.model, data={"code": zeros}), run.data)
    assert cut["dots"][1] == pytest.approx(expected, rel=1e-9), "the intervention does not reach the likelihood"

    conditioned = condition(run.model, data={"code": zeros})
    if pyroic:
        masked, halved = poutine.mask(conditioned, mask=False), poutine.scale(conditioned, scale=0.5)
        rows = torch.arange(ROWS) < 4
        partial = poutine.mask(conditioned, mask=rows)
    else:
        masked, halved = handlers.mask(conditioned, mask=False), handlers.scale(conditioned, scale=0.5)
        rows = jnp.arange(ROWS) < 4
        partial = handlers.mask(conditioned, mask=rows)
    assert sites_of(backend, masked, run.data)["dots"][1] == 0.0
    assert sites_of(backend, halved, run.data)["dots"][1] == pytest.approx(0.5 * expected, rel=1e-9)
    some = (dots * logits - np.logaddexp(0, logits))[:4].sum()
    assert sites_of(backend, partial, run.data)["dots"][1] == pytest.approx(some, rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [ROWS, 60])
def test_a_minibatch_counts_for_all_rows(backend, rows) -> None:
    run = Run(bits(), backend)
    pyroic = backend == "pyro"
    zeros = torch.zeros(ROWS, 2, dtype=torch.float64) if pyroic else jnp.zeros((ROWS, 2))
    held = (poutine.condition if pyroic else handlers.condition)(run.model, data={"code": zeros})
    one, many = (sites_of(backend, held, {**run.data, "rows": count}) for count in (ROWS, rows))
    for site in ("code", "dots"):
        assert many[site][1] == pytest.approx(rows / ROWS * one[site][1], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", [bits(), COUNTS], ids=["bits", "counts"])
def test_integer_data_have_the_density_of_real_ones_exactly(spec, backend) -> None:
    """In float64, with the library's argument checks on: float32 in between would show at 1e-8."""
    from scipy import stats
    from scipy.special import expit

    run = Run(spec, backend)
    column = next(iter(spec["data"]))
    data = run.batch[column]
    assert data.dtype.kind == "i"
    zeros = np.zeros((len(data), 2))
    held = {"code": torch.as_tensor(zeros) if backend == "pyro" else jnp.asarray(zeros)}
    condition = poutine.condition if backend == "pyro" else handlers.condition
    found = sites_of(backend, condition(run.model, data=held), run.data)[column][1]
    decoded = run.compiled.executable.call("decode", run.values, {"code": zeros})
    if column == "calls":
        expected = stats.poisson(decoded["calls.rate"]).logpmf(data).sum()
    else:
        expected = stats.bernoulli(expit(decoded["dots.logits"])).logpmf(data).sum()
    assert found == pytest.approx(expected, rel=1e-12)


# ---- inspection -----------------------------------------------------------------------------------------------------

_NET = [f"net.layers.{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias")]
# Spec -> (random parents of each site, plates, observed sites).
GRAPHS: dict[str, tuple[dict[str, list[str]], dict[str, list[str]], list[str]]] = {
    "vae": ({"z": [], "x": ["z"]}, {"data": ["z", "x"]}, ["x"]),
    "gmm": ({"k": [], "x": ["k"]}, {"data": ["k", "x"]}, ["x"]),
    "ppca": ({"z": [], "x": ["z"]}, {"data": ["z", "x"]}, ["x"]),
    "hierarchical_vae": ({"z2": [], "z1": ["z2"], "x": ["z1"]}, {"data": ["z2", "z1", "x"]}, ["x"]),
    "ss_vae": ({"y": [], "z": [], "x": ["y", "z"]}, {"data": ["y", "z", "x"]}, ["x"]),
    "eight_schools": (
        {"mu": [], "tau": [], "theta": ["mu", "tau"], "y": ["theta"]},
        {"school": ["theta"], "data": ["y"]},
        ["y"],
    ),
    "radon": (
        {
            "g0": [], "g1": [], "tau": [], "a": ["g0", "g1", "tau"],
            "b": [], "sigma": [], "log_radon": ["a", "b", "sigma"],
        },
        {"county": ["a"], "data": ["log_radon"]},
        ["log_radon"],
    ),
    "bnn": ({**{name: [] for name in _NET}, "sigma": [], "y": [*_NET, "sigma"]}, {"data": ["y"]}, ["y"]),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_library_reads_the_specs_graph(name, backend) -> None:
    run = canonical_run(name, backend, drop=("y",) if name == "ss_vae" else ())
    library = pyro if backend == "pyro" else numpyro
    relations = library.infer.inspect.get_model_relations(run.model, (), run.data)
    parents, plates, observed = GRAPHS[name]
    assert relations["sample_sample"] == parents
    assert relations["plate_sample"] == plates
    assert relations["observed"] == observed


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_library_draws_the_graph(backend) -> None:
    pytest.importorskip("graphviz")
    run = canonical_run("eight_schools", backend)
    library = pyro if backend == "pyro" else numpyro
    graph = library.render_model(run.model, model_args=(), model_kwargs=run.data)
    for edge in ("mu -> theta", "tau -> theta", "theta -> y"):
        assert edge in graph.source
    assert "y -> theta" not in graph.source

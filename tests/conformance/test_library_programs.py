"""The emitted `model` and `guide` as programs of their library: its engines, autoguides, handlers and inspection."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.infer
import numpyro.infer.autoguide
import numpyro.infer.inspect
import optax
import pyro
import pyro.infer
import pyro.infer.autoguide
import pyro.infer.inspect
import pyro.optim
import pytest
import torch
from numpyro import handlers
from pyro import poutine

from dgmppl.compiler import compile_spec
from dgmppl.data import load
from tests.conformance.libraries import nothing, tensors
from tests.support import BACKENDS, SPECS, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROWS, WIDTH = 12, 5


def _bits(width: int = WIDTH) -> dict[str, Any]:
    """A small amortized model of binary data, which are integers."""
    generator = np.random.default_rng(3)
    return {
        "dgmppl": 1,
        "name": "bits",
        "data": {"dots": {"values": generator.integers(0, 2, (ROWS, width)).tolist(), "support": "binary"}},
        "networks": {"up": "mlp([6], activation=tanh)", "down": "mlp([6], activation=tanh)"},
        "model": {"code": "Normal(0, 1, shape=2)", "dots": "Bernoulli(logits=up(code))"},
        "guide": {"code": "Normal(**down(dots))"},
    }


COUNTS = {
    "dgmppl": 1,
    "name": "counts",
    "data": {"calls": {"values": [[0, 3], [7, 1], [12, 30]], "support": "count"}},
    "networks": {"up": "mlp([4], activation=tanh)"},
    "model": {"code": "Normal(0, 1, shape=2)", "calls": "Poisson(up(code))"},
}


class Run:
    """A spec compiled for a backend, with its programs at some parameters and its data.

    Attributes:
        values: parameters, float64.
        batch: the columns as the spec declares them, integers as integers.
        model, guide: the emitted programs.
        data: the columns as arrays of the library.
    """

    def __init__(self, spec: Any, backend: str, *, drop: tuple[str, ...] = ()) -> None:
        self.compiled = compile_spec(spec, backend=backend)
        self.values = start(self.compiled, 1)
        columns = load(self.compiled.spec.data, seed=0).train.arrays
        self.batch = {name: np.asarray(column) for name, column in columns.items() if name not in drop}
        self.model = self.compiled.executable.library_model(self.values)
        self.guide = self.compiled.executable.library_guide(self.values)
        jaxed = backend == "numpyro"
        self.data: dict[str, Any] = {n: jnp.asarray(c) for n, c in self.batch.items()} if jaxed else tensors(self.batch)


def _canonical(name: str, backend: str, *, drop: tuple[str, ...] = ()) -> Run:
    return Run(SPECS / f"{name}.yaml", backend, drop=drop)


@pytest.fixture(autouse=True)
def _exact_and_clean():
    """Float64 on both sides, a seeded and empty Pyro."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with jax.enable_x64(True), pyro.validation_enabled(True), numpyro.validation_enabled(True):
        yield
    assert not pyro.settings.get("module_local_params")


def _sites(backend: str, program: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The sample sites of a run: name -> (value, summed log density after scales and masks)."""
    if backend == "pyro":
        trace = poutine.trace(program).get_trace(**data)
        trace.compute_log_prob()
        kept = {name: node for name, node in trace.nodes.items() if node["type"] == "sample"}
        return {
            name: (node["value"], float(node["log_prob_sum"].detach()))
            for name, node in kept.items()
            if type(node["fn"]).__name__ != "_Subsample"
        }
    with handlers.seed(rng_seed=0):
        found = handlers.trace(program).get_trace(**data)
    result = {}
    for name, node in found.items():
        if node["type"] == "sample":
            density = node["fn"].log_prob(node["value"])
            scaled = density if node["scale"] is None else density * node["scale"]
            result[name] = node["value"], float(jnp.sum(scaled))
    return result


# ---- stochastic variational inference -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO"])
def test_pyro_svi_trains_the_emitted_guide_and_leaves_the_store_empty(kind) -> None:
    run = Run(_bits(), "pyro")
    program = run.compiled.executable.namespace.Program()
    svi = pyro.infer.SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), getattr(pyro.infer, kind)())
    losses = [svi.step(**run.data) for _ in range(150)]
    assert np.mean(losses[-30:]) < np.mean(losses[:30])
    assert not list(pyro.get_param_store().keys())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO"])
def test_numpyro_svi_trains_the_emitted_guide(kind) -> None:
    run = Run(_bits(), "numpyro")
    svi = numpyro.infer.SVI(run.model, run.guide, optax.adam(1e-2), getattr(numpyro.infer, kind)())
    result = svi.run(jax.random.key(0), 200, progress_bar=False, **run.data)
    assert result.losses[-40:].mean() < result.losses[:40].mean()
    assert set(result.params) == {"up$params", "down$params"}


@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDelta", "AutoLowRankMultivariateNormal"])
def test_pyro_autoguides_fit_the_model(kind) -> None:
    run = _canonical("eight_schools", "pyro")
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
    run = _canonical("eight_schools", "numpyro")
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
    run = _canonical("bnn", backend)
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
    run = _canonical("gmm", "pyro")
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
    run = _canonical("eight_schools", "pyro")
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
    run = _canonical("eight_schools", "numpyro")
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
    run = Run(_bits(), backend)
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


# ---- handlers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_condition_do_mask_and_scale(backend) -> None:
    run = Run(_bits(), backend)
    pyroic = backend == "pyro"
    zeros = torch.zeros(ROWS, 2, dtype=torch.float64) if pyroic else jnp.zeros((ROWS, 2))
    condition, do = (poutine.condition, poutine.do) if pyroic else (handlers.condition, handlers.do)
    held = _sites(backend, condition(run.model, data={"code": zeros}), run.data)
    assert float(held["code"][1]) == pytest.approx(-ROWS * np.log(2 * np.pi), rel=1e-12)
    latents = {"code": np.zeros((1, ROWS, 2))}
    logits = run.compiled.executable.call("decode", run.values, {"code": latents["code"][0]})["dots.logits"]
    bits = run.batch["dots"]
    expected = (bits * logits - np.logaddexp(0, logits)).sum()
    assert held["dots"][1] == pytest.approx(expected, rel=1e-9)

    cut = _sites(backend, do(run.model, data={"code": zeros}), run.data)
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
    assert _sites(backend, masked, run.data)["dots"][1] == 0.0
    assert _sites(backend, halved, run.data)["dots"][1] == pytest.approx(0.5 * expected, rel=1e-9)
    some = (bits * logits - np.logaddexp(0, logits))[:4].sum()
    assert _sites(backend, partial, run.data)["dots"][1] == pytest.approx(some, rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [ROWS, 60])
def test_a_minibatch_counts_for_all_rows(backend, rows) -> None:
    run = Run(_bits(), backend)
    pyroic = backend == "pyro"
    zeros = torch.zeros(ROWS, 2, dtype=torch.float64) if pyroic else jnp.zeros((ROWS, 2))
    held = (poutine.condition if pyroic else handlers.condition)(run.model, data={"code": zeros})
    one, many = (_sites(backend, held, {**run.data, "rows": count}) for count in (ROWS, rows))
    for site in ("code", "dots"):
        assert many[site][1] == pytest.approx(rows / ROWS * one[site][1], rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", [_bits(), COUNTS], ids=["bits", "counts"])
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
    found = _sites(backend, condition(run.model, data=held), run.data)[column][1]
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
    run = _canonical(name, backend, drop=("y",) if name == "ss_vae" else ())
    library = pyro if backend == "pyro" else numpyro
    relations = library.infer.inspect.get_model_relations(run.model, (), run.data)
    parents, plates, observed = GRAPHS[name]
    assert relations["sample_sample"] == parents
    assert relations["plate_sample"] == plates
    assert relations["observed"] == observed


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_library_draws_the_graph(backend) -> None:
    pytest.importorskip("graphviz")
    run = _canonical("eight_schools", backend)
    library = pyro if backend == "pyro" else numpyro
    graph = library.render_model(run.model, model_args=(), model_kwargs=run.data)
    for edge in ("mu -> theta", "tau -> theta", "theta -> y"):
        assert edge in graph.source
    assert "y -> theta" not in graph.source


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
        run = Run(_bits(width), "pyro")
        torch.manual_seed(width)
        return run.compiled.executable.namespace.Program(), run.data

    alone = [_pyro_losses([fresh(width)])[0] for width in (4, 9)]
    together = _pyro_losses([fresh(4), fresh(9)])
    assert together == alone
    assert not list(pyro.get_param_store().keys())


@pytest.mark.slow
def test_two_numpyro_programs_of_equal_names_do_not_meet() -> None:
    def engine(width: int) -> tuple[Any, dict[str, Any]]:
        run = Run(_bits(width), "numpyro")
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

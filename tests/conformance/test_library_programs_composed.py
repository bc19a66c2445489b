"""Composed densities, alone and together: as programs of their library, and reduced to their parts."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.infer
import optax
import pyro
import pyro.infer
import pyro.optim
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

import dgmppl as dg
from dgmppl.compiler import Compilation
from tests.conformance.libraries import nothing, tensors
from tests.support import BACKENDS, Values, both, library_log_density, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation", "exact_libraries")

Array = NDArray[Any]
Spec = dict[str, Any]
backends = pytest.mark.parametrize("backend", BACKENDS)
ROWS, PARTICLES = 6, 2


def spec(support: str, shape: list[int], model: dict[str, str], **sections: Any) -> Spec:
    """A model of x."""
    return {
        "dgmppl": 1,
        "name": "composed",
        "data": {"x": {"shape": shape, "support": support}},
        "model": model,
        **sections,
    }


PERCEPTRONS = {"decoder": "mlp([6], activation=tanh)", "encoder": "mlp([6], activation=tanh)"}
PRIOR = "repeat(2, [coupling(mlp([5]), spline(bins=4, bound=3)), reverse()])"
POSTERIOR = "repeat(2, [autoregressive(made([5]), affine(), direction=inverse), reverse()])"
STATIC = {"z": "Normal(0, 1, shape=2)", "x": "Bernoulli(logits=decoder(z))"}
ENCODED = {"z": "Normal(**encoder(x))"}
VAE = spec("binary", [4], STATIC, networks=PERCEPTRONS, guide=ENCODED)
FLOW_PRIOR = spec(
    "binary",
    [4],
    {"e": "Normal(0, 1, shape=2)", "z": "flow(e)", "x": "Bernoulli(logits=decoder(z))"},
    networks=PERCEPTRONS,
    bijectors={"flow": PRIOR},
    guide=ENCODED,
)
FLOW_POSTERIOR = VAE | {
    "bijectors": {"iaf": POSTERIOR},
    "guide": {"u": "Normal(**encoder(x))", "z": "iaf(u)"},
}
SEQUENTIAL_DECODER = VAE | {
    "networks": PERCEPTRONS | {"decoder": "made([6])"},
    "model": {"z": "Normal(0, 1, shape=2)", "x[i]": "Bernoulli(logits=decoder(x[:i], z))"},
}
EVERYTHING = spec(
    "binary",
    [4],
    {"e": "Normal(0, 1, shape=2)", "z": "flow(e)", "x[i]": "Bernoulli(logits=decoder(x[:i], z))"},
    networks={"encoder": "mlp([6], activation=tanh)", "decoder": "made([6])"},
    bijectors={"flow": PRIOR, "iaf": POSTERIOR},
    guide={"u": "Normal(**encoder(x))", "z": "iaf(u)"},
)
CHAIN = spec(
    "real",
    [4, 2],
    {"z[0]": "Normal(0, 1, shape=2)", "z[t]": "Normal(**step(z[t-1]))", "x[t]": "Normal(**look(z[t]))"},
    networks={"step": "mlp([5])", "look": "mlp([5])", "first": "linear()", "merge": "mlp([5])"},
    guide={"z[0]": "Normal(**first(x[0]))", "z[t]": "Normal(**merge(z[t-1], x[t]))"},
)
FLOW = spec("real", [2], {"z": "Normal(0, 1, shape=2)", "x": "flow(z)"}, bijectors={"flow": PRIOR})
FACTORIZED = spec("binary", [5], {"x[i]": "Bernoulli(logits=net(x[:i]))"}, networks={"net": "made([8])"})
MIXTURES = spec("real", [3], {"x[i]": "Mixture(Normal, components=2, **net(x[:i]))"}, networks={"net": "gru(5)"})
HMM = spec(
    "real",
    [6],
    {"r[0]": "Categorical(probs=pi)", "r[t]": "Categorical(probs=P[r[t-1]])", "x[t]": "Normal(m[r[t]], 0.5)"},
    parameters={"pi": "learned(simplex(2))", "P": "learned(simplex(2, 2))", "m": "learned(normal(2))"},
)
STATE_SPACE = spec(
    "real",
    [5],
    {"h[0]": "Normal(0, 1)", "h[t]": "Normal(a * h[t-1], 0.5)", "x[t]": "Normal(h[t], s)"},
    parameters={"a": "learned(normal())", "s": "learned(positive())"},
)
EXACT = {
    "flow": FLOW, "factorized": FACTORIZED, "mixtures": MIXTURES, "hidden-markov": HMM, "state-space": STATE_SPACE,
}  # fmt: skip
LATENT = {
    "flow-prior": FLOW_PRIOR, "flow-posterior": FLOW_POSTERIOR, "sequential-decoder": SEQUENTIAL_DECODER,
    "everything": EVERYTHING, "chain": CHAIN,
}  # fmt: skip
ALL = EXACT | LATENT


@cache
def compiled(key: str) -> dict[str, Compilation]:
    return both(ALL[key])


def data(text: Spec, rows: int = ROWS, seed: int = 0) -> Values:
    """Rows of x on its support."""
    declared, generator = text["data"]["x"], np.random.default_rng(seed)
    shape = (rows, *declared["shape"])
    return {"x": generator.integers(0, 2, shape) if declared["support"] == "binary" else generator.normal(size=shape)}


def weights(one: Compilation, values: Values, batch: Values, seed: int = 0) -> tuple[Array, Values]:
    """log p(x, z) - log q(z | x) at the guide's draws, [particles, rows], and the draws."""
    function = one.module.function("log_weights")
    assert function is not None
    noise = noise_for(function, ROWS, PARTICLES, seed)
    found = one.executable.call("log_weights", values, batch, noise=noise, particles=PARTICLES)["value"]
    return found, one.executable.call("encode", values, batch, noise=noise, particles=PARTICLES)


# ---- the library's own densities -------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("key", EXACT)
def test_the_librarys_log_density_is_ours(key: str, backend: str) -> None:
    one, batch = compiled(key)[backend], data(EXACT[key])
    values = start(one, jitter=0.3)
    ours = one.executable.call("log_prob", values, batch)["value"].sum()
    theirs = library_log_density(backend, one.executable.library_model(values), batch, {})
    assert theirs == pytest.approx(ours, rel=1e-10)


@backends
@pytest.mark.parametrize("key", LATENT)
def test_the_librarys_log_weight_is_ours(key: str, backend: str) -> None:
    """log p(x, z) - log q(z | x) of the library's traces with z held at the guide's draws."""
    one, batch = compiled(key)[backend], data(LATENT[key])
    values = start(one, jitter=0.3)
    ours, drawn = weights(one, values, batch)
    for particle in range(PARTICLES):
        latents = {"z": drawn["z"][particle]}
        joint = library_log_density(backend, one.executable.library_model(values), batch, latents)
        posterior = library_log_density(backend, one.executable.library_guide(values), batch, latents)
        assert joint - posterior == pytest.approx(ours[particle].sum(), rel=1e-9)


# ---- the library's engines -------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("key", ALL)
def test_the_librarys_svi_moves_the_parameters(key: str, backend: str) -> None:
    one, batch = compiled(key)[backend], data(ALL[key])
    values = start(one, jitter=0.1)
    model, guide = one.executable.library_model(values), one.executable.library_guide(values) or nothing
    if backend == "pyro":
        svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
        before = [parameter.detach().clone() for parameter in model.parameters()]
        losses = [svi.step(**tensors(batch)) for _ in range(3)]
        after = list(model.parameters())
        assert all((a != b).any() for a, b in zip(after, before, strict=True))
    else:
        svi = numpyro.infer.SVI(model, guide, optax.adam(1e-2), numpyro.infer.Trace_ELBO())
        arrays = {name: jnp.asarray(value) for name, value in batch.items()}
        result = svi.run(jax.random.key(0), 3, progress_bar=False, **arrays)
        losses = [float(loss) for loss in result.losses]
    assert np.isfinite(losses).all()
    assert losses[0] != losses[-1]


@backends
@pytest.mark.parametrize("key", ALL)
def test_the_librarys_predictive_draws_the_data(key: str, backend: str) -> None:
    one = compiled(key)[backend]
    model, declared = one.executable.library_model(start(one, jitter=0.1)), ALL[key]["data"]["x"]
    if backend == "pyro":
        drawn = np.asarray(pyro.infer.Predictive(model, num_samples=3)(size=7)["x"])
    else:
        drawn = np.asarray(numpyro.infer.Predictive(model, num_samples=3)(jax.random.key(0), size=7)["x"])
    assert drawn.shape == (3, 7, *declared["shape"])
    assert np.isfinite(drawn).all()
    assert len(np.unique(drawn)) > 1
    if declared["support"] == "binary":
        assert set(np.unique(drawn)) <= {0, 1}


AR2 = spec(
    "real",
    [30],
    {"x[t]": "Normal(c * x[t-1] - 0.3 * x[t-2], 0.5)"},
    parameters={"c": "Normal(0, 1)"},
)
SWITCHING = HMM | {
    "parameters": {"pi": "learned(simplex(2))", "P": "learned(simplex(2, 2))", "m": "Normal(0, 1)"},
    "model": HMM["model"] | {"x[t]": "Normal(m * (2 * r[t] - 1), 0.5)"},
}
LEVEL = STATE_SPACE | {"parameters": {"a": "Normal(0.5, 0.3)", "s": "learned(positive())"}}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "name"), [(AR2, "c"), (SWITCHING, "m"), (LEVEL, "a")], ids=["ar2", "hmm", "level"])
def test_nuts_of_the_library_samples_a_chains_parameter(text: Spec, name: str) -> None:
    """Latent states are summed or integrated out: the posterior of the one parameter that is left, by quadrature."""
    one = both(text)["numpyro"]
    values, batch = start(one), data(text, rows=4)
    grid = np.linspace(-3, 3, 241)
    joint = np.array(
        [one.executable.call("log_joint", values | {name: np.array(point)}, batch)["value"] for point in grid]
    )
    mass = np.exp(joint - logsumexp(joint))
    mean = mass @ grid
    spread = np.sqrt(mass @ (grid - mean) ** 2)
    model = one.executable.library_model(values)
    chain = numpyro.infer.MCMC(numpyro.infer.NUTS(model), num_warmup=200, num_samples=600, progress_bar=False)
    chain.run(jax.random.key(0), **{key: jnp.asarray(value) for key, value in batch.items()})
    drawn = np.abs(np.asarray(chain.get_samples()[name])) if name == "m" else np.asarray(chain.get_samples()[name])
    if name == "m":  # the two states may change places where pi and P are symmetric: compare |m|
        mean = mass @ np.abs(grid)
        spread = np.sqrt(mass @ (np.abs(grid) - mean) ** 2)
    assert abs(drawn.mean() - mean) < 5 * spread / np.sqrt(200)
    assert drawn.std() == pytest.approx(spread, rel=0.25)


# ---- composites and their parts --------------------------------------------------------------------------------------


def at_start(one: Compilation, moved: Values) -> Values:
    """Parameters at their start, but those that `moved` has."""
    values = start(one, jitter=0.0)
    return values | {name: moved[name] for name in values if name in moved}


@backends
@pytest.mark.parametrize("key", ["flow-prior", "flow-posterior"])
def test_a_flow_that_starts_as_the_identity_leaves_the_plain_autoencoder(key: str, backend: str) -> None:
    """A conditioner's last layer is zero: the same weights and bound from the same noise; a moved flow differs."""
    plain, one, batch = both(VAE)[backend], compiled(key)[backend], data(VAE)
    values = start(plain, jitter=0.4)
    expected, latents = weights(plain, values, batch)
    identity = at_start(one, values)
    names = {"u" if key == "flow-posterior" else "z": "z"}
    function = one.module.function("log_weights")
    reference = plain.module.function("log_weights")
    assert function is not None
    assert reference is not None
    noise = noise_for(reference, ROWS, PARTICLES)
    given = {entry.name: noise[names[entry.name]] for entry in function.noise}
    found = one.executable.call("log_weights", identity, batch, noise=given, particles=PARTICLES)["value"]
    drawn = one.executable.call("encode", identity, batch, noise=given, particles=PARTICLES)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(drawn["z"], latents["z"], rtol=1e-9, atol=1e-9)
    other = start(one, jitter=0.4) | values
    assert (
        np.abs(
            one.executable.call("log_weights", other, batch, noise=given, particles=PARTICLES)["value"] - expected
        ).max()
        > 1e-3
    )


@backends
def test_a_chain_that_forgets_is_a_static_model_at_every_step(backend: str) -> None:
    forgetful = CHAIN | {
        "model": CHAIN["model"] | {"z[t]": "Normal(0 * z[t-1], 1)"},
        "networks": {"look": "mlp([5])", "first": "linear()"},
        "guide": {"z[0]": "Normal(**first(x[0]))", "z[t]": "Normal(**first(x[t]))"},
    }
    static = spec(
        "real",
        [2],
        {"z": "Normal(0, 1, shape=2)", "x": "Normal(**look(z))"},
        networks={"look": "mlp([5])", "first": "linear()"},
        guide={"z": "Normal(**first(x))"},
    )
    chain, plain = both(forgetful)[backend], both(static)[backend]
    values, batch = start(plain, jitter=0.4), data(CHAIN)
    function = chain.module.function("log_weights")
    assert function is not None
    noise = noise_for(function, ROWS, PARTICLES)["z"]
    found = chain.executable.call("log_weights", values, batch, noise={"z": noise}, particles=PARTICLES)["value"]
    steps = [
        plain.executable.call(
            "log_weights", values, {"x": batch["x"][:, t]}, noise={"z": noise[:, :, t]}, particles=PARTICLES
        )["value"]
        for t in range(batch["x"].shape[1])
    ]
    np.testing.assert_allclose(found, np.sum(steps, 0), rtol=1e-9, atol=1e-9)


# ---- everything at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", LATENT)
def test_both_backends_agree(key: str) -> None:
    """Weights, bound, loss and gradient from the same parameters and noise."""
    one, batch = compiled(key), data(LATENT[key])
    values = start(one["pyro"], jitter=0.3)
    first, second = (weights(one[backend], values, batch) for backend in BACKENDS)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-9, atol=1e-9)
    for name in first[1]:
        np.testing.assert_allclose(first[1][name], second[1][name], rtol=1e-9, atol=1e-9)
    function = one["pyro"].module.function("loss_model")
    assert function is not None
    noise = noise_for(function, ROWS)
    losses = [one[backend].executable.loss("model", values, batch, noise=noise, gradient=True) for backend in BACKENDS]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-9)
    for name in values:
        np.testing.assert_allclose(losses[0][1][name], losses[1][1][name], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@backends
def test_prior_posterior_and_decoder_train_together(backend: str) -> None:
    """Binary rows of two patterns with a tenth of their bits flipped: the bound comes near their entropy."""
    generator = np.random.default_rng(0)
    patterns = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])[generator.integers(0, 2, 512)]
    x = np.where(generator.uniform(size=patterns.shape) < 0.1, 1 - patterns, patterns)
    train = {"optimizer": "adam(1e-2)", "batch_size": 64, "steps": 400, "seed": 0}
    fit = dg.compile(EVERYTHING | {"train": train}, backend=backend).fit(x)
    _, counts = np.unique(x, axis=0, return_counts=True)
    entropy = -(counts / 512 * np.log(counts / 512)).sum()
    bound = fit.elbo(x, particles=20).mean()
    untrained = dg.compile(EVERYTHING, backend=backend).initial().elbo(x, particles=20).mean()
    assert bound > untrained + 0.3
    assert -entropy - 0.35 < bound <= -entropy + 0.02
    assert torch.get_default_dtype() == torch.float32


@backends
def test_a_decoder_that_does_not_read_the_latent_is_a_factorization(backend: str) -> None:
    """Where the columns that read z (context comes first) are zero, log p(x | z) is one log p(x) for all z."""
    one, batch = compiled("sequential-decoder")[backend], data(VAE)
    values = start(one, jitter=0.4)
    for name in values:
        if name.startswith("decoder.") and name.endswith("weight"):
            values[name][..., :2] = 0.0
    model = one.executable.library_model(values)

    def log_p(x: Array, z: Array) -> float:
        prior = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum()
        return library_log_density(backend, model, {"x": x}, {"z": z}) - prior

    found, drawn = weights(one, values, batch)
    for particle in range(PARTICLES):
        z = drawn["z"][particle]
        assert log_p(batch["x"], z) == pytest.approx(log_p(batch["x"], np.zeros_like(z)), rel=1e-10)
        posterior = library_log_density(backend, one.executable.library_guide(values), batch, {"z": z})
        prior = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum()
        assert found[particle].sum() == pytest.approx(log_p(batch["x"], z) + prior - posterior, rel=1e-9)
    outcomes = np.array(list(itertools.product((0, 1), repeat=4)))
    assert np.exp([log_p(row[None], np.ones((1, 2))) for row in outcomes]).sum() == pytest.approx(1, abs=1e-10)

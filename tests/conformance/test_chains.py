"""Chains in time on both backends against enumeration, dense Gaussians and recursions written by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from dgmppl.compiler import compile_spec
from tests.support import BACKENDS, both, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
Spec = dict[str, Any]


def call(spec: Spec, name: str, values: Any, batch: Any, noise: Any = None) -> dict[str, Any]:
    """A function's result on both backends in float64."""
    compiled = both(spec)
    rows = None if noise is None else next(iter(noise.values())).shape[1 if name == "log_weights" else 0]
    particles = next(iter(noise.values())).shape[0] if name == "log_weights" else 1
    results = {}
    for backend in BACKENDS:
        executable = compiled[backend].executable
        result = executable.call(name, values, batch, rows=rows, particles=particles, noise=noise)
        results[backend] = result.get("value", result)
    return results


# ---- discrete chains ------------------------------------------------------------------------------------------------

HMM: Spec = {
    "dgmppl": 1,
    "name": "regimes",
    "data": {"y": {"shape": [5], "support": "real"}},
    "parameters": {
        "pi": "learned(simplex(3))",
        "P": "learned(simplex(3, 3))",
        "m": "learned(normal(3))",
        "s": "learned(positive(3))",
    },
    "model": {
        "r[0]": "Categorical(probs=pi)",
        "r[k]": "Categorical(probs=P[r[k-1]])",
        "y[k]": "Normal(m[r[k]], s[r[k]])",
    },
}


def _paths(values: Any, y: Any) -> tuple[Any, Any]:
    """Every path of states, and log p(path, y) of each for each row."""
    states, length = len(values["pi"]), y.shape[1]
    paths = np.array(list(itertools.product(range(states), repeat=length)))
    prior = np.log(values["pi"])[paths[:, 0]] + np.log(values["P"])[paths[:, :-1], paths[:, 1:]].sum(1)
    emission = stats.norm.logpdf(y[None], values["m"][paths][:, None], values["s"][paths][:, None]).sum(-1)
    return paths, prior[:, None] + emission


def test_the_forward_algorithm_sums_every_path() -> None:
    compiled = both(HMM)["pyro"]
    values, y = start(compiled, jitter=0.7), RNG.standard_normal((4, 5))
    paths, joint = _paths(values, y)
    log_p = logsumexp(joint, 0)
    weights = np.exp(joint - log_p)
    probabilities = np.stack([(weights[..., None] * (paths == state)[:, None]).sum(0) for state in range(3)], -1)
    for result in call(HMM, "log_prob", values, {"y": y}).values():
        np.testing.assert_allclose(result, log_p, rtol=1e-12, atol=1e-12)
    for result in call(HMM, "posterior", values, {"y": y}).values():
        np.testing.assert_allclose(result["r.probs"], probabilities, atol=1e-12)
        np.testing.assert_array_equal(result["r.path"], paths[joint.argmax(0)])


def test_an_observed_lag_and_covariates_stand_beside_the_hidden_state() -> None:
    """Switching autoregression: y[t] reads y[t-1] and u[t]; the first lag is conditioned on."""
    spec = {
        **HMM,
        "data": {"y": {"shape": [4], "support": "real"}, "u": {"shape": [4], "support": "real"}},
        "model": {
            "r[0]": "Categorical(probs=pi)",
            "r[t]": "Categorical(probs=P[r[t-1]])",
            "y[t]": "Normal(m[r[t]] * y[t-1] + u[t], s[r[t]])",
        },
    }
    values = start(both(spec)["pyro"], jitter=0.5)
    y, u = RNG.standard_normal((2, 3, 4))
    paths = np.array(list(itertools.product(range(3), repeat=4)))
    joint = np.log(values["pi"])[paths[:, 0]] + np.log(values["P"])[paths[:, :-1], paths[:, 1:]].sum(1)
    mean = values["m"][paths][:, None, 1:] * y[None, :, :-1] + u[None, :, 1:]
    joint = joint[:, None] + stats.norm.logpdf(y[None, :, 1:], mean, values["s"][paths][:, None, 1:]).sum(-1)
    for result in call(spec, "log_prob", values, {"y": y, "u": u}).values():
        np.testing.assert_allclose(result, logsumexp(joint, 0), rtol=1e-12, atol=1e-12)


# ---- linear-Gaussian chains -----------------------------------------------------------------------------------------

STATE_SPACE: Spec = {
    "dgmppl": 1,
    "name": "tracking",
    "data": {"y": {"shape": [5, 2], "support": "real"}},
    "parameters": {
        "A": "learned(normal(3, 3, scale=0.5))",
        "C": "learned(normal(2, 3))",
        "q": "learned(positive(3))",
        "d": "learned(normal(2))",
    },
    "model": {
        "h[0]": "Normal(0.3, 1.5, shape=3)",
        "h[t]": "Normal(A @ h[t-1] + 0.1, q)",
        "y[t]": "Normal(C @ h[t] + d, 0.7)",
    },
}


def _dense(values: Any, length: int) -> tuple[Any, Any, Any, Any]:
    """Mean and covariance of (y, h), and the cross-covariance of h with y."""
    A, C, q, d = (values[name] for name in ("A", "C", "q", "d"))
    n = len(q)
    mean, covariance = np.zeros((length, n)), np.zeros((length, n, length, n))
    mean[0], covariance[0, :, 0] = 0.3, 1.5**2 * np.eye(n)
    for t in range(1, length):
        mean[t] = A @ mean[t - 1] + 0.1
        for s in range(t):
            covariance[t, :, s] = A @ covariance[t - 1, :, s]
            covariance[s, :, t] = covariance[t, :, s].T
        covariance[t, :, t] = A @ covariance[t - 1, :, t - 1] @ A.T + np.diag(q**2)
    loading = np.kron(np.eye(length), C)
    h = covariance.reshape(length * n, length * n)
    y = loading @ h @ loading.T + 0.7**2 * np.eye(length * len(d))
    return loading @ mean.reshape(-1) + np.tile(d, length), y, h @ loading.T, (mean.reshape(-1), h)


def test_the_kalman_filter_is_the_dense_gaussian() -> None:
    values, y = start(both(STATE_SPACE)["pyro"], jitter=0.3), RNG.standard_normal((3, 5, 2))
    mean, covariance, cross, (prior_mean, prior) = _dense(values, 5)
    exact = stats.multivariate_normal(mean, covariance).logpdf(y.reshape(3, -1))
    gain = np.linalg.solve(covariance, cross.T).T
    smoothed = prior_mean + (y.reshape(3, -1) - mean) @ gain.T
    remaining = prior - gain @ cross.T
    for result in call(STATE_SPACE, "log_prob", values, {"y": y}).values():
        np.testing.assert_allclose(result, exact, rtol=1e-11, atol=1e-11)
    for result in call(STATE_SPACE, "posterior", values, {"y": y}).values():
        np.testing.assert_allclose(result["h.loc"].reshape(3, -1), smoothed, atol=1e-10)
        for t in range(5):
            block = remaining[3 * t : 3 * t + 3, 3 * t : 3 * t + 3]
            np.testing.assert_allclose(result["h.covariance"][:, t] - block, 0, atol=1e-10)


def test_a_scalar_level_and_two_series_that_read_it() -> None:
    spec: Spec = {
        "dgmppl": 1,
        "name": "level",
        "data": {"a": {"shape": [4], "support": "real"}, "b": {"shape": [4, 2], "support": "real"}},
        "parameters": {"g": "learned(normal(2))"},
        "model": {
            "w[0]": "Normal(1, 2)",
            "w[t]": "Normal(0.9 * w[t-1], 0.5)",
            "a[t]": "Normal(2 * w[t], 0.3)",
            "b[t]": "Normal(g * w[t] - 1, 0.6)",
        },
    }
    values = start(both(spec)["pyro"], jitter=0.3)
    a, b = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4, 2))
    variances = [4.0]
    for _ in range(3):
        variances.append(0.81 * variances[-1] + 0.25)
    level = np.array([[0.9 ** abs(s - t) * variances[min(s, t)] for s in range(4)] for t in range(4)])
    loading = np.kron(np.eye(4), np.array([[2.0], [values["g"][0]], [values["g"][1]]]))
    mean = loading @ (0.9 ** np.arange(4)) + np.tile([0.0, -1.0, -1.0], 4)
    covariance = loading @ level @ loading.T + np.diag(np.tile([0.09, 0.36, 0.36], 4))
    exact = stats.multivariate_normal(mean, covariance).logpdf(np.concatenate([a[..., None], b], -1).reshape(3, -1))
    for result in call(spec, "log_prob", values, {"a": a, "b": b}).values():
        np.testing.assert_allclose(result, exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("spec", [HMM, STATE_SPACE], ids=lambda spec: str(spec["name"]))
def test_missing_entries_drop_out_of_a_recursion(spec: Spec) -> None:
    """A series without an entry is the marginal: the likelihood summed, or integrated, over that entry."""
    y = RNG.standard_normal((3, *both(spec)["pyro"].program.columns["y"].shape))
    holed = y.copy()
    holed[1, 2] = np.nan
    compiled = {backend: compile_spec(spec, backend=backend, bindings={"y": holed}) for backend in BACKENDS}
    values = start(compiled["pyro"], jitter=0.4)
    mask = ~np.isnan(holed)
    results = {}
    for backend in BACKENDS:
        batch = {"y": np.nan_to_num(holed), "y.observed": mask}
        results[backend] = compiled[backend].executable.call("log_prob", values, batch)["value"]
    np.testing.assert_allclose(results["pyro"], results["numpyro"], rtol=1e-12)
    whole = both(spec)["numpyro"].executable
    np.testing.assert_allclose(results["pyro"][[0, 2]], whole.call("log_prob", values, {"y": y})["value"][[0, 2]])
    grid = np.linspace(-12, 12, 241)
    axes = [grid] * (y.ndim - 1)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, *y.shape[2:])
    filled = np.repeat(y[1][None], len(points), 0)
    filled[:, 2] = points
    log_p = whole.call("log_prob", values, {"y": filled})["value"]
    step = (grid[1] - grid[0]) ** (y.ndim - 1)
    assert results["pyro"][1] == pytest.approx(logsumexp(log_p) + np.log(step), abs=1e-6)


# ---- observed series ------------------------------------------------------------------------------------------------


def test_an_autoregression_conditions_on_its_first_lags() -> None:
    spec: Spec = {
        "dgmppl": 1,
        "name": "ar",
        "data": {"v": {"shape": [6], "support": "real"}},
        "parameters": {"c": "learned(normal(2))", "s": "learned(positive())"},
        "model": {"v[t]": "Normal(c[0] * v[t-1] + c[1] * v[t-2], s)"},
    }
    values, v = start(both(spec)["pyro"], jitter=0.4), RNG.standard_normal((3, 6))
    mean = values["c"][0] * v[:, 1:-1] + values["c"][1] * v[:, :-2]
    exact = stats.norm.logpdf(v[:, 2:], mean, values["s"]).sum(-1)
    for result in call(spec, "log_prob", values, {"v": v}).values():
        np.testing.assert_allclose(result, exact, rtol=1e-12, atol=1e-12)


GARCH: Spec = {
    "dgmppl": 1,
    "name": "volatility",
    "data": {"e": {"shape": [6], "support": "real"}},
    "parameters": {"a": "learned(positive(3))"},
    "model": {
        "s[0]": "0.5",
        "s[t]": "sqrt(a[0] + a[1] * square(e[t-1]) + a[2] * square(s[t-1]))",
        "e[t]": "Normal(0, s[t])",
    },
}


def test_a_deterministic_recursion_reads_what_it_feeds() -> None:
    values, e = start(both(GARCH)["pyro"], jitter=0.3), RNG.standard_normal((4, 6))
    s = np.full((4, 6), 0.5)
    for t in range(1, 6):
        s[:, t] = np.sqrt(values["a"] @ np.stack([np.ones(4), e[:, t - 1] ** 2, s[:, t - 1] ** 2]))
    exact = stats.norm.logpdf(e, 0, s).sum(-1)
    for result in call(GARCH, "log_prob", values, {"e": e}).values():
        np.testing.assert_allclose(result, exact, rtol=1e-12, atol=1e-12)


def test_samples_of_a_circle_of_chains_are_its_recursion() -> None:
    """s[t] reads e[t-1], e[t] reads s[t]: one loop draws both, from the noise that a loop by hand would use."""
    compiled = both(GARCH)
    values = start(compiled["pyro"], jitter=0.3)
    function = compiled["pyro"].module.function("sample")
    assert function is not None
    noise = noise_for(function, 5)
    s, e = np.full((5, 6), 0.5), np.zeros((5, 6))
    for t in range(6):
        if t:
            s[:, t] = np.sqrt(values["a"] @ np.stack([np.ones(5), e[:, t - 1] ** 2, s[:, t - 1] ** 2]))
        e[:, t] = s[:, t] * noise["e"][:, t]
    for result in call(GARCH, "sample", values, {}, noise).values():
        np.testing.assert_allclose(result["e"], e, rtol=1e-12)
        np.testing.assert_allclose(np.broadcast_to(result["s"], (5, 6)), s, rtol=1e-12)


# ---- nonlinear chains -----------------------------------------------------------------------------------------------

NONLINEAR: Spec = {
    "dgmppl": 1,
    "name": "nonlinear",
    "data": {"o": {"shape": [5, 2], "support": "real"}},
    "networks": {"step": "mlp([6])", "look": "mlp([5])", "first": "linear()", "merge": "mlp([4])"},
    "model": {
        "u[0]": "Normal(0, 1, shape=3)",
        "u[t]": "Normal(**step(u[t-1]))",
        "o[t]": "Normal(**look(u[t]))",
    },
    "guide": {"u[0]": "Normal(**first(o[0]))", "u[t]": "Normal(**merge(u[t-1], o[t]))"},
}


def test_a_structured_guide_gives_the_same_weights_on_both_backends() -> None:
    """log p - log q at the guide's own draws, recomputed step by step from the networks' weights."""
    compiled = both(NONLINEAR)
    values, o = start(compiled["pyro"]), RNG.standard_normal((3, 5, 2))
    function = compiled["pyro"].module.function("log_weights")
    assert function is not None
    noise = noise_for(function, 3, particles=2)
    u, log_q, log_p = [], 0.0, 0.0
    for t in range(5):
        inputs = o[None, :, 0] if t == 0 else np.concatenate([u[-1], np.broadcast_to(o[:, t], (2, 3, 2))], -1)
        loc, scale = _normal(values, "first" if t == 0 else "merge", inputs)
        u.append(loc + scale * noise["u"][:, :, t])
        log_q = log_q + stats.norm.logpdf(u[-1], loc, scale).sum(-1)
        prior = (0.0, 1.0) if t == 0 else _normal(values, "step", u[-2])
        log_p = log_p + stats.norm.logpdf(u[-1], *prior).sum(-1)
        log_p = log_p + stats.norm.logpdf(o[:, t], *_normal(values, "look", u[-1])).sum(-1)
    for result in call(NONLINEAR, "log_weights", values, {"o": o}, noise).values():
        np.testing.assert_allclose(result, log_p - log_q, rtol=1e-10, atol=1e-10)


def _normal(values: Any, network: str, x: Any) -> tuple[Any, Any]:
    """Location and scale heads of a perceptron, written out."""
    layers = sorted({int(name.split(".")[2]) for name in values if name.startswith(f"{network}.")})
    for layer in layers:
        x = x @ values[f"{network}.layers.{layer}.weight"].T + values[f"{network}.layers.{layer}.bias"]
        x = np.maximum(x, 0) if layer != layers[-1] else x
    half = x.shape[-1] // 2
    return x[..., :half], np.logaddexp(0, x[..., half:]) + 1e-6


@pytest.mark.parametrize("spec", [HMM, STATE_SPACE, GARCH, NONLINEAR], ids=lambda spec: str(spec["name"]))
def test_gradients_agree_and_reach_every_parameter(spec: Spec) -> None:
    compiled = both(spec)
    values = start(compiled["pyro"], jitter=0.3)
    (site,) = compiled["pyro"].program.observed
    batch = {site.name: RNG.standard_normal((3, *site.typed.shape))}
    function = compiled["pyro"].module.function("loss_model")
    assert function is not None
    noise = noise_for(function, 3)
    results = [compiled[name].executable.loss("model", values, batch, noise=noise, gradient=True) for name in BACKENDS]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    for name in values:
        np.testing.assert_allclose(results[0][1][name], results[1][1][name], rtol=1e-9, atol=1e-10)
        assert np.abs(results[0][1][name]).max() > 0, name

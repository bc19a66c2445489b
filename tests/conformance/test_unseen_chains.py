"""Chains that remember more than one step or are read together, by enumeration and by dense Gaussians.

Also series whose first steps have lines of their own, and series that are read through computed ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from dgmppl.compiler import compile_spec
from tests.conformance.unseen import Spec, gradients_agree, results, spec
from tests.support import BACKENDS, Values, both, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

Array: TypeAlias = Any
log_normal = stats.norm.logpdf


# ---- discrete chains: every path ------------------------------------------------------------------------------------

STATES = {"a": "learned(simplex(2))", "P": "learned(simplex(2, 2))", "m": "learned(normal(2))"}
CHAIN = {"w[0]": "Categorical(probs=a)", "w[t]": "Categorical(probs=P[w[t-1]])"}
CUBE = {**STATES, "B": "learned(simplex(2, 2))", "P": "learned(simplex(2, 2, 2))"}
SECOND = {
    "w[0]": "Categorical(probs=a)",
    "w[1]": "Categorical(probs=B[w[0]])",
    "w[t]": "Categorical(probs=P[w[t-1]][w[t-2]])",
}


def markov(v: Values, w: Array) -> Array:
    """log p of paths of first order [paths, T]."""
    return np.log(v["a"])[w[:, 0]] + np.log(v["P"])[w[:, :-1], w[:, 1:]].sum(1)


def second(v: Values, w: Array) -> Array:
    """log p of paths of second order, of which the first step but one has a table of its own."""
    steps = np.log(v["P"])[w[:, 1:-1], w[:, :-2], w[:, 2:]].sum(1)
    return np.log(v["a"])[w[:, 0]] + np.log(v["B"])[w[:, 0], w[:, 1]] + steps


def binary(x: Array, p: Any) -> Array:
    """log p of values 0 and 1."""
    return np.log(np.where(x == 1, p, 1 - p))


def _second_order(v: Values, w: Array, y: Array) -> Array:
    return second(v, w) + log_normal(y, v["m"][w], 0.5).sum(-1)


def _third_order(v: Values, w: Array, y: Array) -> Array:
    total = np.log(v["a"])[w[:, :3]].sum(1) + log_normal(y, v["m"][w], 0.5).sum(-1)
    for t in range(3, w.shape[1]):
        logits = (v["m"][w[:, t - 3]] * w[:, t - 1])[:, None] * v["B"][w[:, t - 2]]
        total = total + np.take_along_axis(logits, w[:, t, None], 1)[:, 0] - logsumexp(logits, 1)
    return total


def _emission_of_two(v: Values, w: Array, y: Array) -> Array:
    rest = log_normal(y[1:], v["m"][w[:, 1:]] + 2 * v["m"][w[:, :-1]] + 0.3 * y[:-1], 0.5).sum(-1)
    return markov(v, w) + log_normal(y[0], v["m"][w[:, 0]], 1.0) + rest


def _conditioned_first(v: Values, w: Array, y: Array) -> Array:
    return markov(v, w) + log_normal(y[1:], v["m"][w[:, 1:]] + 2 * v["m"][w[:, :-1]], 0.5).sum(-1)


def _factorial(v: Values, w: Array, y: Array) -> Array:
    w, u = w[:, :4], w[:, 4:]
    other = binary(u[:, 0], 0.3) + binary(u[:, 1:], 0.3 * u[:, :-1] + 0.2 + 0.1 * w[:, 1:]).sum(1)
    return markov(v, w) + other + log_normal(y, v["m"][w] + 2 * u, 0.5).sum(-1)


def _switching(v: Values, w: Array, y: Array) -> Array:
    found = []
    for path in w:
        root = np.zeros((4, 4))
        root[0, 0] = 1
        for t in range(1, 4):
            root[t] = v["m"][path[t]] * root[t - 1]
            root[t, t] = 0.4
        found.append(stats.multivariate_normal(np.zeros(4), root @ root.T + 0.25 * np.eye(4)).logpdf(y))
    return markov(v, w) + np.array(found)


# spec, the elements of a path, log p(path, y), whether the recursion has a posterior of each path.
PATHS: dict[str, tuple[Spec, int, Callable[[Values, Array, Array], Array], bool]] = {
    "second-order": (
        spec({"y": [5]}, {**SECOND, "y[t]": "Normal(m[w[t]], 0.5)"}, parameters=CUBE),
        5,
        _second_order,
        True,
    ),
    "third-order": (
        spec(
            {"y": [5]},
            {
                **{f"w[{position}]": "Categorical(probs=a)" for position in range(3)},
                "w[k]": "Categorical(logits=m[w[k-3]] * w[k-1] * B[w[k-2]])",
                "y[k]": "Normal(m[w[k]], 0.5)",
            },
            parameters={**STATES, "B": "learned(normal(2, 2))", "P": None},
        ),
        5,
        _third_order,
        True,
    ),
    "emission-of-two": (
        spec(
            {"y": [5]},
            {
                **CHAIN,
                "mu[t]": "m[w[t]]",
                "y[0]": "Normal(mu[0], 1)",
                "y[t]": "Normal(mu[t] + 2 * m[w[t-1]] + 0.3 * y[t-1], 0.5)",
            },
            parameters=STATES,
        ),
        5,
        _emission_of_two,
        True,
    ),
    "conditioned-first": (
        spec({"y": [5]}, {**CHAIN, "y[t]": "Normal(m[w[t]] + 2 * m[w[t-1]], 0.5)"}, parameters=STATES),
        5,
        _conditioned_first,
        True,
    ),
    "factorial": (
        spec(
            {"y": [4]},
            {
                **CHAIN,
                "u[0]": "Bernoulli(0.3)",
                "u[s]": "Bernoulli(0.3 * u[s-1] + 0.2 + 0.1 * w[s])",
                "y[t]": "Normal(m[w[t]] + 2 * u[t], 0.5)",
            },
            parameters=STATES,
        ),
        8,
        _factorial,
        True,
    ),
    "switching": (
        spec(
            {"y": [4]},
            {**CHAIN, "h[0]": "Normal(0, 1)", "h[t]": "Normal(m[w[t]] * h[t-1], 0.4)", "y[t]": "Normal(h[t], 0.5)"},
            parameters=STATES,
        ),
        4,
        _switching,
        False,
    ),
}
PATHS["third-order"][0]["parameters"].pop("P")


@pytest.mark.parametrize("key", PATHS)
def test_discrete_chains_are_summed_over_every_path(key: str) -> None:
    written, length, log_joint, posterior = PATHS[key]
    compiled = both(written)
    values = start(compiled["pyro"], jitter=0.5)
    y = np.random.default_rng(1).standard_normal((3, *written["data"]["y"]["shape"]))
    paths = np.array(list(itertools.product(range(2), repeat=length)))
    joint = np.stack([log_joint(values, paths, row) for row in y])
    for found in results(compiled, "log_prob", values, {"y": y}):
        np.testing.assert_allclose(found, logsumexp(joint, 1), rtol=1e-11, atol=1e-11)
    gradients_agree(compiled, values, {"y": y})
    if not posterior:
        return
    weights, best = np.exp(joint - logsumexp(joint, 1)[:, None]), paths[joint.argmax(1)]
    for found in results(compiled, "posterior", values, {"y": y}):
        names = ("w", "u") if "u.path" in found else ("w",)
        probabilities = np.concatenate([found[f"{name}.probs"][..., 1] for name in names], -1)
        np.testing.assert_allclose(probabilities, weights @ paths, atol=1e-10)
        np.testing.assert_array_equal(np.concatenate([found[f"{name}.path"] for name in names], -1), best)


# ---- linear-Gaussian chains: the dense Gaussian ---------------------------------------------------------------------


def _second_order_latent(v: Values, e: Array) -> tuple[Array, Array]:
    w = np.zeros(5)
    w[0], w[1] = 0.2 + e[0], 0
    w[1] = v["a"] * w[0] + 1.1 * e[1]
    for t in range(2, 5):
        w[t] = v["a"] * w[t - 1] + v["b"] * w[t - 2] + 0.1 * t + v["q"] * e[t]
    y = w + 0.5 * e[5:10]
    y[0] = w[0] + 2 * e[5]
    y[1:] -= w[:-1]
    return y, w


def _level_and_slope(v: Values, e: Array) -> tuple[Array, Array]:
    level, slope = np.zeros(4), np.zeros(4)
    level[0] = e[0]
    slope[0] = 0.1 * level[0] + e[1]
    for t in range(1, 4):
        level[t] = level[t - 1] + slope[t - 1] + 0.3 * e[2 * t]
        slope[t] = v["a"] * slope[t - 1] + v["b"] * level[t] + v["q"] * e[2 * t + 1]
    return level + 0.5 * e[8:12], np.concatenate([level, slope])


def _offset(v: Values, e: Array) -> tuple[Array, Array]:
    g, w = v["q"] * e[0], np.zeros(4)
    w[0] = g + e[1]
    for t in range(1, 4):
        w[t] = w[t - 1] + v["a"] * g + 0.4 * e[1 + t]
    return v["b"] * w + g + 0.5 * e[5:9], np.concatenate([[g], w])


NUMBERS = {"a": "learned(normal())", "b": "learned(normal())", "q": "learned(positive())"}
# spec, how many standard normals, (values, normals) -> (y, latents), the latents' names.
GAUSSIAN: dict[str, tuple[Spec, int, Callable[[Values, Array], tuple[Array, Array]], tuple[str, ...]]] = {
    "second-order": (
        spec(
            {"y": [5]},
            {
                "w[0]": "Normal(0.2, 1)",
                "w[1]": "Normal(a * w[0], 1.1)",
                "w[t]": "Normal(a * w[t-1] + b * w[t-2] + 0.1 * t, q)",
                "y[0]": "Normal(w[0], 2)",
                "y[t]": "Normal(w[t] - w[t-1], 0.5)",
            },
            parameters=NUMBERS,
        ),
        10,
        _second_order_latent,
        ("w",),
    ),
    "level-and-slope": (
        spec(
            {"y": [4]},
            {
                "level[0]": "Normal(0, 1)",
                "level[t]": "Normal(level[t-1] + slope[t-1], 0.3)",
                "slope[0]": "Normal(0.1 * level[0], 1)",
                "slope[s]": "Normal(a * slope[s-1] + b * level[s], q)",
                "y[t]": "Normal(level[t], 0.5)",
            },
            parameters=NUMBERS,
        ),
        12,
        _level_and_slope,
        ("level", "slope"),
    ),
    "random-offset": (
        spec(
            {"y": [4]},
            {
                "g": "Normal(0, q)",
                "w[0]": "Normal(g, 1)",
                "w[t]": "Normal(w[t-1] + a * g, 0.4)",
                "mu[t]": "b * w[t]",
                "y[t]": "Normal(mu[t] + g, 0.5)",
            },
            parameters=NUMBERS,
        ),
        9,
        _offset,
        ("g", "w"),
    ),
}


@pytest.mark.parametrize("key", GAUSSIAN)
def test_gaussian_chains_are_the_dense_gaussian(key: str) -> None:
    """Likelihood, also with a missing entry, smoothed means, and the moments of samples within 5 standard errors."""
    written, normals, story, latents = GAUSSIAN[key]
    y = np.random.default_rng(2).standard_normal((3, *written["data"]["y"]["shape"]))
    y[1, 2] = np.nan
    compiled = {name: compile_spec(written, backend=name, bindings={"y": y}) for name in BACKENDS}
    values = start(compiled["pyro"], jitter=0.3)
    mean, *columns = [story(values, e) for e in (np.zeros(normals), *np.eye(normals))]
    (loading, cross), (loc, prior) = (np.stack([c[k] - mean[k] for c in columns], -1) for k in (0, 1)), mean
    covariance, exact, smoothed = loading @ loading.T, [], []
    for row in y:
        seen = ~np.isnan(row)
        block = covariance[np.ix_(seen, seen)]
        exact.append(stats.multivariate_normal(loc[seen], block).logpdf(row[seen]))
        smoothed.append(prior + cross @ loading[seen].T @ np.linalg.solve(block, row[seen] - loc[seen]))
    batch = {"y": np.nan_to_num(y), "y.observed": ~np.isnan(y)}
    for found in results(compiled, "log_prob", values, batch):
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-10)
    gradients_agree(compiled, values, batch)
    for found in results(compiled, "posterior", values, batch):
        means = np.concatenate([found[f"{name}.loc"].reshape(3, -1) for name in latents], 1)
        np.testing.assert_allclose(means, smoothed, atol=1e-9)
    for backend in BACKENDS:
        drawn = compiled[backend].executable.call("sample", values, {}, rows=4000, seed=1)["y"]
        error = 5 * np.sqrt(np.diag(covariance) / 4000)
        assert (np.abs(drawn.mean(0) - loc) < error).all()
        assert (np.abs(drawn.var(0) / np.diag(covariance) - 1) < 5 * np.sqrt(2 / 4000)).all()


def test_steps_between_two_starts_follow_the_general_line() -> None:
    """`y[0]` and `y[2]` have lines of their own: y[1] and y[3] are general steps."""
    written = spec({"y": [4]}, {"y[0]": "Normal(0, 1)", "y[2]": "Normal(y[0], 2)", "y[t]": "Normal(a * y[t-1], 3)"})
    compiled = both({**written, "parameters": {"a": "learned(normal())"}})
    values, y = start(compiled["pyro"]), np.random.default_rng(3).standard_normal((3, 4))
    general = log_normal(y[:, [1, 3]], values["a"] * y[:, [0, 2]], 3).sum(1)
    exact = log_normal(y[:, 0]) + log_normal(y[:, 2], y[:, 0], 2) + general
    for found in results(compiled, "log_prob", values, {"y": y}):
        np.testing.assert_allclose(found, exact, rtol=1e-12)

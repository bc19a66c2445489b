"""Discrete chains in time against enumeration over every path."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
import scipy.stats as st

from dgmppl_numpyro import recursions as jax_recursions
from dgmppl_pyro import recursions as torch_recursions
from tests.laws.calls import Arrays, call, gradients

BACKENDS = ("pyro", "numpyro")
# Of sums of some hundred terms of order one in double precision.
TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


RECURSIONS = (torch_recursions, jax_recursions)
# Backends, and how large products of matrices in a tree may be.
WAYS = [("pyro", 0), ("pyro", torch_recursions.PARALLEL_ELEMENTS), ("numpyro", 0)]
# Batch axes of start, move and emit, whether move changes in time, times, states.
CHAINS = {
    "plain": ((), (), (), True, 5, 3),
    "homogeneous": ((), (), (4,), False, 6, 2),
    "batches": ((4,), (3, 1), (4,), True, 4, 3),
    "one time": ((2,), (), (), True, 1, 4),
    "one time, one matrix": ((), (), (2,), False, 1, 4),
    "one state": ((), (), (2,), True, 3, 1),
}


def chain(name: str, seed: int = 0, sharpness: float = 1.0) -> Arrays:
    start, move, emit, changing, times, states = CHAINS[name]
    generator = np.random.default_rng(seed)
    steps = times - 1 if changing else 1

    def logits(*shape: int) -> np.ndarray:
        x = sharpness * generator.normal(size=shape)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    densities = 3 * generator.normal(size=(*emit, times, states))
    return logits(*start, states), logits(*move, steps, states, states), densities


def enumerated(start: np.ndarray, move: np.ndarray, emit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every path [S^T, T] and its log p(z, x) [S^T, ..]."""
    times, states = emit.shape[-2:]
    paths = np.array(list(itertools.product(range(states), repeat=times)))
    move = np.broadcast_to(move, (*move.shape[:-3], times - 1, states, states))
    scores = [
        start[..., path[0]]
        + sum(emit[..., t, path[t]] for t in range(times))
        + sum(move[..., t, path[t], path[t + 1]] for t in range(times - 1))
        for path in paths
    ]
    return paths, np.stack(scores)


def log_sum(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        peak = np.maximum(x.max(0), -1e300)
        return np.log(np.exp(x - peak).sum(0)) + peak


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_likelihood_is_the_sum_over_paths(backend: str, name: str) -> None:
    factors = chain(name)
    _, scores = enumerated(*factors)
    found = call(backend, RECURSIONS, "log_forward", *factors)
    np.testing.assert_allclose(found, log_sum(scores), rtol=TOLERANCE)


@pytest.mark.parametrize("name", CHAINS)
def test_products_in_a_tree_and_steps_in_time_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = chain(name)
    first = call("pyro", RECURSIONS, "log_forward", *factors)
    monkeypatch.setattr(torch_recursions, "PARALLEL_ELEMENTS", 0)
    np.testing.assert_allclose(call("pyro", RECURSIONS, "log_forward", *factors), first, rtol=TOLERANCE)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_smoothing_is_the_posterior_over_paths(backend: str, name: str) -> None:
    factors = chain(name)
    paths, scores = enumerated(*factors)
    weights = np.exp(scores - log_sum(scores))
    states = factors[-1].shape[-1]
    expected = np.einsum("p...,pts->...ts", weights, paths[..., None] == np.arange(states))
    np.testing.assert_allclose(call(backend, RECURSIONS, "smooth", *factors), expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_viterbi_is_the_best_path(backend: str, name: str) -> None:
    factors = chain(name)
    paths, scores = enumerated(*factors)
    np.testing.assert_array_equal(call(backend, RECURSIONS, "viterbi", *factors), paths[scores.argmax(0)])


@pytest.mark.parametrize(("backend", "parallel"), WAYS)
def test_gradients_are_expected_counts(backend: str, parallel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """d log p / d log-factor is the posterior expectation of how often the factor is used."""
    monkeypatch.setattr(torch_recursions, "PARALLEL_ELEMENTS", parallel)
    factors = chain("homogeneous")
    paths, scores = enumerated(*factors)
    weights = np.exp(scores - log_sum(scores))  # [paths, data]
    used = paths[..., None] == np.arange(2)  # [paths, T, S]
    moves = np.einsum("pd,pti,ptj->ij", weights, used[:, :-1], used[:, 1:])
    start, move, emit = gradients(backend, RECURSIONS, "log_forward", *factors)
    np.testing.assert_allclose(start, np.einsum("pd,ps->s", weights, used[:, 0]), atol=TOLERANCE)
    np.testing.assert_allclose(move[0], moves, atol=TOLERANCE)
    np.testing.assert_allclose(emit, np.einsum("pd,pts->dts", weights, used), atol=TOLERANCE)


def left_to_right() -> Arrays:
    """Three states that can only be passed upwards; the second datum is impossible."""
    with np.errstate(divide="ignore"):
        start, move = np.log([1.0, 0.0, 0.0]), np.log([[[0.5, 0.5, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]]])
    emit = np.random.default_rng(3).normal(size=(2, 4, 3))
    emit[1, 0, 0] = -np.inf
    return start, move, emit


@pytest.mark.parametrize(("backend", "parallel"), WAYS)
def test_impossible_events_leave_gradients_finite(backend: str, parallel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_recursions, "PARALLEL_ELEMENTS", parallel)
    factors = left_to_right()
    paths, scores = enumerated(*factors)
    value = call(backend, RECURSIONS, "log_forward", *factors)
    np.testing.assert_allclose(value[0], log_sum(scores)[0], rtol=TOLERANCE)
    assert value[1] == -np.inf
    weights = np.exp(scores[:, 0] - log_sum(scores)[0])
    used = paths[..., None] == np.arange(3)
    start, move, emit = gradients(backend, RECURSIONS, "log_forward", *factors)
    np.testing.assert_allclose(start, [1.0, 0.0, 0.0], atol=TOLERANCE)
    np.testing.assert_allclose(move[0], np.einsum("p,pti,ptj->ij", weights, used[:, :-1], used[:, 1:]), atol=TOLERANCE)
    np.testing.assert_allclose(emit, [np.einsum("p,pts->ts", weights, used), np.zeros((4, 3))], atol=TOLERANCE)
    smooth = call(backend, RECURSIONS, "smooth", *factors)
    np.testing.assert_allclose(smooth[0], np.einsum("p,pts->ts", weights, used), atol=TOLERANCE)
    assert np.isnan(smooth[1]).all()
    assert (call(backend, RECURSIONS, "viterbi", *factors)[0] == paths[scores[:, 0].argmax()]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_chains_in_single_precision(backend: str) -> None:
    """500 times with densities around e^-1000 each: a left-to-right chain whose evidence outweighs every message."""
    generator = np.random.default_rng(5)
    start = np.log([1.0, 1e-30])
    with np.errstate(divide="ignore"):
        move = np.log([[[1.0 - 1e-30, 1e-30], [0.0, 1.0]]])
    emit = generator.normal(size=(1, 500, 2)) - 1000 + np.linspace(10, -10, 500)[:, None] * [1, -1]
    exact = call(backend, RECURSIONS, "log_forward", start, move, emit)
    single = call(backend, RECURSIONS, "log_forward", *(x.astype(np.float32) for x in (start, move, emit)))
    assert single.dtype == np.float32
    # Each of the 500 densities is rounded to half a unit in its last place, 3e-5.
    np.testing.assert_allclose(single, exact, atol=500 * 3e-5 + 5e5 * 6e-8)
    exact = call(backend, RECURSIONS, "smooth", start, move, emit)
    single = call(backend, RECURSIONS, "smooth", *(x.astype(np.float32) for x in (start, move, emit)))
    np.testing.assert_allclose(single, exact, atol=500 * 6e-5)
    np.testing.assert_allclose(single.sum(-1), 1.0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_draws_have_the_posterior_of_whole_paths(backend: str) -> None:
    start, move, emit = chain("plain")
    start, move, emit = start[:2], move[:2, :2, :2], emit[:3, :2]
    paths, scores = enumerated(start, move, emit)
    draws = 20_000
    noise = np.random.default_rng(1).gumbel(size=(draws, 3, 2))
    drawn = call(backend, RECURSIONS, "sample_path", start, move, emit, noise)
    assert drawn.shape == (draws, 3)
    counts = (drawn[:, None] == paths).all(-1).sum(0)
    assert st.chisquare(counts, draws * np.exp(scores - log_sum(scores))).pvalue > 1e-3


def test_draws_agree_between_backends() -> None:
    factors = chain("batches")
    noise = np.random.default_rng(2).gumbel(size=(5, 1, 1, 4, 3))
    first, second = (call(backend, RECURSIONS, "sample_path", *factors, noise) for backend in BACKENDS)
    assert first.shape == (5, 3, 4, 4)
    np.testing.assert_array_equal(first, second)

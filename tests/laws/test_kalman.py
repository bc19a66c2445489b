"""Linear-Gaussian chains in time against the dense joint normal distribution."""

from __future__ import annotations

import functools
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats as st
import torch

from dgmppl_numpyro import kalman as jax_kalman
from dgmppl_pyro import kalman as torch_kalman
from tests.laws.calls import Arrays, call, gradients

BACKENDS = ("pyro", "numpyro")
# Of sums of some hundred terms of order one in double precision.
TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


KALMAN = (torch_kalman, jax_kalman)
# Batch axes of the model and of the data, whether the model changes in time, whether Q and P0 are singular.
MODELS = {
    "plain": ((), (), True, False),
    "homogeneous": ((), (3,), False, False),
    "batches": ((2, 1), (3,), True, False),
    "singular": ((), (2,), False, True),
}
TIMES, SIZE, WIDTH = 5, 3, 2


def model(name: str, times: int = TIMES) -> Arrays:
    """y, m0, P0, F, b, Q, H, c, r."""
    batch, data, changing, singular = MODELS[name]
    generator = np.random.default_rng(11)
    normal = lambda *shape: generator.normal(size=shape)  # noqa: E731
    steps, readings = (times - 1, times) if changing else (1, 1)

    def covariance(*shape: int) -> np.ndarray:
        root = normal(*shape, SIZE, 1 if singular else SIZE)
        return root @ np.swapaxes(root, -2, -1)

    return (
        normal(*data, times, WIDTH), normal(*batch, SIZE), covariance(*batch), 0.6 * normal(*batch, steps, SIZE, SIZE),
        normal(*batch, steps, SIZE), 0.5 * covariance(*batch, steps), normal(readings, WIDTH, SIZE),
        normal(*batch, readings, WIDTH), np.exp(normal(*batch, readings, WIDTH)),
    )  # fmt: skip


def joint(
    m0: np.ndarray, P0: np.ndarray, F: np.ndarray, b: np.ndarray, Q: np.ndarray, times: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [T n] and covariance [T n, T n] of the whole path, without batch axes."""
    n = len(m0)
    F, b, Q = (np.broadcast_to(x, (times - 1, *x.shape[1:])) for x in (F, b, Q))
    means, noise, onward = [m0], [P0], np.eye(times * n)
    for t in range(1, times):
        means.append(F[t - 1] @ means[-1] + b[t - 1])
        noise.append(Q[t - 1])
        onward[t * n : (t + 1) * n] += F[t - 1] @ onward[(t - 1) * n : t * n]
    blocks = np.zeros((times * n, times * n))
    for t in range(times):
        blocks[t * n : (t + 1) * n, t * n : (t + 1) * n] = noise[t]
    return np.concatenate(means), onward @ blocks @ onward.T


def dense(*arguments: np.ndarray, observed: np.ndarray | None = None) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(y), and mean and covariance of the path given y, from the joint normal, without batch axes."""
    y, m0, P0, F, b, Q, H, c, r = arguments
    times = len(y)
    mean, covariance = joint(m0, P0, F, b, Q, times)
    H, c, r = (np.broadcast_to(x, (times, *x.shape[1:])) for x in (H, c, r))
    reading = np.zeros((times * WIDTH, times * len(m0)))
    for t in range(times):
        reading[t * WIDTH : (t + 1) * WIDTH, t * len(m0) : (t + 1) * len(m0)] = H[t]
    keep = np.ones(times * WIDTH, bool) if observed is None else observed.ravel()
    reading, error = reading[keep], (y.ravel() - c.ravel())[keep]
    spread = reading @ covariance @ reading.T + np.diag(r.ravel()[keep])
    log_p = st.multivariate_normal(reading @ mean, spread).logpdf(error) if keep.any() else 0.0
    gain = np.linalg.solve(spread, reading @ covariance).T
    mean = (mean + gain @ (error - reading @ mean)).reshape(times, -1)
    after = (covariance - gain @ reading @ covariance).reshape(times, len(m0), times, len(m0))
    return float(log_p), mean, np.stack([after[t, :, t] for t in range(times)])


def each(*arguments: np.ndarray) -> list[Arrays]:
    """The arguments of every datum, and the shape of their batch axes."""
    ranks = (2, 1, 2, 3, 2, 3, 3, 2, 2)
    shapes = [x.shape[: x.ndim - rank] for x, rank in zip(arguments, ranks, strict=True)]
    batch = np.broadcast_shapes(*shapes)
    spread = [np.broadcast_to(x, batch + x.shape[x.ndim - rank :]) for x, rank in zip(arguments, ranks, strict=True)]
    return [tuple(x[place] for x in spread) for place in np.ndindex(*batch)]


@functools.cache
def solved(backend: str, name: str) -> Arrays:
    """log p(y), and means and covariances of the path given y."""
    modules = (both(torch_kalman), both(jax_kalman))
    return call(backend, modules, "both", *model(name))


def both(module: ModuleType) -> Any:
    """The filter and the smoother as one function, compiled once."""
    return SimpleNamespace(both=lambda *arguments: (module.log_filter(*arguments), *module.smoother(*arguments)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_filter_gives_the_density_of_the_joint_normal(backend: str, name: str) -> None:
    found, _, _ = solved(backend, name)
    expected = [dense(*datum)[0] for datum in each(*model(name))]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_smoother_gives_the_posterior_of_the_joint_normal(backend: str, name: str) -> None:
    _, means, covariances = solved(backend, name)
    covariances = np.broadcast_to(covariances, (*means.shape, SIZE)).reshape(-1, TIMES, SIZE, SIZE)
    for mean, covariance, datum in zip(means.reshape(-1, TIMES, SIZE), covariances, each(*model(name)), strict=True):
        _, expected, spread = dense(*datum)
        np.testing.assert_allclose(mean, expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(covariance, spread, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_entries_drop_out(backend: str) -> None:
    arguments = model("homogeneous")
    observed = np.random.default_rng(4).uniform(size=arguments[0].shape) < 0.6
    observed[0, 2], observed[1] = False, False
    y = np.where(observed, arguments[0], np.nan)
    found = call(backend, KALMAN, "log_filter", y, *arguments[1:], observed)
    means, covariances = call(backend, KALMAN, "smoother", y, *arguments[1:], observed)
    for place, (datum, mask) in enumerate(zip(each(*arguments), observed, strict=True)):
        log_p, mean, covariance = dense(*datum, observed=mask)
        np.testing.assert_allclose(found[place], log_p, rtol=1e-10)
        np.testing.assert_allclose(means[place], mean, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(covariances[place], covariance, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_the_filters_agree_to_rounding(name: str) -> None:
    for first, second in zip(solved("pyro", name), solved("numpyro", name), strict=True):
        np.testing.assert_allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("backend", "name"), [("pyro", "plain"), ("pyro", "singular"), ("numpyro", "singular")])
def test_gradients_of_the_filter_are_those_of_the_density(backend: str, name: str) -> None:
    arguments = model(name, times=3)
    slopes = gradients(backend, KALMAN, "log_filter", *arguments)
    generator, step = np.random.default_rng(8), 1e-5
    for place, slope in enumerate(slopes):
        direction = generator.normal(size=slope.shape)
        if place in {2, 5}:
            direction = direction + np.swapaxes(direction, -2, -1)
        ends = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[place] = moved[place] + sign * step * direction
            ends.append(sum(dense(*datum)[0] for datum in each(*moved)))
        # Central differences: rounding 1e-15 / step, and curvature step^2.
        np.testing.assert_allclose((slope * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", [False, True])
def test_the_written_gradient_is_that_of_the_recorded_filter(
    name: str, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [torch.tensor(part, requires_grad=True) for part in model(name)]
    observed = torch.rand(leaves[0].shape, generator=torch.Generator().manual_seed(2)) < 0.6 if missing else None
    slopes = []
    for written in (True, False):
        monkeypatch.setattr(torch_kalman, "only_backward", lambda written=written: written)
        log_p = torch_kalman.log_filter(*leaves, observed)
        weights = torch.linspace(0.5, 2.0, log_p.numel(), dtype=log_p.dtype).reshape(log_p.shape)
        slopes.append(torch.autograd.grad(log_p, leaves, weights))
    for place, (ours, theirs) in enumerate(zip(*slopes, strict=True)):
        # Only the symmetric part of a derivative in a covariance means anything.
        first, second = ((x + x.mT) / 2 if place in {2, 5} else x for x in (ours, theirs))
        torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-11)


def test_the_filter_has_second_derivatives() -> None:
    y, m0, *rest = (torch.tensor(part) for part in model("plain", times=3))
    log_p = lambda y, m0: torch_kalman.log_filter(y, m0, *rest)  # noqa: E731
    assert torch.autograd.gradgradcheck(log_p, (y.requires_grad_(), m0.requires_grad_()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_time_is_a_normal_density(backend: str) -> None:
    y, m0, P0, F, b, Q, H, c, r = model("homogeneous", times=1)
    arguments = (y, m0, P0, F[:0], b[:0], Q[:0], H, c, r)
    spread = H[0] @ P0 @ H[0].T + np.diag(r[0])
    expected = st.multivariate_normal(H[0] @ m0 + c[0], spread).logpdf(y[:, 0])
    np.testing.assert_allclose(call(backend, KALMAN, "log_filter", *arguments), expected, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_precise_readings_in_single_precision(backend: str) -> None:
    """A local linear trend over 300 times, read 1e4 times more precisely than its start: variances differ by 1e8."""
    generator, times = np.random.default_rng(9), 300
    trend = np.array([[[1.0, 1.0], [0.0, 1.0]]])
    arguments = (
        np.cumsum(1e-2 * generator.normal(size=(times, 1)), 0), np.zeros(2), np.eye(2), trend, np.zeros((1, 2)),
        np.diag([1e-6, 1e-8])[None], np.array([[[1.0, 0.0]]]), np.zeros((1, 1)), np.full((1, 1), 1e-8),
    )  # fmt: skip
    exact = call("pyro", KALMAN, "log_filter", *arguments)
    single = call(backend, KALMAN, "log_filter", *(x.astype(np.float32) for x in arguments))
    np.testing.assert_allclose(single, exact, rtol=1e-3)
    means, covariances = call(backend, KALMAN, "smoother", *(x.astype(np.float32) for x in arguments))
    exact_means, exact_covariances = call("pyro", KALMAN, "smoother", *arguments)
    np.testing.assert_allclose(means[:, 0], exact_means[:, 0], atol=1e-4)
    assert (np.linalg.eigvalsh(covariances.astype(np.float64)) > 0).all()
    np.testing.assert_allclose(covariances[:, 0, 0], exact_covariances[:, 0, 0], rtol=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_indefinite_covariance_gives_nan(backend: str) -> None:
    y, m0, P0, F, b, Q, H, c, r = model("plain")
    assert np.isnan(call(backend, KALMAN, "log_filter", y, m0, P0, F, b, Q, H, c, -100 - r))

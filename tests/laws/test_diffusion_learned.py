"""What a diffusion learns besides its denoiser, on Gaussian data: the schedule, and the reverse variances."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats

from dgmppl.compiler import front
from dgmppl.ir import schedules
from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.diffusions import variance_cost
from dgmppl.ir.schedules import LAST, SHARES, SPAN, Schedule
from tests.diffusions import (
    BACKENDS,
    MEAN,
    SCHEDULES,
    VARIANCE,
    diffusion,
    errors_of,
    exact,
    expected_bound,
    levels,
    library,
    process,
    reverse_variances,
    run,
)

EVEN = np.full(SHARES, 1 / SHARES)
UNEVEN = np.random.default_rng(0).dirichlet(np.ones(SHARES))
LINEAR = Schedule(lambda t, _: LAST + SPAN * (1 - t), lambda t, _: SPAN + 0 * t)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def gradients(backend: str, function: Any, *arguments: Any) -> list[np.ndarray]:
    """The derivatives of a scalar function of one backend's arrays, at NumPy's."""
    if backend == "pyro":
        tensors = [torch.tensor(np.asarray(part), requires_grad=True) for part in arguments]
        return [part.numpy() for part in torch.autograd.grad(function(*tensors), tensors)]
    found = jax.jit(jax.grad(function, tuple(range(len(arguments)))))(*map(jnp.asarray, arguments))
    return list(map(np.asarray, found))


# ---- schedules ------------------------------------------------------------------------------------------------------


def test_a_learned_schedule_falls_between_its_ends_by_its_rate() -> None:
    schedule, t, width = schedules.learned(-7.0, 19.0, UNEVEN), np.linspace(0, 1, 201), 1e-6
    np.testing.assert_allclose(schedule.log_snr(np.array([0.0, 1.0]), np), [12.0, -7.0], rtol=1e-12)
    slope = (schedule.log_snr(t[1:-1] - width, np) - schedule.log_snr(t[1:-1] + width, np)) / (2 * width)
    np.testing.assert_allclose(schedule.rate(t[1:-1], np), slope, rtol=1e-6)
    assert (schedule.rate(t, np) > 0).all()
    even = schedules.learned(LAST, SPAN, EVEN)
    for name in ("log_snr", "rate"):
        np.testing.assert_allclose(getattr(even, name)(t, np), getattr(LINEAR, name)(t, np), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_learned_schedule_at_its_start_is_the_linear_one(backend: str, steps: int | None) -> None:
    """The loss and the draws: the denoiser is told the same time by both."""
    generator, module, xp = np.random.default_rng(1), diffusion(backend), library(backend)
    (x, noise), time = generator.standard_normal((2, 5, 3)), np.full(5, 0.3)

    def denoise(x: Any, t: Any) -> Any:
        return xp.tanh(x + xp.sin(3 * t).reshape((*t.shape, 1)))

    def values(last: Any, span: Any, shares: Any, x: Any, u: Any, e: Any) -> Any:
        results = []
        for schedule in (schedules.learned(last, span, shares), LINEAR):
            path = process(backend, schedule, steps=steps)
            drawn = module.ancestral(path, denoise, x, xp.stack([e] * 6, 1))
            solved = module.heun(path, denoise, x, steps=6)
            results.append(xp.stack([module.bound(path, denoise, x, u, e), drawn.sum(-1), solved.sum(-1)]))
        return xp.stack(results)

    first, second = run(backend, values, np.array(LAST), np.array(SPAN), EVEN, x, time, noise)
    np.testing.assert_allclose(first, second, rtol=1e-9)


def corners(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data, times and noise whose mean is the exact one of what is quadratic in data and noise, at even times."""
    x = MEAN + math.sqrt(VARIANCE) * np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    return x, np.full((count, 4), 0.5 / (4 * count)), np.tile([[1.0], [-1.0], [1.0], [-1.0]], (count, 1, 1))


def mean_bound(backend: str, last: Any, span: Any, shares: Any, x: Any, time: Any, noise: Any) -> Any:
    """The bound in continuous time, averaged over `corners`; the denoiser is told the noise by the linear schedule."""
    path = process(backend, schedules.learned(last, span, shares))
    return diffusion(backend).bound(path, exact(backend, LINEAR, "noise"), x, time, noise).mean()


def continuous_bound(last: float, span: float) -> float:
    """E_x of the bound in continuous time: minus the data's entropy, the decoder's mismatch and the prior's."""
    ends = np.array([last + span, last])
    signal, noise = 1 / (1 + np.exp(-ends)), 1 / (1 + np.exp(ends))
    marginal = signal * VARIANCE + noise
    prior = (marginal[1] + signal[1] * MEAN**2 - 1 - np.log(marginal[1])) / 2
    # Normal(x_0 / alpha, sigma / alpha) against the posterior of x given x_0.
    ratio = marginal[0] / (VARIANCE * signal[0])
    shift = (1 - signal[0] * VARIANCE / marginal[0]) ** 2 * marginal[0] / noise[0]
    decoder = (1 / ratio - 1 + np.log(ratio) + shift) / 2
    return float(-0.5 * math.log(2 * math.pi * math.e * VARIANCE) - prior - decoder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_continuous_bound_depends_on_a_schedule_by_its_ends_alone(backend: str) -> None:
    """Its value and its derivatives by the ends are those of the closed form, whatever lies between."""
    last, span, width = np.array(-4.0), np.array(9.0), 1e-5
    x, time, noise = corners(4000)
    make = torch.as_tensor if backend == "pyro" else jnp.asarray

    def value(last: Any, span: Any, shares: Any) -> Any:
        return mean_bound(backend, last, span, shares, make(x), make(time), make(noise))

    slope = [
        (continuous_bound(-4.0 + a, 9.0 + b) - continuous_bound(-4.0 - a, 9.0 - b)) / (2 * width)
        for a, b in ((width, 0.0), (0.0, width))
    ]
    assert min(map(abs, slope)) > 1e-3
    for shares in (EVEN, UNEVEN):
        assert run(backend, value, last, span, shares) == pytest.approx(continuous_bound(-4.0, 9.0), abs=1e-6)
        by_last, by_span, by_shares = gradients(backend, value, last, span, shares)
        np.testing.assert_allclose([by_last, by_span], slope, atol=1e-6)
        # Along the simplex: a shift of all shares by one number is no change of the schedule's shape.
        np.testing.assert_allclose(by_shares - by_shares.mean(), 0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_square_of_the_bound_depends_on_a_schedule_between_its_ends(backend: str) -> None:
    """What the schedule's player descends, by autodiff against finite differences."""
    x, time, noise = corners(50)
    make = torch.as_tensor if backend == "pyro" else jnp.asarray

    def square(shares: Any) -> Any:
        path = process(backend, schedules.learned(-4.0, 9.0, shares))
        bound = diffusion(backend).bound(path, exact(backend, LINEAR, "noise"), make(x), make(time), make(noise))
        return (bound * bound).mean()

    (found,) = gradients(backend, square, UNEVEN)
    direction = np.random.default_rng(2).standard_normal(SHARES)
    direction -= direction.mean()
    ahead, behind = (run(backend, square, UNEVEN + step * direction) for step in (1e-5, -1e-5))
    assert found @ direction == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)
    assert abs(found @ direction) > 1e-3


# ---- reverse variances ----------------------------------------------------------------------------------------------


def ratios(schedule: Schedule, steps: int, variance: str, errors: np.ndarray | None = None) -> np.ndarray:
    log_snr = schedule.log_snr(np.linspace(0, 1, steps), np)
    error = None if errors is None else errors[1:]
    return schedules.variance_ratio(schedule, log_snr[1:], log_snr[:-1], np, variance, error)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_variances_are_those_of_their_definitions(schedule: Schedule) -> None:
    known = reverse_variances(schedule, 9)
    for variance in ("posterior", "beta"):
        expected = known[variance][1:] / known["posterior"][1:]
        np.testing.assert_allclose(ratios(schedule, 9, variance), expected, rtol=1e-8)
    best = ratios(schedule, 9, "posterior", errors_of(schedule, 9))
    np.testing.assert_allclose(best, known["true"][1:] / known["posterior"][1:], rtol=1e-8)


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid"])
def test_the_best_variance_is_that_of_analytic_dpm(name: str) -> None:
    """Bao et al. 2022, theorem 1, word for word, with the second moment of the exact score."""
    schedule = SCHEDULES[name]
    alpha, sigma = levels(schedule, np.linspace(0, 1, 9))
    moment = 1 / (alpha[1:] ** 2 * VARIANCE + sigma[1:] ** 2)
    fixed, step = reverse_variances(schedule, 9)["posterior"][1:], (alpha[1:] / alpha[:-1]) ** 2
    slack = np.sqrt(sigma[1:] ** 2 / step) - np.sqrt(sigma[:-1] ** 2 - fixed)
    best = fixed + slack**2 * (1 - sigma[1:] ** 2 * moment)
    np.testing.assert_allclose(ratios(schedule, 9, "posterior", errors_of(schedule, 9)) * fixed, best, rtol=1e-8)


@pytest.mark.parametrize("variance", ["posterior", "beta", "learned"])
def test_what_fixed_variances_cost_on_unit_normal_data(variance: str) -> None:
    """KL(q(x_s | x_t) || p(x_s | x_t)) of normals of one mean, by their variances, and that of the decoder."""
    alpha, sigma = levels(schedules.cosine(), np.linspace(0, 1, 200))
    true = 1 - (alpha[1:] / alpha[:-1]) ** 2
    fixed = {"posterior": (sigma[:-1] / sigma[1:]) ** 2 * true, "beta": true, "learned": true}[variance]
    decoded = alpha[0] ** 2 if variance != "learned" else 1.0
    share = np.append(true / fixed, decoded)
    text = {
        "dgmppl": 1, "name": "cost", "data": {"x": {"shape": [4], "support": "real"}},
        "networks": {"net": "mlp([4], time=embedding(4))"},
        "model": {"x": f"Diffusion(net, steps=200, variance={variance})"},
    }  # fmt: skip
    density = front(text).program.by_name["x"].density
    assert isinstance(density, DiffusionChain)
    assert variance_cost(density) == pytest.approx((share - 1 - np.log(share)).sum() / 2, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_with_the_best_variances_the_bound_is_the_log_density(backend: str, schedule: Schedule) -> None:
    """At every point, but for the prior: KL(q(x_T | x) || p(x_T)) - KL(q(x_T | x) || q(x_T)), which is reported."""
    steps, x = 5, np.array([0.3, -1.1, 2.0])
    alpha, sigma = (part[-1] for part in levels(schedule, np.linspace(0, 1, steps)))
    scale, last = 1.0 if schedule.preserving else sigma, stats.norm(alpha * x, sigma)
    spread = math.sqrt(alpha**2 * VARIANCE + sigma**2)

    def cross(mean: float, deviation: float) -> np.ndarray:
        """-E_q(x_T | x)[log Normal(x_T; mean, deviation)]."""
        return np.log(deviation) + (last.var() + (last.mean() - mean) ** 2) / (2 * deviation**2)

    mismatch = cross(0.0, scale) - cross(alpha * MEAN, spread)

    def value(x: Any, errors: Any) -> Any:
        return expected_bound(backend, process(backend, schedule, steps=steps, errors=errors), x, steps=steps)

    found = run(backend, value, x, errors_of(schedule, steps))
    log_density = stats.norm(MEAN, math.sqrt(VARIANCE)).logpdf(x)
    assert found == pytest.approx((log_density - mismatch).sum(), rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bound_is_greatest_at_the_best_variances(backend: str) -> None:
    """Its derivative by learned errors vanishes there, averaged over data, and points there from elsewhere."""
    schedule, steps = SCHEDULES["cosine"], 5
    x, best = MEAN + math.sqrt(VARIANCE) * np.array([1.0, -1.0]), errors_of(schedule, steps)
    make = torch.as_tensor if backend == "pyro" else jnp.asarray

    def value(errors: Any) -> Any:
        return expected_bound(backend, process(backend, schedule, steps=steps, errors=errors), make(x), steps=steps)

    (slope,) = gradients(backend, value, best)
    np.testing.assert_allclose(slope, 0, atol=1e-8)
    (slope,) = gradients(backend, value, best / 2)
    assert (slope > 1e-3).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_few_steps_with_the_best_variances_have_the_moments_of_the_data(backend: str) -> None:
    """Three steps of a chain of nine, of which the fixed variances make samples too narrow or too wide."""
    schedule, rows, best = SCHEDULES["sigmoid"], 40_000, errors_of(SCHEDULES["sigmoid"], 9)
    generator = np.random.default_rng(3)
    start, noise = generator.standard_normal((rows, 1)), generator.standard_normal((rows, 3, 1))
    make = torch.as_tensor if backend == "pyro" else jnp.asarray
    found = {}
    for name, settings in {
        "posterior": {}, "beta": {"variance": "beta"}, "best": {"errors": make(best)},
    }.items():  # fmt: skip
        path = process(backend, schedule, steps=9, **settings)
        denoise = exact(backend, schedule, "noise")
        drawn = run(backend, lambda z, e, p=path, d=denoise: diffusion(backend).ancestral(p, d, z, e), start, noise)
        found[name] = drawn.var()
    tolerance = 4 * VARIANCE * math.sqrt(2 / rows)
    assert found["best"] == pytest.approx(VARIANCE, abs=tolerance)
    assert found["posterior"] < VARIANCE - tolerance
    assert found["beta"] > VARIANCE + tolerance

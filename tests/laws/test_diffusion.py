"""Diffusions of Gaussian data, whose denoiser is known: bounds, flows and samplers against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

from dgmppl.ir import schedules
from dgmppl.ir.schedules import Schedule
from tests.diffusions import (
    BACKENDS,
    MEAN,
    PREDICTIONS,
    SCHEDULES,
    VARIANCE,
    chain_bound,
    diffusion,
    exact,
    expected_bound,
    levels,
    library,
    process,
    reverse_variances,
    run,
    transported,
)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# ---- schedules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_rate_of_a_schedule_is_its_slope_and_the_signal_falls(schedule: Schedule) -> None:
    t, width = np.linspace(0.01, 0.99, 99), 1e-6
    slope = (schedule.log_snr(t - width, np) - schedule.log_snr(t + width, np)) / (2 * width)
    np.testing.assert_allclose(schedule.rate(t, np), slope, rtol=1e-7)
    assert (schedule.rate(np.linspace(0, 1, 101), np) > 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_array_library_computes_the_same_schedule(backend: str, schedule: Schedule) -> None:
    t, xp = np.linspace(0, 1, 51), library(backend)
    for function in (schedule.log_snr, schedule.rate):
        found = run(backend, lambda t, function=function: function(t, xp), t)
        np.testing.assert_allclose(found, function(t, np), rtol=1e-11)


def test_schedules_have_the_numbers_of_their_papers() -> None:
    """Signal of the cosine at the middle, of a thousand linear variances, and noise of the exploding ones."""
    middle = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2)
    assert levels(schedules.cosine(), np.asarray(0.5))[0] == pytest.approx(
        middle, rel=4e-3
    )  # the angle ends 0.007 before pi / 2
    betas = np.linspace(1e-4, 0.02, 1000)
    signal = levels(schedules.linear(), np.linspace(0, 1, 1000))[0] ** 2
    np.testing.assert_allclose(np.log(signal), np.log1p(-betas).cumsum(), rtol=0.012)
    sigma = levels(schedules.edm(), np.linspace(0, 1, 5))[1]
    expected = (0.002 ** (1 / 7) + np.linspace(0, 1, 5) * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sigma, expected, rtol=1e-12)
    geometric = levels(schedules.variance_exploding(0.1, 10.0), np.linspace(0, 1, 3))[1]
    np.testing.assert_allclose(geometric, [0.1, 1.0, 10.0], rtol=1e-12)


# ---- parameterizations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_parameterizations_of_one_denoiser_agree(backend: str, schedule: Schedule) -> None:
    module, t = diffusion(backend), np.linspace(0.05, 0.95, 7)
    alpha, sigma = levels(schedule, t)
    x = (alpha * MEAN + sigma)[:, None] * np.random.default_rng(0).standard_normal((7, 3))
    variance = (alpha**2 * VARIANCE + sigma**2)[:, None]
    data = MEAN + alpha[:, None] * VARIANCE * (x - alpha[:, None] * MEAN) / variance
    for predict in PREDICTIONS:
        path, denoise = process(backend, schedule, predict), exact(backend, schedule, predict)
        for part, expected in enumerate((data, (x - alpha[:, None] * data) / sigma[:, None])):

            def predicted(x: Any, t: Any, log_snr: Any, path=path, denoise=denoise, part=part) -> Any:
                return module.predicted(path, denoise, x, t, log_snr)[part]

            found = run(backend, predicted, x, t, schedule.log_snr(t, np))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# ---- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bound_of_a_chain_is_the_sum_of_its_gaussian_divergences(backend: str, schedule: Schedule) -> None:
    x = np.array([0.3, -1.1, 2.0])
    for variance in ("posterior", "beta"):
        path = process(backend, schedule, steps=7, variance=variance)
        found = run(backend, lambda x, path=path: expected_bound(backend, path, x, steps=7), x)
        np.testing.assert_allclose(found, chain_bound(schedule, 7, x, variance).sum(), rtol=1e-9)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("schedule", [SCHEDULES["cosine"], SCHEDULES["linear"]], ids=["cosine", "linear"])
def test_the_bound_misses_the_log_density_by_the_fixed_variances(schedule: Schedule, variance: str) -> None:
    """E_x[log p(x) - bound]: each true reverse variance against the fixed one, and the prior's divergence."""
    steps = 9
    alpha, sigma = levels(schedule, np.linspace(0, 1, steps))
    marginal = alpha[-1] ** 2 * VARIANCE + sigma[-1] ** 2
    end = (marginal + (alpha[-1] * MEAN) ** 2 - 1 - np.log(marginal)) / 2
    variances = reverse_variances(schedule, steps)
    ratio = variances["true"] / variances[variance]
    gap = end + (ratio - 1 - np.log(ratio)).sum() / 2
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    x = MEAN + math.sqrt(VARIANCE) * nodes
    difference = stats.norm(MEAN, math.sqrt(VARIANCE)).logpdf(x) - chain_bound(schedule, steps, x, variance)
    assert weights @ difference / weights.sum() == pytest.approx(gap, rel=1e-9)
    assert gap > 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_continuous_bound_meets_the_log_density_but_for_its_ends(backend: str, schedule: Schedule) -> None:
    """Averaged over data: log p less the decoder's and the prior's mismatch, at many times of which each has a sign."""
    module, count = diffusion(backend), 100_000
    alpha, sigma = levels(schedule, np.linspace(0, 1, 2))
    path, denoise = process(backend, schedule, "velocity"), exact(backend, schedule, "velocity")
    # Data and noise at the corners of the square: the exact expectation of a quadratic in both, at each time.
    x = MEAN + math.sqrt(VARIANCE) * np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    noise = np.tile(np.array([1.0, -1.0, 1.0, -1.0])[:, None], (count, 1, 1))
    time = np.full((count, 4), 0.5 / (4 * count))
    found = run(backend, lambda x, u, e: module.bound(path, denoise, x, u, e), x, time, noise).mean()
    entropy = 0.5 * math.log(2 * math.pi * math.e * VARIANCE)
    marginal = alpha**2 * VARIANCE + sigma**2
    scale = 1.0 if schedule.preserving else sigma[1]
    last = ((marginal[1] + (alpha[1] * MEAN) ** 2) / scale**2 - 1 - math.log(marginal[1] / scale**2)) / 2
    ratio = (sigma[0] / alpha[0]) ** 2 / (VARIANCE * sigma[0] ** 2 / marginal[0])
    # The decoder Normal(x_0 / alpha, sigma / alpha) against the posterior of x given x_0.
    shift = (1 / alpha[0] - alpha[0] * VARIANCE / marginal[0]) ** 2 * marginal[0]
    first = (1 / ratio - 1 + math.log(ratio)) / 2 + shift / (2 * (sigma[0] / alpha[0]) ** 2)
    assert found == pytest.approx(-entropy - last - first, abs=2e-5)


def test_stratified_times_are_uniform_each_and_even_together() -> None:
    for backend in BACKENDS:
        found = run(backend, diffusion(backend).stratified, np.full((5, 4), 0.93))
        np.testing.assert_allclose((20 * (found - 0.93) + 0.5) % 1, 0.5, atol=1e-9)
        assert np.allclose(np.diff(np.sort(found.reshape(-1))), 1 / 20)
        assert np.allclose(np.diff(np.sort(found[:, 2])), 1 / 5)


@pytest.mark.parametrize("weighting", ["simple", "min_snr", "edm"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_regressions_weigh_the_squared_error_of_the_noise(backend: str, weighting: str) -> None:
    module, schedule, count = diffusion(backend), SCHEDULES["edm"], 11
    path, denoise = module.Process(schedule, "velocity", 1), exact(backend, schedule, "velocity")
    generator = np.random.default_rng(0)
    x, noise = generator.standard_normal((2, count, 3))
    time = (0.37 + np.arange(count) / count) % 1
    sigma = levels(schedule, time)[1][:, None]
    point = x + sigma * noise
    data = MEAN + VARIANCE * (point - MEAN) / (VARIANCE + sigma**2)
    error = ((noise - (point - data) / sigma) ** 2).sum(-1)
    snr = sigma[:, 0] ** -2
    # The EDM loss: lambda(sigma) |D - x|^2 under log sigma ~ N(-1.2, 1.2^2), here with uniform times.
    density = stats.norm(-1.2, 1.2).pdf(np.log(sigma[:, 0])) * schedule.rate(time, np) / 2
    edm = density * (sigma[:, 0] ** 2 + 0.25) / (sigma[:, 0] * 0.5) ** 2 * sigma[:, 0] ** 2
    weight = {"simple": np.ones(count), "min_snr": np.minimum(snr, 5) / snr, "edm": edm}[weighting]
    first = np.full(count, 0.37)
    found = run(backend, lambda x, u, e: module.regression(path, denoise, x, u, e, weighting), x, first, noise)
    np.testing.assert_allclose(found, weight * error, rtol=1e-9)


# ---- the flow and the samplers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_log_density_of_the_flow_meets_its_closed_form(backend: str, schedule: Schedule) -> None:
    module, x = diffusion(backend), np.array([[0.3, -1.1], [2.0, 0.4]])
    alpha, sigma = levels(schedule, np.array([0.0, 1.0]))
    spread = np.sqrt(alpha**2 * VARIANCE + sigma**2)
    end = transported(schedule, x, 0.0, 1.0)
    prior = stats.norm(0.0, 1.0 if schedule.preserving else sigma[1])
    expected = (prior.logpdf(end) + np.log(spread[1] / spread[0])).sum(-1)
    path, denoise = process(backend, schedule), exact(backend, schedule, "noise")
    found = run(backend, lambda x: module.log_prob(path, denoise, x, rtol=1e-8), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpm_solver_pp": 2}


@pytest.mark.parametrize("sampler", ORDERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_samplers_converge_to_the_exact_map_at_their_order(backend: str, sampler: str) -> None:
    module, schedule = diffusion(backend), schedules.variance_exploding(0.1, 5.0)
    path, denoise = process(backend, schedule), exact(backend, schedule, "noise")
    start = np.array([[0.7, -1.3]])
    end = transported(schedule, start * 5.0, 1.0, 0.0)
    alpha, sigma = levels(schedule, np.asarray(0.0))
    exactly = MEAN + alpha * VARIANCE * (end - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)
    counts, errors = np.array([65, 129, 257, 513]), []
    for count in counts:
        found = run(backend, lambda z, count=count: getattr(module, sampler)(path, denoise, z, steps=int(count)), start)
        errors.append(np.abs(found - exactly).max())
    slope = -np.polyfit(np.log(counts - 1), np.log(errors), 1)[0]
    assert slope == pytest.approx(ORDERS[sampler], abs=0.2), errors


@pytest.mark.parametrize(
    "sampler", ["ancestral", "ddim", "ddim_eta", "sde", "sde_heun", "heun", "dpm_solver_pp", "ode"]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_have_the_moments_of_the_data(backend: str, sampler: str) -> None:
    """Within three standard errors and each rule's own bias at this many steps."""
    module, schedule, rows, count = diffusion(backend), schedules.linear(), 20_000, 300
    path, denoise = process(backend, schedule), exact(backend, schedule, "noise")
    generator = np.random.default_rng(1)
    start, noise = generator.standard_normal((rows, 1)), generator.standard_normal((rows, count, 1))
    calls: dict[str, Callable[[Any, Any], Any]] = {
        "ancestral": lambda z, e: module.ancestral(path, denoise, z, e),
        "ddim": lambda z, _: module.ddim(path, denoise, z, steps=count),
        "ddim_eta": lambda z, e: module.ddim(path, denoise, z, e, steps=count, eta=0.5),
        "sde": lambda z, e: module.sde(path, denoise, z, e, solver="euler_maruyama"),
        "sde_heun": lambda z, e: module.sde(path, denoise, z, e, solver="heun"),
        "heun": lambda z, _: module.heun(path, denoise, z, steps=count),
        "dpm_solver_pp": lambda z, _: module.dpm_solver_pp(path, denoise, z, steps=count),
        "ode": lambda z, _: module.ode(path, denoise, z, steps=count, solver="rk4"),
    }
    drawn = run(backend, calls[sampler], start, noise)[:, 0]
    assert drawn.mean() == pytest.approx(MEAN, abs=3 * math.sqrt(VARIANCE / rows) + 0.01)
    assert drawn.var() == pytest.approx(VARIANCE, abs=VARIANCE * (3 * math.sqrt(2 / rows) + 0.02))


@pytest.mark.parametrize("steps", [None, 40])
def test_samplers_of_both_backends_agree_at_equal_noise(steps: int | None) -> None:
    generator, schedule = np.random.default_rng(2), schedules.cosine()
    start, noise = generator.standard_normal((3, 2)), generator.standard_normal((3, 12, 2))
    known = (np.array([[True, False]] * 3), np.full((3, 2), 0.8), generator.standard_normal((3, 2)))
    results: dict[str, dict[str, np.ndarray]] = {}
    for backend in BACKENDS:
        module, path, denoise = (
            diffusion(backend),
            process(backend, schedule, steps=steps),
            exact(backend, schedule, "noise"),
        )
        calls = {
            "ancestral": lambda z, e, m=module, p=path, d=denoise: m.ancestral(p, d, z, e),
            "ddim": lambda z, e, m=module, p=path, d=denoise: m.ddim(p, d, z, e, steps=12, eta=0.7),
            "dpm": lambda z, _, m=module, p=path, d=denoise: m.dpm_solver_pp(p, d, z, steps=12),
            "sde": lambda z, e, m=module, p=path, d=denoise: m.sde(p, d, z, e, solver="heun"),
            "euler": lambda z, _, m=module, p=path, d=denoise: m.euler(p, d, z, steps=12),
        }
        results[backend] = {name: run(backend, call, start, noise) for name, call in calls.items()}

        def given(z: Any, e: Any, *known: Any, m=module, p=path, d=denoise) -> Any:
            return m.ancestral(p, d, z, e, known=known)

        results[backend]["known"] = run(backend, given, start, noise, *known)
    for name, found in results["pyro"].items():
        np.testing.assert_allclose(found, results["numpyro"][name], rtol=1e-9, atol=1e-9)
    assert (results["pyro"]["known"][:, 0] == 0.8).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_guidance_moves_the_prediction_along_what_the_condition_adds(backend: str) -> None:
    module = diffusion(backend)
    both = module.guided(lambda x, t: 3 * x + t, lambda x, t: x - t, 2.5)
    found = run(backend, both, np.array(1.2), np.array(0.5))
    assert found == pytest.approx((1.2 - 0.5) + 2.5 * ((3.6 + 0.5) - (1.2 - 0.5)))

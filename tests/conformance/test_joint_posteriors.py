"""Latents that an engine samples beside the parameters: their posteriors in closed form."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dgmppl as dg
from tests.conformance.joint import spec
from tests.support import BACKENDS

with warnings.catch_warnings():
    # 0.23 announces 1.0 once a day.
    warnings.simplefilter("ignore")
    import arviz as az

Array = NDArray[np.float64]

NUTS = "nuts(warmup=300, draws=700, chains=2)"
# One linear-Gaussian factor: the coefficients of the unknowns, the value of their sum, and its standard deviation.
Line = tuple[dict[int, float], float, float]


def gaussian(size: int, lines: list[Line]) -> tuple[Array, Array]:
    """Mean and standard deviation of the unknowns of a linear-Gaussian model."""
    precision, pull = np.zeros((size, size)), np.zeros(size)
    for coefficients, value, sd in lines:
        row = np.zeros(size)
        row[list(coefficients)] = list(coefficients.values())
        precision += np.outer(row, row) / sd**2
        pull += row * value / sd**2
    covariance = np.linalg.inv(precision)
    return covariance @ pull, np.sqrt(np.diag(covariance))


def agree(draws: Array, mean: Array, sd: Array) -> None:
    """Means and standard deviations of `[chain, draw, D]` within four Monte Carlo standard errors; R-hat near one."""
    for place in range(draws.shape[-1]):
        one = draws[..., place].astype(np.float64)
        assert abs(one.mean() - mean[place]) < 4 * float(az.mcse(one)), place
        assert abs(one.std() - sd[place]) < 4 * float(az.mcse(one, method="sd")), place
        assert float(az.rhat(one)) < 1.03, place


def stacked(posterior: dict[str, Array], *names: str) -> Array:
    """Draws of several unknowns side by side, `[chain, draw, D]`."""
    return np.concatenate([posterior[name].reshape(*posterior[name].shape[:2], -1) for name in names], -1)


HOLES = [0.4, None, 1.1, None, -0.6, 2.0]
ANSWERS = [0.1, 1.3, None, -0.2, 0.0, 1.7]


def conjugate_survey() -> tuple[Any, tuple[str, ...], list[Line]]:
    """m ~ N(0, 1), x ~ N(m, 1), y ~ N(0.8 x, 0.5): the unknowns are m and the two gaps."""
    declared = spec(
        {"x": {"values": HOLES}, "y": {"values": ANSWERS}},
        {"m": "Normal(0, 1)"},
        {"x": "Normal(m, 1)", "y": "Normal(0.8 * x, 0.5)"},
        NUTS,
    )
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0)]
    lines += [({0: 1.0}, x, 1.0) for x in HOLES if x is not None]
    for number, place in enumerate((1, 3), 1):
        answer = ANSWERS[place]
        assert answer is not None
        lines += [({number: 1.0, 0: -1.0}, 0.0, 1.0), ({number: 0.8}, answer, 0.5)]
    return declared, ("m", "x.missing"), lines


def conjugate_rows() -> tuple[Any, tuple[str, ...], list[Line]]:
    """mu ~ N(0, 1), z ~ N(mu, 1) for each row, log y ~ N(z, 0.5)."""
    logs = [0.3, -1.0, 1.5]
    data = {"y": {"values": [math.exp(one) for one in logs]}}
    model = {"z": "Normal(mu, 1)", "y": "LogNormal(z, 0.5)"}
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0)]
    for number, one in enumerate(logs, 1):
        lines += [({number: 1.0, 0: -1.0}, 0.0, 1.0), ({number: 1.0}, one, 0.5)]
    return spec(data, {"mu": "Normal(0, 1)"}, model, NUTS), ("mu", "z"), lines


def conjugate_series() -> tuple[Any, tuple[str, ...], list[Line]]:
    """z_0 ~ N(0, 1), z_t ~ N(0.9 z_{t-1}, 0.5), log y_t ~ N(mu + z_t, 0.7)."""
    logs = [0.3, -1.0, 1.5, 0.2]
    data = {"y": {"values": [math.exp(one) for one in logs], "whole": True}}
    model = {"z[0]": "Normal(0, 1)", "z[t]": "Normal(0.9 * z[t-1], 0.5)", "y[t]": "LogNormal(mu + z[t], 0.7)"}
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0), ({1: 1.0}, 0.0, 1.0)]
    lines += [({number: 1.0, number - 1: -0.9}, 0.0, 0.5) for number in range(2, 5)]
    lines += [({0: 1.0, number: 1.0}, one, 0.7) for number, one in enumerate(logs, 1)]
    return spec(data, {"mu": "Normal(0, 1)"}, model, NUTS), ("mu", "z"), lines


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [conjugate_survey, conjugate_rows, conjugate_series])
def test_conjugate_posteriors(case: Any, backend: str) -> None:
    declared, names, lines = case()
    fit = dg.compile(declared, backend=backend).fit(seed=1)
    assert fit.draws is not None
    mean, sd = gaussian(1 + max(max(coefficients) for coefficients, _, _ in lines), lines)
    agree(stacked(fit.draws.posterior, *names), mean, sd)


TRUTH = {"m": 0.5, "s": 1.2, "a": 0.3, "b": 0.8, "sigma": 0.6}


def simulated_survey(rows: int = 40, seed: int = 3) -> tuple[Array, Array]:
    """x and y of a survey; x is missing more often where y is large, y now and then: at random, given the rest.

    No x is missing because of itself, nor where y is missing too.
    """
    generator = np.random.default_rng(seed)
    x = generator.normal(TRUTH["m"], TRUTH["s"], rows)
    y = TRUTH["a"] + TRUTH["b"] * x + TRUTH["sigma"] * generator.standard_normal(rows)
    lost = generator.uniform(size=rows) < 1 / (1 + np.exp(-2 * (y - 1)))
    silent = ~lost & (generator.uniform(size=rows) < 0.1)
    return np.where(lost, np.nan, x), np.where(silent, np.nan, y)


def marginal(theta: Array, x: Array, y: Array) -> Array:
    """log p(theta, data) over theta = (m, log s, a, b, log sigma), [.., 5], the gaps of x integrated out by hand."""
    m, log_s, a, b, log_sigma = (theta[..., place, None] for place in range(5))
    s, sigma = np.exp(log_s), np.exp(log_sigma)
    known, answered = ~np.isnan(x), ~np.isnan(y)
    whole, alone = known & answered, ~known & answered
    parts = [_normal(part, 0, 2) for part in (m, a, b)]
    parts += [_normal(s, 0, 1) + log_s, _normal(sigma, 0, 1) + log_sigma, _normal(x[known], m, s)]
    parts += [_normal(y[whole], a + b * x[whole], sigma), _normal(y[alone], a + b * m, np.hypot(sigma, b * s))]
    return np.sum([part.sum(-1) for part in parts], 0)


def _normal(x: Any, loc: Any, scale: Any) -> Array:
    return np.asarray(-0.5 * ((x - loc) / scale) ** 2 - np.log(scale))


@pytest.mark.parametrize("backend", ["numpyro", pytest.param("pyro", marks=pytest.mark.slow)])
def test_a_survey_with_gaps_at_random(backend: str) -> None:
    """The draws satisfy Stein's identities of the posterior in which the gaps are integrated out by hand.

    E[d log p / d theta_i] = 0 and E[theta_j d log p / d theta_i] = -1 (i = j) or 0, over the density p of the draws.
    The gaps have their normal conditional given each draw of the parameters.
    """
    x, y = simulated_survey()
    declared = spec(
        {"x": {"shape": []}, "y": {"shape": []}},
        {"m": "Normal(0, 2)", "s": "HalfNormal(1)", "a": "Normal(0, 2)", "b": "Normal(0, 2)", "sigma": "HalfNormal(1)"},
        {"x": "Normal(m, s)", "y": "Normal(a + b * x, sigma)"},
        "nuts(warmup=250, draws=400, chains=2)",
    )
    fit = dg.compile(declared, backend=backend).fit({"x": x, "y": y}, seed=2)
    assert fit.draws is not None
    draws = {name: values.astype(np.float64) for name, values in fit.draws.posterior.items()}
    theta = np.stack([draws["m"], np.log(draws["s"]), draws["a"], draws["b"], np.log(draws["sigma"])], -1)
    slopes = _slopes(theta, x, y)
    for place in range(5):
        check(slopes[..., place], 0.0)
        check((theta[..., place] - theta[..., place].mean()) * slopes[..., place], -1.0)
    gaps = np.isnan(x)
    m, s, a, b, sigma = (draws[name][..., None] for name in ("m", "s", "a", "b", "sigma"))
    variance = 1 / (1 / s**2 + b**2 / sigma**2)
    centre = variance * (m / s**2 + b * (y[gaps] - a) / sigma**2)
    standard = (draws["x.missing"] - centre) / np.sqrt(variance)
    check(standard.mean(-1), 0.0)
    check((standard**2).mean(-1), 1.0)


def _slopes(theta: Array, x: Array, y: Array, step: float = 1e-5) -> Array:
    """d log p / d theta_i at each draw, [.., 5]."""
    ways = step * np.eye(theta.shape[-1])
    rises = [marginal(theta + way, x, y) - marginal(theta - way, x, y) for way in ways]
    return np.stack(rises, -1) / (2 * step)


def check(values: Array, expected: float) -> None:
    """The mean of `[chain, draw]` is what is expected, within four Monte Carlo standard errors."""
    assert abs(values.mean() - expected) < 4 * float(az.mcse(values)), (values.mean(), expected)

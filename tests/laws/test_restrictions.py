"""Truncated, censored and ordered densities: quadrature, far tails, draws and derivatives, on both backends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.tables import LOG_DENSITIES
from dgmppl_numpyro import densities as jax_densities
from dgmppl_numpyro import restrictions as jax_restrictions
from dgmppl_numpyro import tails as jax_tails
from dgmppl_pyro import densities as torch_densities
from dgmppl_pyro import restrictions as torch_restrictions
from dgmppl_pyro import tails as torch_tails

BACKENDS = ("pyro", "numpyro")
LINE = ((-1.0, 2.0), (8.0, 9.0), (-12.0, -10.0), (None, -5.0), (3.0, None))
HALF = ((1.0, 2.0), (8.0, 9.0), (None, 0.2), (3.0, None))


@dataclass(frozen=True)
class Case:
    """A distribution of the table, as SciPy knows it, and bounds of which some lie far out."""

    parameters: tuple[float, ...]
    exact: Any
    bounds: tuple[tuple[float | None, float | None], ...] = LINE


CASES = {
    "Normal": Case((0.3, 1.2), stats.norm(0.3, 1.2)),
    "Laplace": Case((0.3, 1.2), stats.laplace(0.3, 1.2)),
    "Logistic": Case((0.3, 1.2), stats.logistic(0.3, 1.2)),
    "Cauchy": Case((0.3, 1.2), stats.cauchy(0.3, 1.2)),
    "Gumbel": Case((0.3, 1.2), stats.gumbel_r(0.3, 1.2), (*LINE[:2], (-5.0, -3.0), (None, -2.0), (3.0, None))),
    "LogNormal": Case((0.3, 1.2), stats.lognorm(1.2, scale=math.exp(0.3)), (*HALF, (80.0, 90.0))),
    "HalfNormal": Case((1.2,), stats.halfnorm(scale=1.2), HALF),
    "HalfCauchy": Case((1.2,), stats.halfcauchy(scale=1.2), HALF),
    "Exponential": Case((1.2,), stats.expon(scale=1 / 1.2), HALF),
    "Weibull": Case((1.5, 1.7), stats.weibull_min(1.7, scale=1.5), HALF),
    "Uniform": Case((-2.0, 3.0), stats.uniform(-2.0, 5.0), ((1.0, 2.0), (-5.0, 1.0), (None, 0.2), (-1.0, None))),
}
BOUNDED = [(name, low, high) for name, case in CASES.items() for low, high in case.bounds]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def array(backend: str, x: Any, dtype: str = "float64") -> Any:
    return torch.as_tensor(np.asarray(x, dtype)) if backend == "pyro" else jnp.asarray(x, dtype)


def restrictions(backend: str) -> Any:
    return torch_restrictions if backend == "pyro" else jax_restrictions


def tails(backend: str, family: str, parameters: tuple[Any, ...]) -> Any:
    return getattr(torch_tails if backend == "pyro" else jax_tails, family)(*parameters)


def log_density(backend: str, family: str, x: Any, parameters: tuple[Any, ...]) -> Any:
    if family not in LOG_DENSITIES:
        scale, shape = parameters  # of a Weibull, which the libraries compute
        logs = torch.log if backend == "pyro" else jnp.log
        z = x / scale
        return logs(z) * (shape - 1.0) + logs(0.0 * x + shape / scale) - z**shape
    return getattr(torch_densities if backend == "pyro" else jax_densities, LOG_DENSITIES[family])(x, *parameters)


def restricted(backend: str, kind: str, family: str, x: Any, parameters: tuple[Any, ...], **bounds: Any) -> Any:
    inside = log_density(backend, family, x, parameters)
    return getattr(restrictions(backend), kind)(inside, x, tails(backend, family, parameters), **bounds)


def between(backend: str, family: str, u: Any, low: float | None, high: float | None) -> Any:
    return restrictions(backend).between(u, tails(backend, family, CASES[family].parameters), low, high)


LEVELS = np.linspace(0.02, 0.98, 17)


def exact(family: str, x: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """log p(x | low < X < high), the mass by whichever tail loses nothing."""
    of, ends = CASES[family].exact, [-math.inf if low is None else low, math.inf if high is None else high]
    below, above = np.diff(of.cdf(ends))[0], -np.diff(of.sf(ends))[0]
    return np.asarray(of.logpdf(x) - math.log(above if ends[0] > of.median() else below))


def test_every_distribution_with_tails_is_here() -> None:
    assert set(CASES) == {name for name, family in DISTRIBUTIONS.items() if family.tails}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("family", "low", "high"), BOUNDED)
def test_truncated_densities(backend: str, family: str, low: float | None, high: float | None) -> None:
    """Against SciPy, and the integral over a partition; draws have the levels that they were drawn at."""
    parameters = CASES[family].parameters
    x = np.asarray(between(backend, family, array(backend, LEVELS), low, high))
    found = np.asarray(restricted(backend, "truncated", family, array(backend, x), parameters, low=low, high=high))
    np.testing.assert_allclose(found, exact(family, x, low, high), rtol=1e-9, atol=1e-9)

    def density(at: float) -> float:
        value = restricted(backend, "truncated", family, array(backend, at), parameters, low=low, high=high)
        return math.exp(float(value))

    masses = [quad(density, left, right, epsabs=0, epsrel=1e-9)[0] for left, right in pairwise(x[::8])]
    np.testing.assert_allclose(masses, np.diff(LEVELS[::8]), rtol=1e-7)


@pytest.mark.parametrize(("family", "low", "high"), BOUNDED)
def test_parity_and_single_precision(family: str, low: float | None, high: float | None) -> None:
    parameters = CASES[family].parameters
    x = between("pyro", family, array("pyro", LEVELS), low, high).numpy()
    other = np.asarray(between("numpyro", family, array("numpyro", LEVELS), low, high))
    np.testing.assert_allclose(x, other, rtol=1e-12)
    values = [
        np.asarray(restricted(backend, "truncated", family, array(backend, x), parameters, low=low, high=high))
        for backend in BACKENDS
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9, atol=1e-12)
    # The logarithm of the tail is rounded, and so is the point, where the density falls by `slope`.
    slope = np.abs(np.gradient(values[0], x)).max()
    single = np.finfo(np.float32).eps * (10 + 4 * (np.abs(CASES[family].exact.logpdf(x)).max() + slope * abs(x).max()))
    for backend in BACKENDS:
        point = array(backend, x, "float32")
        found = np.asarray(restricted(backend, "truncated", family, point, parameters, low=low, high=high))
        assert found.dtype == np.float32
        inside = np.isfinite(found)  # a point next to a bound may be rounded across it
        assert inside[1:-1].all()
        np.testing.assert_allclose(found[inside], values[0][inside], atol=single)


def test_the_truncated_normal_of_scipy() -> None:
    edges = (0.3 + 1.2 * 8, 0.3 + 1.2 * 9)
    x = np.linspace(*edges, 9)
    exact = stats.truncnorm(8, 9, loc=0.3, scale=1.2).logpdf(x)
    for backend in BACKENDS:
        point = array(backend, x)
        found = restricted(backend, "truncated", "Normal", point, (0.3, 1.2), low=edges[0], high=edges[1])
        np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-12)


@pytest.mark.parametrize(("family", "low", "high"), BOUNDED)
def test_gradients_are_finite_and_those_of_differences(family: str, low: float | None, high: float | None) -> None:
    """In every parameter and bound; of the density in both precisions, of draws in double."""
    bounds = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
    x = between("pyro", family, array("pyro", LEVELS), low, high)
    unknown = np.array([*CASES[family].parameters, *bounds.values()])
    count = len(CASES[family].parameters)

    def total(backend: str, dtype: str, unknown: Any) -> Any:
        point = array(backend, x.numpy()[1:-1], dtype)
        given = dict(zip(bounds, unknown[count:], strict=True))
        return restricted(backend, "truncated", family, point, tuple(unknown[:count]), **given).sum()

    def drawn(backend: str, dtype: str, unknown: Any) -> Any:
        given = dict(zip(bounds, unknown[count:], strict=True))
        of = tails(backend, family, tuple(unknown[:count]))
        return restrictions(backend).between(array(backend, LEVELS, dtype), of, **given).sum()

    for function in (total, drawn):
        steps = 1e-6 * np.maximum(1.0, abs(unknown)) * np.eye(len(unknown))
        ends = [
            (float(function("pyro", "float64", torch.tensor(unknown + step))),
             float(function("pyro", "float64", torch.tensor(unknown - step)))) for step in steps
        ]  # fmt: skip
        expected = [(up - down) / (2 * step.max()) for (up, down), step in zip(ends, steps, strict=True)]
        for dtype, tolerance in (("float64", 1e-6), ("float32", 3e-3)):
            for backend in BACKENDS:
                found = gradient(backend, lambda part: function(backend, dtype, part), unknown, dtype)  # noqa: B023
                scale = max(1.0, np.abs(expected).max())
                np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def gradient(backend: str, function: Any, at: np.ndarray, dtype: str) -> np.ndarray:
    if backend == "numpyro":
        return np.asarray(jax.grad(function)(jnp.asarray(at, dtype)))
    leaf = torch.tensor(at.astype(dtype), requires_grad=True)
    return torch.autograd.grad(function(leaf), leaf)[0].numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", CASES)
def test_censored_masses_and_density_sum_to_one(backend: str, family: str) -> None:
    parameters, of = CASES[family].parameters, CASES[family].exact
    low, high = of.ppf(0.2), of.ppf(0.7)

    def density(at: float) -> float:
        value = restricted(backend, "censored", family, array(backend, at), parameters, low=low, high=high)
        return math.exp(float(value))

    inside = quad(density, np.nextafter(low, high), np.nextafter(high, low))[0]
    np.testing.assert_allclose([density(low), inside, density(high)], [0.2, 0.5, 0.3], rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_outside_of_bounds(backend: str) -> None:
    """Truncated they are impossible, censored they count as at the bound."""
    x = array(backend, [-1.0, 3.0])
    outside = restricted(backend, "truncated", "Normal", x, (0.0, 1.0), low=0.0, high=2.0)
    assert (np.asarray(outside) == -math.inf).all()
    beyond = restricted(backend, "censored", "Normal", x, (0.0, 1.0), low=0.0, high=2.0)
    np.testing.assert_allclose(np.asarray(beyond), [stats.norm.logcdf(0.0), stats.norm.logsf(2.0)], rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ordered_vectors(backend: str) -> None:
    """log n! + sum_i log p(x_i) in one of the n! orders, nothing in the others; sorting makes that order."""
    x = np.array([-0.4, 0.1, 1.3])
    orders = array(backend, list(permutations(x)))
    found = np.asarray(restrictions(backend).ordered(log_density(backend, "Normal", orders, (0.0, 1.0)), orders))
    assert found[0] == pytest.approx(math.log(6) + stats.norm.logpdf(x).sum(), rel=1e-12)
    assert (found[1:] == -math.inf).all()
    np.testing.assert_array_equal(np.asarray(restrictions(backend).ascending(orders)), np.broadcast_to(x, (6, 3)))

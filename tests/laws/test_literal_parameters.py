"""Densities and divergences take Python numbers wherever they take arrays, alone and beside arrays."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln
from scipy.stats import betabinom, chi2, pareto, weibull_min

import dgmppl as dg
import dgmppl_numpyro.densities
import dgmppl_pyro.densities
from tests.support import BACKENDS

MODULES: dict[str, ModuleType] = {"pyro": dgmppl_pyro.densities, "numpyro": dgmppl_numpyro.densities}

# What takes integers, vectors or matrices: their literals are arrays by the time that they are printed.
_OF_ARRAYS = (
    "discretized",
    "multivariate",
    "dirichlet",
    "categorical",
    "low_rank",
    "gaussian_posterior",
    "lkj",
    "multinomial",
)


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions of a module whose arguments are real numbers, one each."""
    found = {name: one for name, one in vars(module).items() if inspect.isfunction(one) and name[0] != "_"}
    return {
        name: one
        for name, one in found.items()
        if one.__module__ == module.__name__ and not any(word in name for word in _OF_ARRAYS)
    }


def of_backend(backend: str, value: float) -> Any:
    """Two copies of a number as an array."""
    pair = np.full(2, value)
    return torch.from_numpy(pair) if backend == "pyro" else jnp.asarray(pair)


def name_pairs() -> list[tuple[str, str]]:
    return [(backend, name) for backend, module in MODULES.items() for name in functions(module)]


@pytest.mark.parametrize(("backend", "name"), name_pairs())
def test_a_number_counts_as_an_array_of_it(backend: str, name: str) -> None:
    function = functions(MODULES[backend])[name]
    arguments = list(inspect.signature(function).parameters)
    numbers = [0.3 + 0.1 * place for place in range(len(arguments))]
    # The value of a density is always an array; of a divergence at least one parameter is.
    fixed = {0} if arguments[0] == "x" else set()
    with jax.enable_x64(True):
        whole = np.asarray(function(*(of_backend(backend, number) for number in numbers)))
        for chosen in itertools.product((True, False), repeat=len(arguments)):
            arrays = {place for place, is_array in enumerate(chosen) if is_array or place in fixed}
            if not arrays:
                continue
            given = [of_backend(backend, number) if place in arrays else number for place, number in enumerate(numbers)]
            np.testing.assert_allclose(np.broadcast_to(np.asarray(function(*given)), (2,)), whole, rtol=1e-12)


def kl_gamma(a: float, b: float, a0: float, b0: float) -> float:
    return float((a - a0) * digamma(a) - gammaln(a) + gammaln(a0) + a0 * np.log(b / b0) + a * (b0 - b) / b)


def kl_bernoulli(p: float, p0: float) -> float:
    return float(p * np.log(p / p0) + (1 - p) * np.log((1 - p) / (1 - p0)))


CONSTANT_GUIDES = {
    "Normal": ("Normal(0.3, 0.5, shape=2)", "Normal(0, 1, shape=2)", 2 * (0.5 * (0.25 + 0.09 - 1) - np.log(0.5))),
    "Gamma": ("Gamma(2, 3, shape=2)", "Gamma(1.5, 1, shape=2)", 2 * kl_gamma(2.0, 3.0, 1.5, 1.0)),
    "Bernoulli": ("Bernoulli(0.3)", "Bernoulli(0.5)", kl_bernoulli(0.3, 0.5)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", CONSTANT_GUIDES)
def test_a_guide_of_numbers_has_its_divergence(family: str, backend: str) -> None:
    guide, prior, expected = CONSTANT_GUIDES[family]
    spec = {
        "dgmppl": 1, "name": "fixed", "data": {"x": {"shape": []}}, "parameters": {"a": "learned(0.5)"},
        "model": {"z": prior, "x": "Normal(a + 0.0 * sum(z), 1)"}, "guide": {"z": guide}, "objective": "elbo()",
    }  # fmt: skip
    bound = dg.compile(spec, backend).at({"a": np.asarray(0.5)}).elbo(np.array([0.5, 1.5]), particles=3)
    likelihood = -0.5 * np.array([0.0, 1.0]) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(bound, likelihood - expected, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_of_a_given_mean_are_drawn(backend: str) -> None:
    spec = {
        "dgmppl": 1, "name": "counts", "data": {"x": {"shape": [3], "support": "count"}},
        "model": {"x": "NegativeBinomial(2.5, 3, shape=3)"},
    }  # fmt: skip
    drawn = dg.compile(spec, backend).at({}).sample(4000, seed=1)
    # mean m, variance m + m^2 / concentration
    error = np.sqrt((2.5 + 2.5**2 / 3.0) / 4000)
    assert drawn.shape == (4000, 3)
    assert np.all(np.abs(drawn.mean(0) - 2.5) < 4.5 * error)


@pytest.mark.parametrize("backend", BACKENDS)
def test_whole_numbers_of_a_real_variable_are_real(backend: str) -> None:
    spec = {
        "dgmppl": 1, "name": "whole", "data": {"x": {"shape": [1]}}, "networks": {"read": "linear()"},
        "parameters": {"w": "learned(1.0)"}, "model": {"z": "Normal(0, 1, shape=1)", "x": "Normal(w * sin(z), 1)"},
        "guide": {"z": "Normal(read(x), 0.5)"},
    }  # fmt: skip
    whole = np.array([[2.0], [-2.0], [1.0], [0.0]])
    fits = [dg.compile(spec, backend, {"x": values}).initial(0) for values in (whole, whole + 1e-7)]
    bounds = [fit.elbo(particles=5) for fit in fits]
    np.testing.assert_allclose(bounds[0], bounds[1], atol=1e-5)
    assert np.isfinite(fits[0].program.fit(steps=2).records[-1]["loss"])


# In float64 against SciPy: families whose densities the libraries' own were once used for.
BY_SCIPY: dict[str, tuple[str, str, list[float], Any]] = {
    "BetaBinomial": ("BetaBinomial(1.3, 2.2, 9)", "count", [0, 3, 9, 10, 12], betabinom(9, 1.3, 2.2).logpmf),
    "BetaBinomial of whole numbers": ("BetaBinomial(10, 2, 3)", "count", [0, 3, 5], betabinom(3, 10, 2).logpmf),
    "Weibull": ("Weibull(1.5, 2.5)", "positive", [0.2, 1.0, 4.0], weibull_min(2.5, scale=1.5).logpdf),
    "Pareto": ("Pareto(1.5, 2.5)", "positive", [1.6, 4.0], pareto(2.5, scale=1.5).logpdf),
    "Chi2": ("Chi2(3.5)", "positive", [0.2, 1.0, 4.0], chi2(3.5).logpdf),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BY_SCIPY)
def test_densities_are_scipy_s(name: str, backend: str) -> None:
    density, support, values, expected = BY_SCIPY[name]
    spec = {
        "dgmppl": 1, "name": "one", "data": {"x": {"shape": [], "support": support}, "y": {"shape": []}},
        "parameters": {"a": "learned(0.0)"}, "model": {"x": density, "y": "Normal(a, 1)"},
    }  # fmt: skip
    x = np.array(values, dtype=float if support == "positive" else np.int64)
    # A parameter in float64, and a datum at its mean, make the precision known.
    fit = dg.compile(spec, backend).at({"a": np.asarray(0.5)})
    found = fit.log_prob({"x": x, "y": np.full(len(x), 0.5)}) + 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(found, expected(x), rtol=1e-12, atol=1e-14)

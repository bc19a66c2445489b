"""Densities of integers, and of functions of integers, keep the precision of their program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from dgmppl.compiler import compile_spec
from tests.support import BACKENDS

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Densities of integers, or of functions of integers, in which a literal stands where a parameter's dtype would tell.
# Written with x for the column, s = 1.7 for the one learned parameter.
_INTEGERS = {
    "Normal((x + 0.1) / 3 + x / 7, s)": lambda x, s: stats.norm((x + 0.1) / 3 + x / 7, s).logpdf(0.0),
    "Normal(0.3 - x, s)": lambda x, s: stats.norm(0.3 - x, s).logpdf(0.0),
    "Normal(where(x > 1, 0.1, 0.7), s)": lambda x, s: stats.norm(np.where(x > 1, 0.1, 0.7), s).logpdf(0.0),
    "Normal(exp(0.1 * x) + sqrt(x), s)": lambda x, s: stats.norm(np.exp(0.1 * x) + np.sqrt(x), s).logpdf(0.0),
}
_COUNTS = {
    "Poisson(2.3)": lambda x, _: stats.poisson(2.3).logpmf(x),
    "Geometric(probs=0.3)": lambda x, _: stats.geom(0.3, loc=-1).logpmf(x),
    "NegativeBinomial(2.3, s)": lambda x, s: stats.nbinom(s, s / (s + 2.3)).logpmf(x),
    "NegativeBinomial(s, 2.3)": lambda x, s: stats.nbinom(2.3, 2.3 / (s + 2.3)).logpmf(x),
    "Poisson(s)": lambda x, s: stats.poisson(s).logpmf(x),
    "Geometric(logits=0.3)": lambda x, _: stats.geom(expit(0.3), loc=-1).logpmf(x),
    "Binomial(9, probs=0.3)": lambda x, _: stats.binom(9, 0.3).logpmf(x),
    "Binomial(9, logits=0.3)": lambda x, _: stats.binom(9, expit(0.3)).logpmf(x),
    "Bernoulli(logits=0.3)": lambda x, _: stats.bernoulli(expit(0.3)).logpmf(x),
    "Bernoulli(0.3)": lambda x, _: stats.bernoulli(0.3).logpmf(x),
}
_SUPPORTS = {"Binomial": "integer(10)", "Bernoulli": "binary"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("density", [*_INTEGERS, *_COUNTS])
def test_integers_do_not_fall_back_to_single_precision(density, backend) -> None:
    counted, support = density in _COUNTS, _SUPPORTS.get(density.split("(")[0], "count")
    numbers = np.array([0, 1, 1, 0, 1] if support == "binary" else [0, 1, 2, 5, 9])
    data: dict[str, Any] = {"x": {"values": numbers.tolist(), "support": support}}
    data["y"] = {"values": [0.0] * 5, "support": "real"}
    model = {"x": density, "y": "Normal(0.2, s)"} if counted else {"y": density}
    spec = {"dgmppl": 1, "name": "integers", "data": data, "model": model, "parameters": {"s": "learned(positive())"}}
    compiled = compile_spec(spec, backend=backend)
    batch = {"x": numbers, "y": np.zeros(5)}
    found = compiled.executable.call("log_prob", {"s": np.array(1.7)}, batch)["value"]
    expected = (_COUNTS if counted else _INTEGERS)[density](numbers, 1.7)
    expected = expected + stats.norm(0.2, 1.7).logpdf(0.0) if counted else expected
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_of_integers_alone_has_a_density(backend) -> None:
    """Nothing real is at hand for a dtype: the density is in single precision, whose relative error is 6e-8."""
    spec = {"dgmppl": 1, "name": "alone", "data": {"x": {"values": [0, 3, 7], "support": "count"}}}
    compiled = compile_spec({**spec, "model": {"x": "Poisson(2.3)"}}, backend=backend)
    numbers = np.array([0, 3, 7])
    found = compiled.executable.call("log_prob", {}, {"x": numbers})["value"]
    np.testing.assert_allclose(found, stats.poisson(2.3).logpmf(numbers), rtol=1e-6)

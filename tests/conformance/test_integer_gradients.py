"""Gradients by the parameters of densities on integers, at integer data, against central differences; both backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support import both

COUNTS, BITS = [0, 3, 1, 7], [0, 1, 1, 0]
CASES: dict[str, tuple[str, str, list[int]]] = {
    "poisson": ("Poisson(exp(a * t + b))", "count", COUNTS),
    "geometric": ("Geometric(logits=a * t + b)", "count", COUNTS),
    "geometric-probs": ("Geometric(probs=sigmoid(a * t + b))", "count", COUNTS),
    "negative-binomial": ("NegativeBinomial(exp(a * t), exp(b))", "count", COUNTS),
    "binomial": ("Binomial(9, logits=a * t + b)", "count", COUNTS),
    "binomial-probs": ("Binomial(9, probs=sigmoid(a * t + b))", "count", COUNTS),
    "beta-binomial": ("BetaBinomial(exp(a), exp(b * t), 9)", "count", COUNTS),
    "bernoulli": ("Bernoulli(logits=a * t + b)", "binary", BITS),
    "bernoulli-probs": ("Bernoulli(probs=sigmoid(a * t + b))", "binary", BITS),
    "categorical": ("Categorical(logits=stack(a, b * t, 0.3))", "integer(3)", [0, 2, 1, 1]),
    "level": ("Poisson(exp(a + t * b))", "count", COUNTS),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_at_integer_data(name: str) -> None:
    expression, support, values = CASES[name]
    covariate = [0.3, -1.2, 0.8, 0.1]
    spec: dict[str, Any] = {
        "dgmppl": 1,
        "name": "integers",
        "data": {"n": {"values": values, "support": support}, "t": {"values": covariate}},
        "parameters": {"a": "learned(0.4)", "b": "learned(-0.3)"},
        "model": {"n": expression},
    }
    point = {"a": np.array(0.4), "b": np.array(-0.3)}
    batch = {"n": np.array(values), "t": np.array(covariate)}
    for compiled in both(spec).values():
        _, gradient, _ = compiled.executable.loss("model", point, batch, gradient=True)
        for parameter in point:
            step = {**point, parameter: point[parameter] + 1e-5}
            back = {**point, parameter: point[parameter] - 1e-5}
            above, below = (compiled.executable.loss("model", at, batch)[0] for at in (step, back))
            # Central differences err by O(h^2) of a third derivative of order one, and by eps / h of rounding.
            np.testing.assert_allclose(gradient[parameter], (above - below) / 2e-5, rtol=1e-6, atol=1e-8)

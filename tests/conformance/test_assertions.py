"""`checked(x, support)`: values outside of an asserted support are NaN, on both backends."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats

from dgmppl_numpyro import operations as jax_operations
from dgmppl_pyro import operations as torch_operations
from tests.support import both

ROOT = np.array([[1.0, 0.0], [0.6, 0.8]])
# A value inside each support, and one outside.
ASSERTED: dict[str, tuple[object, object]] = {
    "real": (1.0, np.inf),
    "positive": (0.1, 0.0),
    "nonnegative": (0.0, -0.1),
    "unit": (1.0, 1.1),
    "circular": (-3.1, 3.2),
    "binary": (1.0, 0.5),
    "count": (3.0, -1.0),
    "integer": (-2.0, 0.5),
    "simplex": ([0.25, 0.75], [0.5, 0.6]),
    "ordered": ([-1.0, 2.0], [2.0, 2.0]),
    "positive_ordered": ([1.0, 2.0], [-1.0, 2.0]),
    "cholesky": (2 * ROOT, -ROOT),
    "correlation_cholesky": (ROOT, 2 * ROOT),
    "positive_definite": (ROOT @ ROOT.T, [[1.0, 2.0], [2.0, 1.0]]),
    "orthogonal": ([[0.6, -0.8], [0.8, 0.6]], ROOT),
}


@pytest.mark.parametrize("support", ASSERTED)
def test_values_outside_an_asserted_support_are_nan(support: str) -> None:
    """Row by row: what one row holds says nothing of another."""
    values = np.array(ASSERTED[support])
    expected = np.stack([values[0], np.full(values[1].shape, np.nan)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(torch_operations.checked(torch.tensor(values), support).numpy(), expected)
        found = np.asarray(jax_operations.checked(jnp.asarray(values), support))
        # Single precision unless another test has asked for double.
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_both_runtimes_check_the_same_supports() -> None:
    assert torch_operations.INSIDE.keys() == jax_operations.INSIDE.keys() == ASSERTED.keys()


def test_an_asserted_covariance_has_its_density() -> None:
    declared = {
        "dgmppl": 1,
        "name": "covariance",
        "data": {"y": {"shape": [2], "support": "real"}},
        "parameters": {"a": "learned(normal(2, 2))"},
        "model": {
            "y": "MultivariateNormal(zeros(2), covariance_matrix=checked(a @ transpose(a) + eye(2), positive_definite))"
        },
    }
    a, y = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([[0.1, -0.4], [2.0, 1.0]])
    for compiled in both(declared).values():
        (found,) = compiled.executable.call("log_prob", {"a": a}, {"y": y}).values()
        np.testing.assert_allclose(
            found, stats.multivariate_normal(np.zeros(2), a @ a.T + np.eye(2)).logpdf(y), rtol=1e-9
        )

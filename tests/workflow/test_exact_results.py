"""What exact rules removed reaches the user; beginnings are kept; actnorm starts at the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from tests.support import BACKENDS

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hidden_chain_s_posterior_is_an_arviz_group(backend: str) -> None:
    y = RNG.standard_normal((6, 4))
    spec = {
        "dgmppl": 1,
        "name": "regimes",
        "data": {"y": {"shape": [4], "support": "real"}},
        "parameters": {"P": "learned(simplex(2, 2))", "m": "learned(normal(2))"},
        "model": {
            "r[0]": "Categorical(probs=[0.5, 0.5])",
            "r[t]": "Categorical(probs=P[r[t-1]])",
            "y[t]": "Normal(m[r[t]], 1)",
        },
    }
    fit = dg.compile(spec, backend=backend, bindings={"y": y}).initial(seed=0)
    group = fit.to_arviz(x=y).posterior
    assert group["r.probs"].dims[:3] == ("chain", "draw", "datum")
    np.testing.assert_allclose(group["r.probs"].sum("r.probs_dim_1"), 1, rtol=1e-5)
    assert group["r.path"].shape == (1, 1, 6, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_beginning_is_kept_and_the_rest_is_drawn(backend: str) -> None:
    x: Any = RNG.integers(0, 2, (8, 5))
    spec = {
        "dgmppl": 1,
        "name": "bits",
        "data": {"x": {"shape": [5], "support": "binary"}},
        "networks": {"net": "made([8])"},
        "model": {"x[i]": "Bernoulli(logits=net(x[:i]))"},
    }
    fit = dg.compile(spec, backend=backend, bindings={"x": x}).initial(seed=0)
    drawn = fit.sample(200, given={"x": [1, 0, 1]})
    assert (drawn[:, :3] == [1, 0, 1]).all()
    assert 0 < drawn[:, 3:].mean() < 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_actnorm_starts_at_the_first_batch(backend: str) -> None:
    """With a coupling that starts as the identity, the whole first batch is standardized by one actnorm."""
    x = 5 + 3 * RNG.standard_normal((64, 4))
    spec = {
        "dgmppl": 1,
        "name": "warm",
        "data": {"x": {"shape": [4], "support": "real"}},
        "bijectors": {"f": "[coupling(mlp([8]), affine()), actnorm()]"},
        "model": {"z": "Normal(0, 1, shape=4)", "x": "f(z)"},
        "train": {"optimizer": "sgd(1e-12)", "batch_size": "all", "steps": 1},
    }
    fit = dg.compile(spec, backend=backend, bindings={"x": x}).fit(x, seed=0)
    np.testing.assert_allclose(fit.parameters["f.1.shift"], x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(fit.parameters["f.1.log_scale"], np.log(x.std(0)), rtol=1e-3)

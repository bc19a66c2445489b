"""Where chains start: at the densest of scattered points at which everything is finite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dgmppl.errors import RunError
from dgmppl_numpyro import starts as jax_starts
from dgmppl_pyro import starts as torch_starts
from dgmppl_pyro.gradients import eager
from dgmppl_pyro.posterior import Posterior


def test_chains_of_numpyro_start_apart_at_dense_points() -> None:
    """Of 32 points on (-2, 2) none lies in an interval of length 1 with probability 1e-4."""

    def log_density(point: dict[str, Any]) -> Any:
        return jnp.where(point["z"] > 0, jnp.nan, -(point["z"] ** 2)).sum()

    points = jax_starts.densest(log_density, {"z": jnp.zeros(1)}, jax.random.key(0), 3, lambda _: "z")
    found = np.asarray(points["z"])[:, 0]
    assert (found < 0).all()
    assert (found > -1).all()
    assert len(set(found)) == 3


def test_nowhere_to_start_is_named() -> None:
    with pytest.raises(RunError, match="no starting point with a finite log density in 100 attempts: z"):
        jax_starts.densest(lambda point: jnp.nan * point["z"].sum(), {"z": jnp.zeros(1)}, jax.random.key(0), 1,
                           lambda _: "z")  # fmt: skip


def test_a_chain_of_pyro_starts_at_a_dense_point() -> None:
    posterior = cast(Posterior, SimpleNamespace(scattered=lambda _: torch.tensor([-1.9]), size=1))
    energy = eager(lambda z: torch.where(z > 0, torch.nan, z**2).sum())
    starts = [float(torch_starts.densest(posterior, energy, seed)) for seed in range(3)]
    assert all(-1 < start < 0 for start in starts)
    assert len(set(starts)) == 3

"""Predictive criteria from posterior draws: the log density of each row had it been left out, in nats."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.results import compat
from dgmppl.results.evaluation import log_mean_exp

Array: TypeAlias = NDArray[Any]

# Vehtari et al. 2024, section 3: above it the estimate of a row is not reliable, whatever the number of draws.
_RELIABLE = 0.7


def leave_one_out(container: Any) -> tuple[Array, str]:
    """PSIS-LOO of each row, `[N]`, by ArviZ, and how many rows have an unreliable estimate.

    Vehtari, Gelman and Gabry 2017: log p(x_n | x_-n) by importance weights 1 / p(x_n | theta_s), Pareto-smoothed.

    Args:
        container: ArviZ data with `posterior` and `log_likelihood`.
    """
    with warnings.catch_warnings():
        # Rows with large shapes are counted below; 0.23 announces 1.0.
        warnings.simplefilter("ignore")
        import arviz

        found = arviz.loo(container, pointwise=True)
    values = found.loo_i if compat.major() < 1 else found.elpd_i
    unreliable = int((np.asarray(found.pareto_k) > _RELIABLE).sum())
    return np.asarray(values, np.float64).ravel(), f"{unreliable} of them with a Pareto shape above {_RELIABLE:g}"


def widely_applicable(container: Any) -> tuple[Array, str]:
    """WAIC of each row, `[N]`: log of its mean density over draws, less the variance of its log density.

    Watanabe 2010; Gelman, Hwang and Vehtari 2014. A variance above 0.4 makes a row's value unreliable.

    Args:
        container: ArviZ data with `log_likelihood`.
    """
    group = compat.groups_of(container)["log_likelihood"]
    values = np.asarray(next(iter(group.data_vars.values())), np.float64)
    values = values.reshape(values.shape[0] * values.shape[1], -1)
    spread = values.var(axis=0, ddof=1)
    return log_mean_exp(values) - spread, f"{int((spread > 0.4).sum())} of them with a variance above 0.4"

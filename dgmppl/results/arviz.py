"""Results as ArviZ groups: named dimensions, honest diagnostics, and what is expensive only when asked for.

posterior              draws of parameters with priors; for amortized latents draws of z for each datum
sample_stats           the sampler's own statistics; for variational engines log p and log q of each draw
log_likelihood         log p(x_n | theta_s), local latents integrated out, in nats
posterior_predictive   x_n drawn given theta_s
prior, prior_predictive, observed_data, constant_data
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dgmppl.backend import Draws
from dgmppl.ir.program import Program
from dgmppl.results.labels import DATUM, Axis, Rows, datum_axes, labelled, parameter_axes

Array: TypeAlias = NDArray[Any]

GROUPS = (
    "posterior", "sample_stats", "log_likelihood", "posterior_predictive", "prior", "prior_predictive",
    "observed_data", "constant_data",
)  # fmt: skip

_CHAINS = frozenset({"nuts", "hmc", "mcmc"})
_WITHHELD = (
    "draws are independent draws of an approximation, so chains cannot disagree: "
    "R-hat and ESS say nothing of its quality"
)


def posterior_group(program: Program, draws: Draws, rows: Rows | None = None) -> xr.Dataset:
    """The draws of an engine, `[chain, draw, *shape]`, with what must be known of them as attributes."""
    variables = {
        name: labelled(np.asarray(values), parameter_axes(program, name, np.shape(values)[2:], rows))
        for name, values in draws.posterior.items()
    }
    group = xr.Dataset(variables, attrs=_attributes(program, draws.sampler, draws.engine))
    if draws.notes:
        group.attrs["notes"] = "; ".join(draws.notes)
    if draws.sampler not in _CHAINS:
        group.attrs["r_hat"] = "withheld"
        group.attrs["r_hat_reason"] = _WITHHELD
    return group


def statistics_group(draws: Draws) -> xr.Dataset:
    """The sampler's statistics; for variational engines log p, log q, Pareto k-hat and the ELBO trace."""
    variables = {name: labelled(np.asarray(values), []) for name, values in draws.sample_stats.items()}
    attrs: dict[str, Any] = {}
    if draws.log_p is not None and draws.log_q is not None:
        variables["log_p"], variables["log_q"] = labelled(draws.log_p, []), labelled(draws.log_q, [])
        attrs["pareto_k"] = pareto_k(draws.log_p - draws.log_q)
        attrs["pareto_k_reading"] = "below 0.7: importance weights correct the approximation reliably"
    if draws.trace.size:
        variables["elbo"] = xr.DataArray(
            draws.trace, dims=["step"], coords={"step": np.arange(1, draws.trace.size + 1)}
        )
        variables["elbo"].attrs["units"] = "nats"
    return xr.Dataset(variables, attrs=attrs)


def exact_group(posterior: Mapping[str, Array], numbers: Array) -> xr.Dataset:
    """The exact posterior of summed or integrated latents, as one chain of one draw.

    Args:
        posterior: its parameters by name, `[N or 1, ...]`: `k.probs`, `z.path`, `z.loc`, `z.covariance`.
        numbers: the rows' numbers in the data.
    """
    variables = {}
    for name, values in posterior.items():
        each = np.broadcast_to(values, (len(numbers), *np.shape(values)[1:]))
        axes = ("chain", "draw", DATUM, *(f"{name}_dim_{axis}" for axis in range(each.ndim - 1)))
        variables[name] = (axes, each[None, None])
    described = {"description": "parameters of the exact posterior at the trained parameters, not draws of it"}
    return xr.Dataset(variables, {"chain": [0], "draw": [0], DATUM: np.asarray(numbers)}, described)


def latents_group(program: Program, latents: dict[str, Array], rows: Array, guide: str) -> xr.Dataset:
    """Draws of local latents from an amortized guide, `[draw, N, *event]`, as one chain."""
    variables = {
        name: labelled(values[None], datum_axes(program, name, values.shape[1:], rows))
        for name, values in latents.items()
    }
    attrs = _attributes(program, "amortized", guide)
    return xr.Dataset(variables, attrs={**attrs, "r_hat": "withheld", "r_hat_reason": _WITHHELD})


def likelihood_group(program: Program, observed: str, values: Array, rows: Array, how: str) -> xr.Dataset:
    """Log p(x_n | theta_s), `[chain, draw, N]`, in nats; `how` says how local latents were integrated out."""
    axis = Axis(DATUM, rows if len(rows) == values.shape[-1] else np.arange(values.shape[-1]))
    group = xr.Dataset({observed: labelled(values, [axis])}, attrs=_attributes(program, "", ""))
    group.attrs |= {"units": "nats", "latents": how}
    return group


def predictive_group(program: Program, draws: dict[str, Array], rows: Array) -> xr.Dataset:
    """Predicted data, `[chain, draw, N, *event]`, in the data's own units."""
    variables = {name: labelled(values, _predicted_axes(program, name, values, rows)) for name, values in draws.items()}
    return xr.Dataset(variables, attrs=_attributes(program, "", ""))


def _predicted_axes(program: Program, name: str, values: Array, rows: Array) -> list[Axis]:
    column = program.columns.get(name)
    if column is not None and column.whole:
        return parameter_axes(program, name, values.shape[2:])
    return datum_axes(program, name, values.shape[2:], rows)


def _attributes(program: Program, sampler: str, engine: str) -> dict[str, Any]:
    from importlib.metadata import version

    facts = {"created_by": "dgmppl", "inference_library_version": version("dgmppl"), "model": program.name}
    return {**facts, **{key: value for key, value in (("sampler", sampler), ("engine", engine)) if value}}


def pareto_k(log_ratios: Array) -> float:
    """Generalized-Pareto shape of the largest importance ratios p / q (PSIS, Vehtari et al. 2024); NaN for few draws.

    Args:
        log_ratios: log p - log q of each draw, of any shape, in nats; constants do not matter.
    """
    ratios = np.sort(np.asarray(log_ratios, dtype=np.float64).ravel())
    count = ratios.size
    tail = int(np.ceil(min(0.2 * count, 3 * np.sqrt(count))))
    if tail < 5 or not np.isfinite(ratios).all():
        return float("nan")
    excess = np.exp(ratios[-tail:] - ratios[-1]) - np.exp(ratios[-tail - 1] - ratios[-1])
    return _generalized_pareto_shape(excess)


def _generalized_pareto_shape(excess: Array) -> float:
    """The posterior-mean estimate of Zhang and Stephens (2009), with PSIS' weakly informative prior at 0.5."""
    count = excess.size
    if excess[-1] <= 0.0:
        return float("nan")
    grid = 30 + int(np.sqrt(count))
    quartile = max(excess[int(count / 4 + 0.5) - 1], np.finfo(float).tiny)
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    shape = np.log1p(-theta[:, None] * excess).mean(axis=1)
    likelihood = count * (np.log(-theta / shape) - shape - 1.0)
    weights = np.exp(likelihood - likelihood.max())
    best = float((theta * weights).sum() / weights.sum())
    k = float(np.log1p(-best * excess).mean())
    return (count * k + 10 * 0.5) / (count + 10)

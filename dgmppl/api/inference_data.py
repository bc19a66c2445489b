"""A fit as ArviZ groups; each is computed only when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dgmppl.api.answers import Answers
from dgmppl.api.inputs import Batch, of_part, own_units
from dgmppl.errors import RunError
from dgmppl.ir.parameters import initial_values
from dgmppl.ir.program import Program, Role
from dgmppl.results import arviz, compat
from dgmppl.results.evaluation import derived_seed, over_draws
from dgmppl.results.labels import Rows, data_group

Array: TypeAlias = NDArray[Any]

_CHEAP = ("posterior", "sample_stats", "observed_data", "constant_data")
_MOST_DRAWS = 1000


def build(fit: Answers, groups: Sequence[str] = (), x: Any = None, draws: int = 100, seed: int = 0) -> Any:
    """See `Fit.to_arviz`."""
    unknown = [name for name in groups if name not in arviz.GROUPS]
    if unknown:
        raise RunError(f"there is no group {unknown[0]!r}; ArviZ has {', '.join(arviz.GROUPS)}")
    batch = fit.batch(x) if x is not None else _fitted_rows(fit)
    built: dict[str, xr.Dataset] = {}
    for name in groups or _CHEAP:
        group = _group(fit, name, batch, draws, seed)
        if group is not None and (group.data_vars or name == "posterior"):
            built[name] = group
    return compat.gather(built)


def _fitted_rows(fit: Answers) -> Batch:
    """Posteriors condition on the training rows; amortized latents are shown for the held-out ones."""
    program = fit.program.compiled.program
    if fit.draws is not None:
        return of_part(program, fit.loaded, fit.loaded.train)
    return fit.batch()


def _group(fit: Answers, name: str, batch: Batch, draws: int, seed: int) -> xr.Dataset | None:
    program = fit.program.compiled.program
    match name:
        case "posterior":
            return _posterior(fit, batch, draws, seed)
        case "sample_stats":
            return arviz.statistics_group(fit.draws) if fit.draws is not None else None
        case "observed_data":
            return data_group(program, batch.raw, [site.name for site in program.observed], batch.numbers)
        case "constant_data":
            return data_group(
                program, batch.raw, [site.name for site in program.with_role(Role.COVARIATE)], batch.numbers
            )
        case "log_likelihood":
            return _log_likelihood(fit, batch, draws, seed)
        case "posterior_predictive":
            return _predictive(fit, batch, draws, seed)
        case "prior" | "prior_predictive":
            return _prior(fit, name, batch, draws, seed)
    raise RunError(f"the group {name!r} is not built")


def _posterior(fit: Answers, batch: Batch, draws: int, seed: int) -> xr.Dataset:
    program = fit.program.compiled.program
    if fit.draws is not None:
        return arviz.posterior_group(program, fit.draws, latent_rows(fit))
    if fit.program.compiled.executable.has("posterior"):
        return arviz.exact_group(fit.queries.posterior(fit.parameters, batch), batch.numbers)
    if not fit.program.compiled.executable.has("encode"):
        raise RunError(f"{program.name} has point parameters and no guide: there is nothing to draw from a posterior")
    latents = fit.queries.encode(fit.parameters, batch, draws, seed)
    guide = ", ".join(site.name for site in program.guide)
    return arviz.latents_group(program, latents, batch.numbers, f"draws of the guide of {guide} at trained parameters")


def latent_rows(fit: Answers) -> Rows | None:
    """The rows whose latents stand among the draws; None where all draws are of parameters."""
    if "joint" not in fit.program.compiled.derivation.eliminated.values():
        return None
    batch = _fitted_rows(fit)
    return Rows(batch.numbers, batch.arrays)


def _per_draw(fit: Answers, function: Any, draws: int) -> Array:
    """A function of parameters at posterior draws, thinned, as one chain: `[1, S, ...]`."""
    assert fit.draws is not None
    return over_draws(fit.draws.posterior, lambda theta, number: function(fit.at_draw(theta), number), draws)[None]


def _log_likelihood(fit: Answers, batch: Batch, draws: int, seed: int) -> xr.Dataset:
    program, has = fit.program.compiled.program, fit.program.compiled.executable.has
    if fit.draws is None:
        raise RunError(
            f"{program.name} has point parameters: leave-one-out needs posterior draws of them; "
            "compare models by held-out nats instead (fit.score, fit.evaluate)"
        )
    if not (has("log_prob") or has("log_weights") or has("elbo")):
        raise RunError(
            f"{program.name} has no log p(row | parameters): {_why(fit)}. Given latents it would be another model's: "
            "leave-one-out would count a row's own latents as known"
        )
    how = (
        "integrated out exactly"
        if has("log_prob")
        else f"integrated out by importance weighting with {draws} particles, a bound"
    )
    if has("log_prob"):
        # ArviZ's loo wants every draw of every chain.
        shape = next(iter(fit.draws.posterior.values())).shape[:2]
        flat = over_draws(
            fit.draws.posterior,
            lambda theta, _: fit.queries.log_prob(fit.at_draw(theta), batch).values,
            shape[0] * shape[1],
        )
        values = flat.reshape(*shape, -1)
    else:
        values = _per_draw(fit, lambda theta, _: fit.queries.best(theta, batch, draws, seed).values, draws)
    observed = ", ".join(site.name for site in program.observed)
    if fit.draws.log_q is not None:
        how += "; at draws of an approximation, which sample_stats' log_p - log_q corrects (loo_approximate_posterior)"
    return arviz.likelihood_group(program, observed, values, batch.numbers, how)


def _why(fit: Answers) -> str:
    """Why the model has no density of a row."""
    known = fit.program.compiled.derivation.capabilities.get("log_prob")
    return known.why if known is not None else "it has no density"


def _predictive(fit: Answers, batch: Batch, draws: int, seed: int) -> xr.Dataset:
    """x_n drawn anew for each row's covariates, and with a guide for each row's own latents."""
    program = fit.program.compiled.program
    names = [site.name for site in program.observed]
    covariates = batch.given(program)
    drawn: dict[str, list[Array]] = {name: [] for name in names}

    def one(theta: Any, number: int) -> Array:
        result = fit.queries.sample(theta, batch.rows, covariates, derived_seed(seed, number))
        for name in names:
            value = np.asarray(result[name])
            drawn[name].append(_plottable(program, name, np.broadcast_to(value, (batch.rows, *value.shape[1:]))))
        return np.zeros(1)

    count = min(draws, _MOST_DRAWS)
    if fit.draws is None:
        for number in range(count):
            one(fit.parameters, number)
    else:
        _per_draw(fit, one, count)
    stacked = {name: np.stack(values)[None] for name, values in drawn.items()}
    whole = {name: values[:, :, 0] if program.columns[name].whole else values for name, values in stacked.items()}
    return arviz.predictive_group(program, whole, batch.numbers)


def _plottable(program: Program, name: str, array: Array) -> Array:
    """Predicted values in the data's own units; labels as their codes, as in `observed_data`."""
    column = program.columns.get(name)
    return array if column is not None and column.coded else own_units(program, name, array)


def _prior(fit: Answers, name: str, batch: Batch, draws: int, seed: int) -> xr.Dataset | None:
    program, executable = fit.program.compiled.program, fit.queries.executable
    if not executable.has("prior"):
        if fit.draws is not None or name == "prior":
            raise RunError(f"{program.name} has no emitted sampler of its prior, so the group {name!r} cannot be built")
        return _predictive(fit, batch, draws, seed)
    start = initial_values(fit.program.compiled.module.parameters, seed)  # their places; the prior draws its own
    drawn = [
        executable.call("prior", start, batch.arrays, seed=derived_seed(seed, number), rows=batch.rows)
        for number in range(draws)
    ]
    stacked = {key: np.stack([one[key] for one in drawn])[None] for key in drawn[0]}
    sites = {site.name for site in program.with_role(Role.PARAMETER)}
    if name == "prior":
        from dgmppl.results.labels import labelled, parameter_axes

        chosen = {key: values for key, values in stacked.items() if key in sites}
        return xr.Dataset(
            {key: labelled(values, parameter_axes(program, key, values.shape[2:])) for key, values in chosen.items()}
        )
    observed = {
        site.name: np.stack([_plottable(program, site.name, one[site.name]) for one in drawn])[None]
        for site in program.observed
    }
    return arviz.predictive_group(program, observed, batch.numbers)

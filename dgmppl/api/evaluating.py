"""Held-out numbers of a fit: those that are legal for the model, each with its standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dgmppl.api.inputs import Batch, of_part
from dgmppl.data import DataSet
from dgmppl.errors import RunError
from dgmppl.results.evaluation import Score

if TYPE_CHECKING:
    from dgmppl.api.fitted import Fit

_PARTICLES = 100


def held_out(fit: Fit, data: DataSet) -> dict[str, Any]:
    """Metrics on the test rows; on the training rows, and said so, where nothing is held out.

    Returns:
        `split`, `rows` and `metrics`, a list of `Score.to_dict`; an empty list with `why` for a model without density.
    """
    program = fit.program.compiled.program
    part = data.held_out
    split = "train" if part is None else "test"
    batch = of_part(program, data, data.train if part is None else part)
    scores = _scores(fit, batch)
    facts: dict[str, Any] = {
        "split": split,
        "rows": batch.rows,
        "metrics": [score.to_dict() for score in scores],
    }
    if not scores:
        known = fit.program.compiled.derivation.capabilities.get("log_prob")
        facts["why"] = known.why if known is not None else "the model has no density"
    return facts


def _scores(fit: Fit, batch: Batch) -> list[Score]:
    has = fit.program.compiled.executable.has
    if has("log_prob"):
        return [fit.score_batch(batch)]
    if fit.draws is None and fit.queries.unnormalized:
        return _estimated(fit, batch)
    if fit.draws is None and has("elbo"):
        scores = [fit.queries.elbo(fit.parameters, batch, _PARTICLES, seed=0)]
        if has("log_weights"):
            scores.append(fit.queries.iwae(fit.parameters, batch, _PARTICLES, seed=0))
        if has("ode_log_prob"):
            scores.append(fit.queries.ode_log_prob(fit.parameters, batch))
        return scores
    return []


def _estimated(fit: Fit, batch: Batch) -> list[Score]:
    """The density with an estimated log Z; nothing where log Z cannot be estimated, for `log_prob` says why."""
    try:
        return [fit.queries.estimated(fit.parameters, batch, _PARTICLES, seed=0)]
    except RunError:
        return []

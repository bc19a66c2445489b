"""Held-out numbers of a fit: those that are legal for the model, each with its standard error.

A density or a bound where there is one; for a model that can only sample, how its samples lie to the data; for a game,
what its critics say of the divergences that they estimate.
"""

from __future__ import annotations

from typing import Any

from dgmppl.api import critics, likeness, metrics
from dgmppl.api.answers import Answers
from dgmppl.api.inputs import of_part
from dgmppl.api.metrics import Evaluation
from dgmppl.data import DataSet
from dgmppl.errors import RunError
from dgmppl.ir.option_calls import calls
from dgmppl.results.evaluation import Score


def held_out(fit: Answers, data: DataSet) -> dict[str, Any]:
    """Metrics on the test rows; on the training rows, and said so, where nothing is held out.

    Those that `evaluate: {metrics: [...]}` names; else every density, bound, distance and divergence that is legal.

    Returns:
        `split`, `rows`, `metrics` and `warnings`. A metric has the keys of `Score.to_dict`, or those of
        `likeness.entry` and `critics.divergences`; a warning those of `Diagnostic.to_dict`. Where nothing is known of
        the density, `why` says so.
    """
    program = fit.program.compiled.program
    part = data.held_out
    batch = of_part(program, data, data.train if part is None else part)
    evaluation = metrics.Evaluation.of(fit, batch, data)
    named = calls(program.evaluate.get("metrics"))
    facts: dict[str, Any] = {"split": "train" if part is None else "test", "rows": batch.rows}
    if named:
        facts["metrics"] = list(metrics.compute(named, evaluation))
        return {**facts, "warnings": []}
    scores = _scores(evaluation)
    compared = evaluation.compared if likeness.implicit(fit) else []
    facts["metrics"] = [
        *(score.to_dict() for score in scores),
        *likeness.metrics(fit, compared),
        *critics.divergences(fit, batch, held_out=part is not None),
    ]
    facts["warnings"] = [warning.to_dict() for warning in likeness.collapses(compared)]
    if not scores:
        known = fit.program.compiled.derivation.capabilities.get("log_prob")
        facts["why"] = known.why if known is not None else "the model has no density"
    return facts


def _scores(evaluation: Evaluation) -> list[Score]:
    fit, batch, particles, seed = evaluation.fit, evaluation.batch, evaluation.particles, evaluation.seed
    has = fit.program.compiled.executable.has
    if has("log_prob"):
        return [fit.score_batch(batch)]
    if fit.draws is None and fit.queries.unnormalized:
        return _estimated(evaluation)
    if fit.draws is None and has("elbo"):
        scores = [fit.queries.elbo(fit.parameters, batch, particles, seed)]
        if has("log_weights"):
            scores.append(fit.queries.iwae(fit.parameters, batch, particles, seed))
        if has("ode_log_prob"):
            scores.append(fit.queries.ode_log_prob(fit.parameters, batch))
        return scores
    return []


def _estimated(evaluation: Evaluation) -> list[Score]:
    """The density with an estimated log Z; nothing where log Z cannot be estimated, for `log_prob` says why."""
    try:
        return [evaluation.score]
    except RunError:
        return []

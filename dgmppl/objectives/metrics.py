"""Metrics that a spec asks for and that its model cannot have."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Expression
from dgmppl.ir.option_calls import calls
from dgmppl.ir.program import Program
from dgmppl.source import Diagnostic

# Metrics of log p of held-out data, or of a bound on it.
_OF_DENSITIES = frozenset({"log_likelihood", "bits_per_dim", "elbo", "iwae", "waic", "loo"})


def check_metrics(program: Program, status: str) -> None:
    """Refuses metrics of a density where the model has samples alone.

    Raises:
        SpecError: one diagnostic for each.
    """
    problems = list(_without_density(program.evaluate.get("metrics"))) if status == "implicit" else []
    if problems:
        raise SpecError(problems)


def _without_density(asked: Expression | None) -> Iterator[Diagnostic]:
    for metric in calls(asked):
        if metric.function in _OF_DENSITIES:
            yield Diagnostic(
                "metric-needs-density",
                f"{metric.function} is a number about log p of held-out data, and the model has samples but no density",
                metric.span,
                expected="a metric of samples: mmd, energy_distance, sliced_wasserstein, wasserstein, c2st",
                fix="write `metrics: [sliced_wasserstein, c2st]`",
            )

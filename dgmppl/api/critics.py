"""What a game's critics say of the divergences that they were trained to estimate, on rows apart from the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dgmppl.api.answers import Answers
from dgmppl.api.inputs import Batch
from dgmppl.objectives.algebra import Conjugate, Penalty, walk
from dgmppl.objectives.derivation import Direction
from dgmppl.objectives.divergences import DIVERGENCES
from dgmppl.results.evaluation import standard_error

_BATCHES = 16

# What is measured in nats: the divergences whose generators are logarithms.
_NATS = frozenset({"kl", "reverse_kl", "js"})


class _Dual(NamedTuple):
    """A critic's dual: who ascends it, what it estimates, by which divergence, and whether it lies below that."""

    player: str
    symbol: str
    divergence: str
    bound: bool


def divergences(fit: Answers, batch: Batch, *, held_out: bool) -> list[dict[str, Any]]:
    """The critics' duals on rows and fresh samples, averaged over disjoint batches, with their standard errors.

    For a critic that is fixed before the rows are seen, E_p[T] - E_q[f*(T)] is at most the f-divergence (Nguyen,
    Wainwright and Jordan 2010, lemma 1), so its estimate is a lower bound on average. On rows of the training the
    critic has seen them and may exceed it; and no bound is known of a critic that is 1-Lipschitz but approximately.

    Args:
        fit: at its parameters: moving averages where there are any, of model and critics alike.
        batch: rows.
        held_out: the critics have not seen them.
    """
    if fit.draws is not None:
        return []
    return [_estimate(fit, batch, dual, held_out) for dual in _duals(fit)]


def _duals(fit: Answers) -> Iterator[_Dual]:
    for player in fit.program.compiled.derivation.objective.players:
        for term in player.terms:
            nodes = () if isinstance(term.expression, Penalty) else walk(term.expression)
            found = next((node for node in nodes if isinstance(node, Conjugate)), None)
            if found is not None and found.player == "critic":
                yield _Dual(player.name, term.estimates, found.divergence, term.direction is Direction.LOWER)


def _estimate(fit: Answers, batch: Batch, dual: _Dual, held_out: bool) -> dict[str, Any]:
    program = fit.program.compiled.program
    count = max(1, min(_BATCHES, batch.rows // 2))
    size = batch.rows // count
    values = []
    for number in range(count):
        part = batch.take(program, slice(number * size, (number + 1) * size))
        report = fit.queries.executable.loss(dual.player, fit.parameters, part.arrays, seed=number)[2]
        values.append(report["divergence"])
    status, why = _meaning(dual, held_out)
    error = standard_error(values) if count > 1 else None
    return {
        "metric": "divergence", "critic": dual.player, "of": dual.symbol, "status": status,
        "value": float(np.mean(values)), "standard_error": error, "unit": _unit(dual.divergence),
        "rows": count * size, "samples": count * size, "why": why,
    }  # fmt: skip


def _meaning(dual: _Dual, held_out: bool) -> tuple[str, str]:
    """Status and words."""
    if not dual.bound:
        return "estimate", f"an estimate of {dual.symbol} and no bound: the critic keeps its constraint only roughly"
    if not held_out:
        return "estimate", f"the critic has seen these rows: a lower bound on {dual.symbol} is known for others alone"
    return "bound", f"a lower bound on {dual.symbol} in expectation over rows and samples"


def _unit(divergence: str) -> str:
    """Nats, where the generator is a logarithm; distances of the data, where the dual is over Lipschitz functions."""
    if getattr(DIVERGENCES.get(divergence), "lipschitz", False):
        return "model units"
    return "nats" if divergence in _NATS else "dimensionless"

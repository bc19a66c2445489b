"""The metrics that a spec asks for by name, each a function of a fit and held-out rows.

An entry has the keys of `Score.to_dict`, or those of `likeness.entry`. One that the model cannot have says why: its
value is None and its status `none`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api import likeness
from dgmppl.api.answers import Answers
from dgmppl.api.inputs import Batch
from dgmppl.data import DataSet
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import METRICS
from dgmppl.results import criteria, two_sample
from dgmppl.results.distances import proportion, sliced_wasserstein
from dgmppl.results.evaluation import Score, derived_seed

Array: TypeAlias = NDArray[Any]
Entry: TypeAlias = dict[str, Any]

PARTICLES = 100

# What takes quadratic memory or worse in the rows compares at most as many.
_MOST_PAIRED = 1000

# Burda, Grosse and Salakhutdinov 2016, section 5.2: a unit is active where its posterior mean varies by more than this.
_ACTIVE = 0.01


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, and how: the `evaluate` section's numbers, defaults filled in.

    Attributes:
        fit: what is asked.
        batch: the rows.
        data: what they come from.
        particles: draws of a bound.
        samples: of what compares samples with data, at most.
        seed: of all noise.
    """

    fit: Answers
    batch: Batch
    data: DataSet
    particles: int = PARTICLES
    samples: int = likeness.MOST
    seed: int = 0

    @classmethod
    def of(cls, fit: Answers, batch: Batch, data: DataSet) -> Evaluation:
        """As the spec says."""
        settings = fit.program.compiled.program.evaluate
        asked = {
            name: value.value
            for name in ("particles", "samples", "seed")
            if isinstance(value := settings.get(name), Literal)
        }
        return cls(fit, batch, data, **asked)  # type: ignore[arg-type]

    @cached_property
    def score(self) -> Score:
        """The best density that the model has."""
        return self.fit.score_of(self.batch, self.particles, self.seed)

    @cached_property
    def compared(self) -> list[likeness.Comparison]:
        """Samples beside rows, site by site."""
        return likeness.comparisons(self.fit, self.batch, self.data, self.samples, self.seed)


def compute(metrics: tuple[Call, ...], evaluation: Evaluation) -> Iterator[Entry]:
    """The entries of metrics, in their order; one that the model cannot have says why."""
    for call in metrics:
        try:
            yield from COMPUTED[call.function](evaluation, **bind(call, METRICS, "metric"))
        except RunError as error:
            yield {"metric": call.function, "status": "none", "value": None, "standard_error": None, "why": str(error)}


# ---- densities ------------------------------------------------------------------------------------------------------


def _log_likelihood(evaluation: Evaluation) -> Iterator[Entry]:
    yield {**evaluation.score.to_dict(), "metric": "log_likelihood"}


def _elbo(evaluation: Evaluation, particles: int) -> Iterator[Entry]:
    fit = evaluation.fit
    yield fit.queries.elbo(fit.parameters, evaluation.batch, particles, evaluation.seed).to_dict()


def _iwae(evaluation: Evaluation, particles: int) -> Iterator[Entry]:
    fit = evaluation.fit
    yield fit.queries.iwae(fit.parameters, evaluation.batch, particles, evaluation.seed).to_dict()


def _bits_per_dim(evaluation: Evaluation) -> Iterator[Entry]:
    facts = evaluation.score.to_dict()
    if "bits_per_dim" not in facts:
        raise RunError("bits per dimension are of discrete data: some observed element is continuous")
    yield {
        "metric": "bits_per_dim", "status": facts["status"], "value": facts["bits_per_dim"],
        "standard_error": facts["bits_per_dim_standard_error"], "unit": "bits per dimension", "rows": facts["rows"],
        "particles": facts["particles"], "why": facts["why"],
    }  # fmt: skip


# ---- codes ----------------------------------------------------------------------------------------------------------


def _active_units(evaluation: Evaluation) -> Iterator[Entry]:
    fit, batch = evaluation.fit, evaluation.batch
    drawn = fit.queries.encode(fit.parameters, batch, evaluation.particles, evaluation.seed)
    for name, draws in drawn.items():
        if draws.dtype.kind != "f":
            continue
        # The mean of K draws varies by 1/K of their variance more than the posterior's mean does.
        extra = draws.var(axis=0, ddof=1).mean(axis=0) / len(draws) if len(draws) > 1 else 0.0
        active = int((draws.mean(axis=0).var(axis=0) - extra > _ACTIVE).sum())
        size = math.prod(draws.shape[2:])
        yield {
            "metric": "active_units", "site": name, "status": "estimate", "value": float(active),
            "standard_error": None, "unit": f"of {size} dimension{'s' if size > 1 else ''}", "rows": batch.rows,
            "particles": len(draws),
            "why": f"dimensions whose posterior mean has a variance above {_ACTIVE:g} over the rows",
        }  # fmt: skip


# ---- samples --------------------------------------------------------------------------------------------------------


def _compared(evaluation: Evaluation, metric: str, most: int | None = None) -> Iterator[likeness.Comparison]:
    """Samples beside rows, site by site, of at most so many rows."""
    if not evaluation.compared:
        raise RunError(f"{metric} compares numbers, and no observed site without missing entries has them")
    yield from (compared.first(most) for compared in evaluation.compared)


def _paired(metric: str, distance: likeness.Distance, unit: str, why: str) -> Callable[[Evaluation], Iterator[Entry]]:
    """A metric that takes every row with every sample."""

    def entries(evaluation: Evaluation) -> Iterator[Entry]:
        for compared in _compared(evaluation, metric, _MOST_PAIRED):
            yield likeness.between(compared, metric, distance, unit, why)

    return entries


_mmd = _paired(
    "mmd", two_sample.mmd, "dimensionless",
    "unbiased squared discrepancy under a Gaussian kernel as wide as the median distance",
)  # fmt: skip
_energy_distance = _paired(
    "energy_distance", two_sample.energy_distance, "model units", "2 E|x - y| - E|x - x'| - E|y - y'|, without bias"
)
_wasserstein = _paired(
    "wasserstein", two_sample.wasserstein, "model units",
    "exact transport between finite samples: above zero on average where the distributions are equal",
)  # fmt: skip


def _sliced_wasserstein(evaluation: Evaluation, projections: int) -> Iterator[Entry]:
    for compared in _compared(evaluation, "sliced_wasserstein"):
        yield likeness.sliced(compared, partial(sliced_wasserstein, directions=projections))


def _c2st(evaluation: Evaluation) -> Iterator[Entry]:
    why = "how often a perceptron tells held-out samples from data: 0.5 where it cannot"
    accuracy = partial(two_sample.classifier_accuracy, seed=evaluation.seed)
    for compared in _compared(evaluation, "c2st"):
        yield likeness.between(compared, "c2st", accuracy, "accuracy", why)


# ---- labels ---------------------------------------------------------------------------------------------------------


def _accuracy(evaluation: Evaluation, site: str) -> Iterator[Entry]:
    fit, batch = evaluation.fit, evaluation.batch
    program = fit.program.compiled.program
    if site not in batch.arrays or program.by_name[site].typed.support.states is None:
        raise RunError(f"accuracy needs labels in the data, and {site} has none")
    labels, mask = np.asarray(batch.arrays[site]), batch.arrays.get(f"{site}.observed")
    known = np.ones(labels.shape, bool) if mask is None else np.broadcast_to(np.asarray(mask, bool), labels.shape)
    if not known.any():
        raise RunError(f"accuracy needs labels in the data, and every one of {site} is missing from these rows")
    found = _most_frequent(_labels_drawn(evaluation, site)) == labels
    share = proportion(found[known])
    yield {
        "metric": "accuracy", "site": site, "status": "estimate", "value": share.value,
        "standard_error": share.standard_error, "unit": "of the labels",
        "rows": int(known.sum()), "particles": evaluation.particles,
        "why": "a label is found where it is the most frequent among draws given everything else",
    }  # fmt: skip


def _labels_drawn(evaluation: Evaluation, site: str) -> Array:
    """Draws of a discrete site that are not told its values, `[K, N, *event]`: the guide's, else the model's."""
    fit, batch, count = evaluation.fit, evaluation.batch, evaluation.particles
    program = fit.program.compiled.program
    mask = f"{site}.observed"
    if mask in batch.arrays and fit.draws is None and fit.queries.executable.has("encode"):
        hidden = replace(batch, arrays=batch.arrays | {mask: np.zeros_like(batch.arrays[mask])})
        return fit.queries.encode(fit.parameters, hidden, count, evaluation.seed)[site]
    given = batch.given(program)
    drawn = (fit.draw(batch.rows, given, derived_seed(evaluation.seed, number))[site] for number in range(count))
    return np.stack(list(drawn))


def _most_frequent(draws: Array) -> Array:
    """The most frequent value over the first axis; the smallest of equally frequent ones."""
    states = np.arange(int(draws.max()) + 1)
    return np.asarray(np.argmax([(draws == state).sum(axis=0) for state in states], axis=0))


# ---- posterior draws ------------------------------------------------------------------------------------------------


def _loo(evaluation: Evaluation) -> Iterator[Entry]:
    yield _over_rows("loo", *criteria.leave_one_out(_pointwise(evaluation)))


def _waic(evaluation: Evaluation) -> Iterator[Entry]:
    yield _over_rows("waic", *criteria.widely_applicable(_pointwise(evaluation)))


def _pointwise(evaluation: Evaluation) -> Any:
    """The fit's draws with the log-likelihood of every row that it was fitted to."""
    draws = evaluation.fit.draws
    if draws is None or draws.log_q is not None:
        what = "point parameters" if draws is None else "draws of an approximation"
        raise RunError(f"the fit has {what}; leaving rows out takes draws of the posterior: ask for log_likelihood")
    from dgmppl.api.inference_data import build

    return build(evaluation.fit, ("posterior", "log_likelihood"), seed=evaluation.seed)


def _over_rows(name: str, values: Array, note: str) -> Entry:
    """A criterion as a mean per datum."""
    return Score(values, name, "estimate", why=f"of the rows that the model was fitted to; {note}").to_dict()


COMPUTED: dict[str, Callable[..., Iterator[Entry]]] = {
    "log_likelihood": _log_likelihood, "bits_per_dim": _bits_per_dim, "elbo": _elbo, "iwae": _iwae,
    "active_units": _active_units, "accuracy": _accuracy, "mmd": _mmd, "energy_distance": _energy_distance,
    "sliced_wasserstein": _sliced_wasserstein, "wasserstein": _wasserstein, "c2st": _c2st, "loo": _loo, "waic": _waic,
}  # fmt: skip

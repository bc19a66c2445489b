"""How a model that can only sample is compared with data: distances, modes, and a warning where samples cover little.

Samples and rows are compared in model units, site by site; modes are looked for in the data's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.answers import Answers
from dgmppl.api.inputs import Batch, of_part, own_units
from dgmppl.data import DataSet
from dgmppl.data.generators import MODES, Modes
from dgmppl.ir.program import Site
from dgmppl.results.distances import (
    Estimate,
    expected_coverage,
    mode_coverage,
    neighbour_coverage,
    over_blocks,
    sliced_wasserstein,
    spread,
)
from dgmppl.source import Diagnostic

Array: TypeAlias = NDArray[Any]
Distance: TypeAlias = Callable[[Array, Array], Estimate]

# Rows that are compared at most, and samples that are looked at for modes.
MOST = 2000
_RADIUS_IN_SCALES = 3.0
_LEAST_SHARE = 0.01

# A statistic that is below half of the data's by more than three standard errors is a warning.
_HALF, _ERRORS = 0.5, 3.0
_BLOCKS, _BLOCK_ROWS = 8, 25


@dataclass(frozen=True)
class Comparison:
    """Samples of one site beside rows of the data, in model units.

    Attributes:
        site: the site.
        rows: held-out rows, `[N, *event]`; training rows where nothing is held out.
        samples: as many samples, given the rows' covariates.
        others: as many training rows, where the rows are held-out ones; None otherwise.
    """

    site: Site
    rows: Array
    samples: Array
    others: Array | None

    def first(self, most: int | None) -> Comparison:
        """Of the first rows and samples alone; of all where `most` is None."""
        others = None if self.others is None else self.others[:most]
        return Comparison(self.site, self.rows[:most], self.samples[:most], others)


def implicit(fit: Answers) -> bool:
    """Whether the model can sample and has no density, nor a bound on one."""
    return fit.draws is None and fit.program.compiled.derivation.status == "implicit"


def comparisons(fit: Answers, batch: Batch, data: DataSet, most: int = MOST, seed: int = 0) -> list[Comparison]:
    """The numeric observed sites of a model, with the rows and the samples that are compared.

    Args:
        fit: with posterior draws of its parameters, samples are posterior predictive.
        batch: the rows.
        data: what they come from.
        most: rows at most.
        seed: of the choice of rows and of the samples.
    """
    program = fit.program.compiled.program
    order = np.random.default_rng(seed).permutation(batch.rows)[:most]
    rows = batch.take(program, order)
    samples = fit.draw(rows.rows, rows.given(program), seed)
    train = of_part(program, data, data.train)
    others = None
    if data.held_out is not None:
        others = train.take(program, np.random.default_rng(seed).permutation(train.rows)[: rows.rows]).arrays
    return [
        Comparison(
            site, np.asarray(rows.arrays[site.name]), np.asarray(samples[site.name]),
            None if others is None else np.asarray(others[site.name]),
        )
        for site in program.observed
        if site.typed.support.states in {None, 2} and not program.columns[site.name].missing
    ]  # fmt: skip


# ---- metrics --------------------------------------------------------------------------------------------------------


def metrics(fit: Answers, compared: list[Comparison]) -> list[dict[str, Any]]:
    """Distances to the data and, where the data's modes are known, how samples lie about them."""
    return [entry for one in compared for entry in (sliced(one), *_modes(fit, one))]


def sliced(compared: Comparison, distance: Distance = sliced_wasserstein) -> dict[str, Any]:
    """The sliced Wasserstein distance of samples and rows, on as many lines as `distance` takes."""
    why = "the mean Wasserstein-1 distance of projections on random lines, above zero for finite samples"
    return between(compared, "sliced_wasserstein", distance, "model units", why)


def between(compared: Comparison, metric: str, distance: Distance, unit: str, why: str) -> dict[str, Any]:
    """A statistic of rows and samples, beside that of rows and training rows, which is what samples can hope for."""
    others = compared.others
    return {
        **entry(compared, metric, distance(compared.rows, compared.samples), unit),
        "why": why,
        "reference": None if others is None else distance(compared.rows, others).value,
    }


def _modes(fit: Answers, compared: Comparison) -> Iterator[dict[str, Any]]:
    known = _known_modes(fit, compared.site)
    if known is None:
        return
    # Without covariates samples are free: as many as the share of a mode is worth.
    drawn = fit.queries.sample(fit.parameters, MOST, {}, seed=1)[compared.site.name]
    samples = own_units(fit.program.compiled.program, compared.site.name, np.asarray(drawn))
    found = mode_coverage(samples, known.centres, _RADIUS_IN_SCALES * known.scale, _LEAST_SHARE)
    near = f"within {_RADIUS_IN_SCALES:g} standard deviations of"
    covered = Estimate(float(found.covered), float("nan"))
    yield {
        **entry(compared, "modes_covered", covered, f"of {len(known.centres)} modes", MOST),
        "why": f"modes with at least {_LEAST_SHARE:.0%} of the samples {near} them",
        "shares": found.shares.tolist(),
    }
    yield {
        **entry(compared, "share_near_modes", found.near, "of the samples", MOST),
        "why": f"samples {near} a mode",
    }


def _known_modes(fit: Answers, site: Site) -> Modes | None:
    """The modes of a synthetic data set that the spec names, if the data are its own and the model adds nothing."""
    compiled = fit.program.compiled
    declared = next((one for one in compiled.spec.data if one.name == site.name), None)
    if declared is None or declared.kind != "dataset" or site.name in (compiled.loader.bindings or {}):
        return None
    given = compiled.module.function("sample")
    restorable = all(transform.invertible for transform in compiled.program.columns[site.name].transforms)
    return MODES.get(str(declared.source)) if restorable and given is not None and not given.columns else None


def entry(compared: Comparison, metric: str, found: Estimate, unit: str, samples: int | None = None) -> dict[str, Any]:
    """The keys that every metric of samples has; each is an estimate."""
    return {
        "metric": metric, "site": compared.site.name, "status": "estimate", "value": found.value,
        "standard_error": None if np.isnan(found.standard_error) else found.standard_error, "unit": unit,
        "rows": len(compared.rows), "samples": samples or len(compared.samples),
    }  # fmt: skip


# ---- collapse -------------------------------------------------------------------------------------------------------


def collapses(compared: list[Comparison]) -> list[Diagnostic]:
    """A warning for each site whose samples cover or spread over less than half of what the data do.

    Two statistics over eight disjoint blocks of rows and samples, each with the standard error of independent blocks:
    the share of rows with a sample among their neighbours (`neighbour_coverage`), less half its expectation for a
    perfect model; and the mean distance of two samples, less half that of two rows. A warning is one that lies below
    zero by more than three standard errors.
    """
    return [found for one in compared if (found := _collapse(one)) is not None]


def _collapse(compared: Comparison) -> Diagnostic | None:
    blocks = min(_BLOCKS, len(compared.rows) // _BLOCK_ROWS)
    if blocks < 2:
        return None
    size = len(compared.rows) // blocks
    rows, samples = compared.rows[: size * blocks], compared.samples[: size * blocks]
    expected = expected_coverage(size, size)
    covered = over_blocks(neighbour_coverage, rows, samples, blocks)
    wide = over_blocks(lambda data, drawn: spread(drawn) - _HALF * spread(data), rows, samples, blocks)
    facts = []
    if covered.value - _HALF * expected < -_ERRORS * covered.standard_error:
        facts.append(
            f"{covered.value:.0%} ± {covered.standard_error:.0%} of the data's rows have a sample among their "
            f"neighbours; a perfect model reaches {expected:.0%}"
        )
    if wide.value < -_ERRORS * wide.standard_error:
        facts.append(f"two samples are {spread(samples):.3g} apart on average, two rows of the data {spread(rows):.3g}")
    if not facts:
        return None
    site = compared.site
    return Diagnostic(
        "samples-collapsed", f"samples of {site.name} cover little of the data", site.span, found=facts[0],
        fix="a smaller learning rate, a penalty on the critic (`penalty=r1(0.1)`), or more steps",
        notes=tuple(facts[1:]), severity="warning",
    )  # fmt: skip

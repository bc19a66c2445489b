"""Whether a batch's observed data are discrete, in how many dimensions, and if by way of dequantization."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dgmppl.api.inputs import Batch
from dgmppl.ir.data import Column
from dgmppl.ir.program import Program, Site
from dgmppl.ir.transforms import Dequantize, OneHot, invertible_tail
from dgmppl.results.evaluation import Score

DEQUANTIZED = "dequantization lower bound on the discrete likelihood"


@dataclass(frozen=True, slots=True)
class Discreteness:
    """What the observed data of a batch are made of.

    Attributes:
        dimensions: discrete elements per datum, observed ones, averaged over the rows; None where one is continuous.
        dequantized: some element has a density that stands for a probability: with u uniform on a cell,
            E log p(x + u) <= log P(x) (Theis, van den Oord and Bethge 2016, section 3.1).
    """

    dimensions: float | None
    dequantized: bool


def discreteness(program: Program, batch: Batch) -> Discreteness:
    """The discreteness of the observed sites of a batch."""
    counts: list[float] = []
    dequantized = False
    for site in program.observed:
        column = program.columns[site.name]
        spread = any(isinstance(one, Dequantize) for one in invertible_tail(column.transforms))
        if not (spread or site.typed.support.discrete):
            return Discreteness(None, False)
        dequantized = dequantized or spread
        counts.append(_elements(site, column, batch))
    return Discreteness(sum(counts) or None, dequantized)


def _elements(site: Site, column: Column, batch: Batch) -> float:
    """Observed elements per datum; a one-hot vector is one."""
    states = [one.states for one in invertible_tail(column.transforms) if isinstance(one, OneHot)]
    size = site.typed.size / float(np.prod(states))
    mask = batch.arrays.get(f"{site.name}.observed")
    return size if mask is None else size * float(np.mean(mask))


def stated(score: Score, program: Program, batch: Batch) -> Score:
    """A score with the dimension of discrete data; where dequantized, it is a bound, and says so."""
    found = discreteness(program, batch)
    if not found.dequantized:
        return replace(score, dimensions=found.dimensions)
    why = f"{score.why}; {DEQUANTIZED}" if score.why else DEQUANTIZED
    status = "bound" if score.status == "exact" else score.status
    return replace(score, status=status, why=why, dimensions=found.dimensions)

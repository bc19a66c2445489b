"""Training rows that a flow does not reach: a spline is the identity outside of its bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgmppl.data.mapped import pieces
from dgmppl.ir.program import Program
from dgmppl.passes.lints.objectives import splines_at_data


def beyond_splines(program: Program, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """A sentence for each spline next to the data outside of whose bound some rows have an element.

    Args:
        program: the program.
        arrays: training columns in model units, [N, *event].
    """
    for site, step, bound in splines_at_data(program):
        rows, place = arrays[site.name], step.span or site.span
        share = sum(_outside(piece, bound) for piece in pieces(rows)) / len(rows)
        if share:
            yield (
                f"{share:.2g} of the training rows of {site.name} have an element outside of [-{bound:g}, {bound:g}], "
                f"where the spline{f' at {place}' if place else ''} is the identity"
            )


def _outside(rows: NDArray[Any], bound: float) -> int:
    """How many rows have an element beyond the bound."""
    return int((np.abs(rows.reshape(len(rows), -1)).max(-1) > bound).sum())

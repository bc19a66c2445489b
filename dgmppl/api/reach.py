"""Training rows that a flow does not reach: a spline is the identity outside of its bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from dgmppl.ir.program import Program
from dgmppl.passes.lints.objectives import splines_at_data


def beyond_splines(program: Program, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """A sentence for each spline next to the data outside of whose bound some rows have an element.

    Args:
        program: the program.
        arrays: training columns in model units, [N, *event].
    """
    for site, step, bound in splines_at_data(program):
        rows = arrays[site.name].reshape(len(arrays[site.name]), -1)
        share, place = float(((rows.max(-1) > bound) | (rows.min(-1) < -bound)).mean()), step.span or site.span
        if share:
            yield (
                f"{share:.2g} of the training rows of {site.name} have an element outside of [-{bound:g}, {bound:g}], "
                f"where the spline{f' at {place}' if place else ''} is the identity"
            )

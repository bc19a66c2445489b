"""Samples that are the ends of Markov chains: none is handed out where a chain has lost its density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.program import Program
from dgmppl.lowering.factors import EXPLODED
from dgmppl.source import excerpt

Array: TypeAlias = NDArray[Any]


def unbroken(program: Program, drawn: Mapping[str, Array]) -> dict[str, Array]:
    """The draws of every site, `[rows, *event]`, as they are.

    Raises:
        RunError: the chain of an energy is not finite at its end, with the energy's site and line.
    """
    for site in program.sites:
        if not isinstance(site.density, Unnormalized) or site.name not in drawn:
            continue
        values = np.asarray(drawn[site.name])
        bad = int((~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).sum())
        if bad:
            place = "" if site.span is None else f"{site.span}: "
            marked = [] if site.span is None else excerpt(site.span)
            raise RunError("\n".join([f"{place}{site.name}: in {bad} of {len(values)} samples {EXPLODED}", *marked]))
    return dict(drawn)

"""The known beginning of a factorized event, from which a sampler goes on."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.ir.densities import Factorized
from dgmppl.ir.networks.causal import visiting_order
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype

Array: TypeAlias = NDArray[Any]


def factorized(program: Program) -> dict[str, Site]:
    """The observed sites that are drawn element by element."""
    return {site.name: site for site in program.observed if isinstance(site.density, Factorized)}


def prefix(program: Program, site: Site, given: Any, n: int) -> tuple[Array, Array]:
    """What is given of a site's events, and which elements that is.

    Args:
        program: the typed program.
        site: one of `factorized`.
        given: the first elements in the order in which the site is factorized, `[m]` or `[n, m]`; or whole events
            `[*event]` or `[n, *event]` whose unknown elements are NaN.
        n: how many draws.

    Returns:
        Values `[n, *event]` in model units, zero where nothing is given, and where something is.

    Raises:
        RunError: what is given is no beginning, or is longer than the event.
    """
    assert isinstance(site.density, Factorized)
    shape, size = site.typed.shape, site.typed.size
    order = visiting_order(program.networks[site.density.network]) or tuple(range(size))
    values = np.asarray(given, dtype=float)
    whole = values.shape[-len(shape) :] == shape and values.ndim in {len(shape), len(shape) + 1}
    flat = values.reshape(*values.shape[: values.ndim - len(shape)], size) if whole else values
    if flat.ndim not in {1, 2} or flat.shape[-1] > size or (flat.ndim == 2 and len(flat) not in {1, n}):
        expected = f"at most {size} elements, `[m]` or `[{n}, m]`, or whole events {list(shape)} with NaN where unknown"
        raise RunError(f"what is given of {site.name!r} has shape {list(values.shape)}; expected {expected}")
    ordered = np.full((n, size), np.nan)
    ordered[:, : flat.shape[-1]] = flat[..., list(order)] if whole else flat
    known = ~np.isnan(ordered)
    if (known[:, 1:] & ~known[:, :-1]).any():
        raise RunError(f"{site.name!r} is drawn in order: what is given must be its first elements, without a gap")
    place = np.argsort(order)
    kind = np.int64 if site.typed.dtype is Dtype.INTEGER else np.float64
    back = np.where(known, ordered, 0.0)[:, place].reshape(n, *shape)
    return back.astype(kind), known[:, place].reshape(n, *shape)

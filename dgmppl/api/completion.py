"""What is given of an event that a sampler completes: a factorized one's beginning, any elements of a diffusion's."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.ir.densities import DiffusionChain, Factorized
from dgmppl.ir.networks.causal import visiting_order
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype

Array: TypeAlias = NDArray[Any]


def completed(program: Program) -> dict[str, Site]:
    """The observed sites whose samplers go on from elements that are given."""
    return {site.name: site for site in program.observed if isinstance(site.density, DiffusionChain | Factorized)}


def known(program: Program, site: Site, given: Any, n: int) -> tuple[Array, Array]:
    """What is given of a site's events, and which elements that is.

    Args:
        program: the typed program.
        site: one of `completed`.
        given: as in `prefix`, or in `elements`; None for nothing.
        n: how many draws.

    Returns:
        Values `[n, *event]` in model units, zero where nothing is given, and where something is.

    Raises:
        RunError: what is given does not fit the site.
    """
    try:
        values = np.full(site.typed.shape, np.nan) if given is None else np.asarray(given, dtype=float)
    except (TypeError, ValueError) as problem:
        raise RunError(f"what is given of {site.name!r} is no array of numbers") from problem
    return prefix(program, site, values, n) if isinstance(site.density, Factorized) else elements(site, values, n)


def elements(site: Site, values: Array, n: int) -> tuple[Array, Array]:
    """The same of a diffusion: whole events `[*event]` or `[n, *event]` whose unknown elements are NaN.

    Raises:
        RunError: it is no whole event.
    """
    shape = site.typed.shape
    if values.shape not in {shape, (1, *shape), (n, *shape)}:
        expected = f"whole events {list(shape)} or {[n, *shape]} with NaN where unknown"
        raise RunError(f"what is given of {site.name!r} has shape {list(values.shape)}; expected {expected}")
    whole = np.broadcast_to(values, (n, *shape))
    where = ~np.isnan(whole)
    return np.where(where, whole, 0.0), where


def prefix(program: Program, site: Site, given: Any, n: int) -> tuple[Array, Array]:
    """The same of a factorized site, of which a beginning may be given.

    Args:
        program: the typed program.
        site: a factorized one.
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

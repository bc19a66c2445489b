"""Monotone rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019).

K bins of widths w_k and heights h_k cover the square [-B, B]^2; the derivatives at the inner knots are positive, those
at the two ends are 1, and outside of the square the function is the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import softplus

# A bin is at least this share of the square, and a derivative at least this steep.
SMALLEST = 1e-3
# Where the raw derivative is zero the slope is one, so that a spline of raw zeros is the identity.
_SLOPE_ONE = math.log(math.expm1(1.0 - SMALLEST))


@dataclass(frozen=True)
class Bins:
    """The bin that each element falls into: its corner, its size, and the derivatives at its two knots."""

    left: Array
    width: Array
    bottom: Array
    height: Array
    start: Array
    end: Array


def spline(z: Array, widths: Array, heights: Array, derivatives: Array, bound: float) -> tuple[Array, Array]:
    """x = f(z) and log f'(z) from raw parameters [.., K], [.., K], [.., K - 1]; section 3.1 of the paper."""
    inside = jnp.abs(z) <= bound
    clipped = z.clip(-bound, bound)
    bins = _bins(clipped, widths, heights, derivatives, bound, by_height=False)
    slope = bins.height / bins.width
    part = (clipped - bins.left) / bins.width
    rest = part * (1.0 - part)
    below = slope + (bins.end + bins.start - 2.0 * slope) * rest
    x = bins.bottom + bins.height * (slope * part**2 + bins.start * rest) / below
    return jnp.where(inside, x, z), jnp.where(inside, _log_slope(bins, slope, part, below), 0.0)


def inverse_spline(x: Array, widths: Array, heights: Array, derivatives: Array, bound: float) -> tuple[Array, Array]:
    """z with f(z) = x and log dz/dx: the root of a quadratic, in the form without cancellation; section 3.1."""
    inside = jnp.abs(x) <= bound
    clipped = x.clip(-bound, bound)
    bins = _bins(clipped, widths, heights, derivatives, bound, by_height=True)
    slope = bins.height / bins.width
    rise, bend = clipped - bins.bottom, bins.end + bins.start - 2.0 * slope
    a = bins.height * (slope - bins.start) + rise * bend
    b = bins.height * bins.start - rise * bend
    c = -slope * rise
    root = jnp.sqrt((b**2 - 4.0 * a * c).clip(0.0))
    part = -2.0 * c / (b + root)
    below = slope + bend * part * (1.0 - part)
    z = bins.left + part * bins.width
    return jnp.where(inside, z, x), jnp.where(inside, -_log_slope(bins, slope, part, below), 0.0)


def _log_slope(bins: Bins, slope: Array, part: Array, below: Array) -> Array:
    rest = 1.0 - part
    above = bins.end * part**2 + 2.0 * slope * part * rest + bins.start * rest**2
    return 2.0 * jnp.log(slope) + jnp.log(above) - 2.0 * jnp.log(below)


def _bins(value: Array, widths: Array, heights: Array, derivatives: Array, bound: float, *, by_height: bool) -> Bins:
    wide, high = _sizes(widths, bound), _sizes(heights, bound)
    x_knots, y_knots = _knots(wide, bound), _knots(high, bound)
    inner = SMALLEST + softplus(derivatives + _SLOPE_ONE)
    ones = jnp.ones_like(inner[..., :1]) if inner.shape[-1] else jnp.ones_like(wide[..., :1])
    searched = y_knots if by_height else x_knots
    place = (value[..., None] >= searched[..., 1:]).sum(-1, keepdims=True)
    slopes = jnp.concatenate([ones, inner, ones], -1)
    table = jnp.stack(jnp.broadcast_arrays(x_knots, wide, y_knots, high, slopes[..., :-1], slopes[..., 1:]), -2)
    found = _gather(table, place)
    return Bins(*(found[..., column] for column in range(6)))


def _sizes(raw: Array, bound: float) -> Array:
    """Bins that fill [-B, B]: softmax, each at least `SMALLEST` of it."""
    return 2.0 * bound * (SMALLEST + (1.0 - SMALLEST * raw.shape[-1]) * jax.nn.softmax(raw, -1))


def _knots(sizes: Array, bound: float) -> Array:
    """The left end of each bin."""
    first = jnp.full_like(sizes[..., :1], -bound)
    return jnp.concatenate([first, sizes[..., :-1].cumsum(-1) - bound], -1)


def _gather(table: Array, place: Array) -> Array:
    """Columns [.., 6] of tables [.., 6, K] at places [.., 1]."""
    chosen = place[..., None] == jnp.arange(table.shape[-1])
    return jnp.where(chosen, table, 0.0).sum(-1)

"""Monotone rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019).

K bins of widths w_k and heights h_k cover the square [-B, B]^2; the derivatives at the inner knots are positive, those
at the two ends are 1, and outside of the square the function is the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dgmppl_pyro.operations import softplus

# A bin is at least this share of the square, and a derivative at least this steep.
SMALLEST = 1e-3
# Where the raw derivative is zero the slope is one, so that a spline of raw zeros is the identity.
_SLOPE_ONE = math.log(math.expm1(1.0 - SMALLEST))


@dataclass(frozen=True)
class Bins:
    """The bin that each element falls into: its corner, its size, and the derivatives at its two knots."""

    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    start: Tensor
    end: Tensor


def spline(z: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """x = f(z) and log f'(z) from raw parameters [.., K], [.., K], [.., K - 1]; eq. 4 and 5 of the paper."""
    inside = z.abs() <= bound
    clipped = z.clamp(-bound, bound)
    bins = _bins(clipped, widths, heights, derivatives, bound, by_height=False)
    slope = bins.height / bins.width
    part = (clipped - bins.left) / bins.width
    rest = part * (1.0 - part)
    below = slope + (bins.end + bins.start - 2.0 * slope) * rest
    x = bins.bottom + bins.height * (slope * part.square() + bins.start * rest) / below
    return torch.where(inside, x, z), torch.where(inside, _log_slope(bins, slope, part, below), 0.0)


def inverse_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float
) -> tuple[Tensor, Tensor]:
    """z with f(z) = x and log dz/dx: the root of a quadratic, in the form without cancellation; eq. 6 to 8."""
    inside = x.abs() <= bound
    clipped = x.clamp(-bound, bound)
    bins = _bins(clipped, widths, heights, derivatives, bound, by_height=True)
    slope = bins.height / bins.width
    rise, bend = clipped - bins.bottom, bins.end + bins.start - 2.0 * slope
    a = bins.height * (slope - bins.start) + rise * bend
    b = bins.height * bins.start - rise * bend
    c = -slope * rise
    root = (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt()
    part = -2.0 * c / (b + root)
    below = slope + bend * part * (1.0 - part)
    z = bins.left + part * bins.width
    return torch.where(inside, z, x), torch.where(inside, -_log_slope(bins, slope, part, below), 0.0)


def _log_slope(bins: Bins, slope: Tensor, part: Tensor, below: Tensor) -> Tensor:
    rest = 1.0 - part
    above = bins.end * part.square() + 2.0 * slope * part * rest + bins.start * rest.square()
    return 2.0 * slope.log() + above.log() - 2.0 * below.log()


def _bins(
    value: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, *, by_height: bool
) -> Bins:
    wide, high = _sizes(widths, bound), _sizes(heights, bound)
    x_knots, y_knots = _knots(wide, bound), _knots(high, bound)
    inner = SMALLEST + softplus(derivatives + _SLOPE_ONE)
    ones = torch.ones_like(inner[..., :1]) if inner.shape[-1] else torch.ones_like(wide[..., :1])
    searched = y_knots if by_height else x_knots
    place = (value[..., None] >= searched[..., 1:]).sum(-1, keepdim=True)
    slopes = torch.cat([ones, inner, ones], -1)
    table = torch.stack(torch.broadcast_tensors(x_knots, wide, y_knots, high, slopes[..., :-1], slopes[..., 1:]), -2)
    found = _gather(table, place)
    return Bins(*found.unbind(-1))


def _sizes(raw: Tensor, bound: float) -> Tensor:
    """Bins that fill [-B, B]: softmax, each at least `SMALLEST` of it."""
    return 2.0 * bound * (SMALLEST + (1.0 - SMALLEST * raw.shape[-1]) * torch.softmax(raw, -1))


def _knots(sizes: Tensor, bound: float) -> Tensor:
    """The left end of each bin."""
    first = torch.full_like(sizes[..., :1], -bound)
    return torch.cat([first, sizes[..., :-1].cumsum(-1) - bound], -1)


def _gather(table: Tensor, place: Tensor) -> Tensor:
    """Columns [.., 6] of tables [.., 6, K] at places [.., 1]."""
    batch = torch.broadcast_shapes(table.shape[:-2], place.shape[:-1])
    places = place[..., None].expand(*batch, table.shape[-2], 1)
    return table.expand(*batch, *table.shape[-2:]).gather(-1, places).squeeze(-1)

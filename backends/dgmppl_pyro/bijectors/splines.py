"""Monotone rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019).

K bins of widths w_k and heights h_k cover the square [-B, B]^2; the derivatives at the inner knots are positive, those
at the two ends are 1, and outside of the square the function is the identity. With s = h / w, p = (z - left) / w,
r = p (1 - p) and the derivatives d_0, d_1 at the bin's knots, inside of a bin

    x = bottom + h (s p^2 + d_0 r) / D,       D = s + (d_1 + d_0 - 2 s) r,
    log dx/dz = log A + 2 log s - 2 log D,    A = d_1 p^2 + 2 s r + d_0 (1 - p)^2.

First derivatives are written out: a recorded graph of so many small operations costs several times their arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmppl_pyro.operations import only_backward, softplus

# A bin is at least this share of the square, and a derivative at least this steep.
SMALLEST = 1e-3
# Where the raw derivative is zero the slope is one, so that a spline of raw zeros is the identity.
_SLOPE_ONE = math.log(math.expm1(1.0 - SMALLEST))


def spline(z: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """x = f(z) and log f'(z) from raw parameters [.., K], [.., K], [.., K - 1]; section 3.1 of the paper."""
    return _mapped(z, widths, heights, derivatives, bound, inverse=False)


def inverse_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float
) -> tuple[Tensor, Tensor]:
    """z with f(z) = x and log dz/dx: the root of a quadratic, in the form without cancellation; section 3.1."""
    return _mapped(x, widths, heights, derivatives, bound, inverse=True)


def _mapped(
    value: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    if only_backward():
        mapped: tuple[Tensor, Tensor] = _Spline.apply(value, widths, heights, derivatives, bound, inverse)
        return mapped
    return _results(_curve(value, widths, heights, derivatives, bound, inverse=inverse), value, bound, inverse=inverse)


@dataclass(frozen=True)
class _Curve:
    """The bin that each element falls into, and where in it the element lies.

    Attributes:
        shares: of widths and of heights, before the smallest size is added [.., 2, K].
        place: the bin's number [.., 1].
        left, width, bottom, height: the bin's corner and size.
        start, end: the derivatives d_0 and d_1.
        slope, part, rest, below, above: s, p, r, D and A.
    """

    shares: Tensor
    place: Tensor
    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    start: Tensor
    end: Tensor
    slope: Tensor
    part: Tensor
    rest: Tensor
    below: Tensor
    above: Tensor


def _curve(
    value: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, *, inverse: bool
) -> _Curve:
    clipped = value.clamp(-bound, bound)
    shares = torch.softmax(torch.stack(torch.broadcast_tensors(widths, heights), -2), -1)
    sizes = _free(shares, bound) * shares + 2.0 * bound * SMALLEST
    corners = F.pad(sizes[..., :-1].cumsum(-1), (1, 0)) - bound
    slopes = F.pad(SMALLEST + softplus(derivatives + _SLOPE_ONE), (1, 1), value=1.0)
    place = (clipped[..., None] >= corners[..., int(inverse), 1:]).sum(-1, keepdim=True)
    (left, bottom), (width, height) = (_gather(table, place[..., None]).unbind(-2) for table in (corners, sizes))
    left, bottom, width, height = (one[..., 0] for one in (left, bottom, width, height))
    start, end = _gather(slopes, torch.cat([place, place + 1], -1)).unbind(-1)
    slope = height / width
    bend = end + start - 2.0 * slope
    part = _root(clipped - bottom, height, slope, start, bend) if inverse else (clipped - left) / width
    rest = part * (1.0 - part)
    below = slope + bend * rest
    above = end * part.square() + 2.0 * slope * rest + start * (1.0 - part).square()
    return _Curve(shares, place, left, width, bottom, height, start, end, slope, part, rest, below, above)


def _root(rise: Tensor, height: Tensor, slope: Tensor, start: Tensor, bend: Tensor) -> Tensor:
    """p from x - bottom."""
    a = height * (slope - start) + rise * bend
    b = height * start - rise * bend
    c = -slope * rise
    return -2.0 * c / (b + (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt())


def _results(at: _Curve, value: Tensor, bound: float, *, inverse: bool) -> tuple[Tensor, Tensor]:
    """The image, and the log of the derivative that the direction has."""
    log_slope = at.above.log() + 2.0 * (at.slope / at.below).log()
    if inverse:
        image, log_slope = at.left + at.part * at.width, -log_slope
    else:
        image = at.bottom + at.height * (at.slope * at.part.square() + at.start * at.rest) / at.below
    inside = value.abs() <= bound
    return torch.where(inside, image, value), torch.where(inside, log_slope, 0.0)


class _Spline(torch.autograd.Function):  # type: ignore[misc]
    """The map with its pullback; a second derivative goes through the recorded operations."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        at = _curve(value, widths, heights, derivatives, bound, inverse=inverse)
        ctx.save_for_backward(value, widths, heights, derivatives, *vars(at).values())
        ctx.bound, ctx.inverse = bound, inverse
        return _results(at, value, bound, inverse=inverse)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs, bound, inverse = ctx.saved_tensors[:4], ctx.bound, ctx.inverse
        if torch.is_grad_enabled():
            value, widths, heights, derivatives = inputs
            at = _curve(value, widths, heights, derivatives, bound, inverse=inverse)
            results = _results(at, value, bound, inverse=inverse)
            needed = [one for one, needs in zip(inputs, ctx.needs_input_grad, strict=False) if needs]
            found = iter(torch.autograd.grad(results, needed, cotangents, create_graph=True))
            return *(next(found) if needs else None for needs in ctx.needs_input_grad[:4]), None, None
        at = _Curve(*ctx.saved_tensors[4:])
        return *_pullback(at, inputs, cotangents, bound, inverse=inverse), None, None


def _pullback(
    at: _Curve, inputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], bound: float, *, inverse: bool
) -> tuple[Tensor, ...]:
    """Cotangents of the value and of the raw parameters.

    For the inverse, z moves with x and with the parameters so that f(z) = x stays (implicit differentiation).
    """
    value = inputs[0]
    inside = value.abs() <= bound
    of_image, of_log = (torch.where(inside, one, 0.0) for one in cotangents)
    steepness = at.above * (at.slope / at.below).square()
    bend, turn = at.end + at.start - 2.0 * at.slope, 1.0 - 2.0 * at.part
    rise = at.end * at.part + at.slope * turn - at.start * (1.0 - at.part)
    log_by_part = 2.0 * (rise / at.above - bend * turn / at.below)
    if inverse:
        of_log = -of_log
        of_part = -of_image * at.width
        of_x = (of_part - of_log * log_by_part) / (steepness * at.width)
        of_value = -of_x
    else:
        of_x = of_image
        of_part = of_x * steepness * at.width + of_log * log_by_part
        of_value = of_part / at.width
    of_value = torch.where(inside, of_value, cotangents[0])
    corner, size, knots = _of_bin(at, of_x, of_log, of_part)
    return of_value.sum_to_size(value.shape), *_of_raw(at, inputs[1:], bound, corner, size, knots)


def _of_bin(at: _Curve, of_x: Tensor, of_log: Tensor, of_part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of the bin's corner, its size and the derivatives at its knots, each [.., 2]."""
    ahead = at.part.square()
    share = (at.slope * ahead + at.start * at.rest) / at.below
    scaled, per_above, per_below = of_x * at.height / at.below, of_log / at.above, of_log / at.below
    middle = 1.0 - 2.0 * at.rest
    by_rest = at.rest * (share * scaled + 2.0 * per_below)
    of_slope = scaled * (ahead - share * middle) + 2.0 * (of_log / at.slope + per_above * at.rest - per_below * middle)
    of_start = scaled * at.rest + per_above * (1.0 - at.part).square() - by_rest
    of_end = per_above * ahead - by_rest
    of_height = of_x * share + of_slope / at.width
    of_left = -of_part / at.width
    of_width = of_left * at.part - of_slope * at.slope / at.width
    pairs = ((of_left, of_x), (of_width, of_height), (of_start, of_end))
    corner, size, knots = (torch.stack(pair, -1) for pair in pairs)
    return corner, size, knots


def _of_raw(
    at: _Curve, raw: tuple[Tensor, ...], bound: float, corner: Tensor, size: Tensor, knots: Tensor
) -> tuple[Tensor, ...]:
    """Cotangents of the raw parameters: a corner is the sum of the sizes before it."""
    widths, heights, derivatives = raw
    numbers = torch.arange(at.shares.shape[-1], device=corner.device)
    place = at.place[..., None]
    of_sizes = torch.where(numbers < place, corner[..., None], torch.where(numbers == place, size[..., None], 0.0))
    of_shares = (_free(at.shares, bound) * of_sizes).sum_to_size(at.shares.shape)
    moved = at.shares * of_shares
    of_widths, of_heights = (moved - at.shares * moved.sum(-1, keepdim=True)).unbind(-2)
    inner = numbers[:-1]
    of_slopes = torch.where(inner == at.place, knots[..., 1:], torch.where(inner + 1 == at.place, knots[..., :1], 0.0))
    of_derivatives = (of_slopes * torch.sigmoid(derivatives + _SLOPE_ONE)).sum_to_size(derivatives.shape)
    return of_widths.sum_to_size(widths.shape), of_heights.sum_to_size(heights.shape), of_derivatives


def _free(shares: Tensor, bound: float) -> float:
    """What is left of [-B, B] beyond the smallest sizes."""
    return 2.0 * bound * (1.0 - SMALLEST * int(shares.shape[-1]))


def _gather(table: Tensor, place: Tensor) -> Tensor:
    """Entries [.., n] of the last axis of tables at places [.., n]; all axes before it broadcast."""
    batch = torch.broadcast_shapes(table.shape[:-1], place.shape[:-1])
    return table.expand(*batch, table.shape[-1]).gather(-1, place.expand(*batch, place.shape[-1]))

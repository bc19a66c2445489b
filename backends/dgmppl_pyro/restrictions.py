"""Distributions with bounds: renormalized between them, or with what lies beyond piled up at them; and sorted vectors.

An interval's mass is computed on its nearer tail: log(F(high) - F(low)) = near + log(1 - exp(far - near)). The relative
error of a narrow interval's mass is the rounding of that tail's logarithm over the logarithm's change.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from dgmppl_pyro.elementary import log1mexp, real_of
from dgmppl_pyro.tails import Tails

Real: TypeAlias = "Tensor | float"

_LOG_2 = math.log(2.0)


# ---- bounds ---------------------------------------------------------------------------------------------------------


def log_mass(tails: Tails, low: Tensor | None, high: Tensor | None) -> Tensor:
    """log P(low < X < high), nats; None for no bound on that side, one of them at least is there."""
    if low is None:
        assert high is not None
        return tails.log_cdf(high)
    above = tails.log_sf(low)
    if high is None:
        return above
    below = tails.log_cdf(low)
    right = above < below  # the interval lies right of the median
    near = torch.where(right, above, tails.log_cdf(high))
    far = torch.where(right, tails.log_sf(high), below)
    return near + log1mexp(near - far, near)


def truncated(log_p: Tensor, x: Tensor, tails: Tails, low: Real | None = None, high: Real | None = None) -> Tensor:
    """log p(x | low <= X <= high) = log p(x) - log P(low < X < high) inside the bounds, -inf outside; per element.

    Args:
        log_p: log p(x).
        x: the values.
        tails: the distribution.
        low: lower bound, broadcast against x.
        high: upper bound.
    """
    least, most = _bound(low, x), _bound(high, x)
    value = log_p - log_mass(tails, least, most)
    if least is not None:
        value = torch.where(x >= least, value, -math.inf)
    return value if most is None else torch.where(x <= most, value, -math.inf)


def censored(log_p: Tensor, x: Tensor, tails: Tails, low: Real | None = None, high: Real | None = None) -> Tensor:
    """Log-density of clip(X, low, high): log p(x) inside, the log-mass beyond a bound at it; per element.

    With respect to Lebesgue measure plus one atom at each bound. A value beyond its bound counts as at it.

    Args:
        log_p: log p(x).
        x: the values.
        tails: the distribution.
        low: lower bound, broadcast against x.
        high: upper bound.
    """
    least, most = _bound(low, x), _bound(high, x)
    if least is not None:
        log_p = torch.where(x <= least, tails.log_cdf(least), log_p)
    return log_p if most is None else torch.where(x >= most, tails.log_sf(most), log_p)


def between(uniform: Tensor, tails: Tails, low: Real | None = None, high: Real | None = None) -> Tensor:
    """A draw between bounds: F^-1(F(low) + u (F(high) - F(low))) on the nearer tail; differentiable.

    Args:
        uniform: u, in [0, 1).
        tails: the distribution.
        low: lower bound, broadcast against u.
        high: upper bound.
    """
    half = 0.5 * torch.finfo(uniform.dtype).eps
    u = torch.clamp(uniform, half, 1.0 - half)
    least, most = _bound(low, u), _bound(high, u)
    mass = log_mass(tails, least, most)
    if least is None:
        return clipped(tails.quantile(mass + torch.log(u)), None, most)
    if most is None:
        return clipped(tails.upper(mass + torch.log1p(-u)), least, None)
    below, beyond = tails.log_cdf(least), tails.log_sf(most)
    right = tails.log_sf(least) < below
    # The tail that is not taken gets the median, whose gradient is finite.
    log_p = torch.where(right, -_LOG_2, torch.logaddexp(below, mass + torch.log(u)))
    log_q = torch.where(right, torch.logaddexp(beyond, mass + torch.log1p(-u)), -_LOG_2)
    return clipped(torch.where(right, tails.upper(log_q), tails.quantile(log_p)), least, most)


def clipped(x: Tensor, low: Real | None = None, high: Real | None = None) -> Tensor:
    """x, or the bound that it lies beyond."""
    least, most = _bound(low, x), _bound(high, x)
    x = x if least is None else torch.maximum(x, least)
    return x if most is None else torch.minimum(x, most)


# ---- order ----------------------------------------------------------------------------------------------------------


def ordered(log_p: Tensor, x: Tensor) -> Tensor:
    """Log-density of n independent draws of one distribution, sorted: log n! + sum_i log p(x_i); -inf out of order.

    Args:
        log_p: log p of each element, [.., n].
        x: the values, [.., n].
    """
    value = log_p.sum(-1) + math.lgamma(x.shape[-1] + 1.0)
    return torch.where((x.diff(dim=-1) >= 0).all(-1), value, -math.inf)


def ascending(x: Tensor) -> Tensor:
    """The elements along the last axis in ascending order."""
    return x.sort(-1).values


def _bound(bound: Real | None, like: Tensor) -> Tensor | None:
    return None if bound is None else real_of(bound, like)

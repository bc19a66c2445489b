"""Noise schedules of diffusions: the log signal-to-noise ratio of x_t = alpha_t x + sigma_t eps at a time t in [0, 1].

    lambda(t) = log alpha_t^2 / sigma_t^2 (Kingma et al. 2021, eq. 2), strictly falling, finite at both ends.

Variance preserving: alpha^2 = sigmoid(lambda), sigma^2 = sigmoid(-lambda). Variance exploding: alpha = 1, sigma^2 =
exp(-lambda). A chain of T steps has the times (i - 1) / (T - 1), i = 1 .. T, so that it is the continuous schedule at T
points and both share their ends: lambda(0) is the noise that the decoder removes, lambda(1) is the prior's.

Every formula takes the array library `xp` (numpy, torch or jax.numpy) that it computes in: tables of chains are NumPy
float64 on every backend. One choice of arguments is one object, so that tables are made once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Where schedules that would end without any signal end: 1 - alpha^2 is then 1 - 4.5e-5.
LAST = -10.0
# Where a learned schedule starts to be learned: it then falls evenly from -`LAST` to `LAST`, by shares of equal size.
SPAN = -2 * LAST
SHARES = 12
# Ho et al. (2020) state their variances for so many steps.
STEPS = 1000
# The noise levels between which Karras et al. (2022), table 1, sample, and their exponent.
LEAST = 0.002
MOST = 80.0
EXPONENT = 7.0


@dataclass(frozen=True)
class Schedule:
    """A noise schedule.

    Attributes:
        log_snr: (t, xp) -> lambda(t).
        rate: (t, xp) -> -d lambda / dt, positive.
        preserving: alpha^2 + sigma^2 = 1; else alpha = 1.
        scale: the standard deviation of the data that a denoiser's input and output are scaled for.
        clock: log-SNR -> the time that a denoiser is told; None where it is told t itself.
    """

    log_snr: Callable[[Any, Any], Any]
    rate: Callable[[Any, Any], Any]
    preserving: bool = True
    scale: float = 1.0
    clock: Callable[[Any], Any] | None = None


@functools.cache
def cosine(offset: float = 0.008) -> Schedule:
    """alpha = cos(a), sigma = sin(a), the angle growing at a constant rate from offset / (1 + offset) pi / 2.

    Nichol and Dhariwal (2021), eq. 17. Their division by the value at t = 0, which makes the first noise vanish, is
    left out, and where they cap the last variances the angle ends at the log-SNR `LAST`.
    """
    first, last = math.pi / 2 * offset / (1 + offset), math.atan(math.exp(-LAST / 2))
    width = last - first

    def angle(t: Any) -> Any:
        return first + width * t

    return Schedule(
        lambda t, xp: -2 * xp.log(xp.tan(angle(t))),
        lambda t, xp: 2 * width / (xp.sin(angle(t)) * xp.cos(angle(t))),
    )


@functools.cache
def linear(beta_min: float = 1e-4, beta_max: float = 0.02) -> Schedule:
    """log alpha^2 = log(1 - beta_min) - the sum of the variances after the first one up to t.

    The thousand variances of Ho et al. (2020), section 4, as a quadratic function of continuous time (Song et al. 2021,
    appendix C) that meets their sum at each of their times.
    """
    last, width = STEPS - 1, beta_max - beta_min

    def decay(t: Any) -> Any:
        return -math.log1p(-beta_min) + last * beta_min * t + width * t * (last * t + 1) / 2

    return Schedule(
        lambda t, xp: -xp.log(xp.expm1(decay(t))),
        lambda t, xp: (last * (beta_min + width * t) + width / 2) / -xp.expm1(-decay(t)),
    )


@functools.cache
def sigmoid() -> Schedule:
    """alpha^2 falls as a sigmoid over [-3, 3] from log-SNR -`LAST` to `LAST` (Jabri et al. 2022)."""
    least, start = 1 / (1 + math.exp(-LAST)), 1 / (1 + math.exp(3.0))
    span = (1 - 2 * least) / (1 - 2 * start)

    def signal(t: Any, xp: Any) -> Any:
        return least + span * (1 / (1 + xp.exp(6 * t - 3)) - start)

    def noise(t: Any, xp: Any) -> Any:
        return least + span * (1 / (1 + xp.exp(3 - 6 * t)) - start)

    def slope(t: Any, xp: Any) -> Any:
        return 6 * span / (2 + xp.exp(6 * t - 3) + xp.exp(3 - 6 * t))

    return Schedule(
        lambda t, xp: xp.log(signal(t, xp) / noise(t, xp)),
        lambda t, xp: slope(t, xp) / (signal(t, xp) * noise(t, xp)),
    )


@functools.cache
def edm(sigma_data: float = 0.5) -> Schedule:
    """sigma = (a + t (b - a))^7 from 0.002 to 80, alpha = 1 (Karras et al. 2022, eq. 5)."""
    first, last = LEAST ** (1 / EXPONENT), MOST ** (1 / EXPONENT)
    width = last - first
    return Schedule(
        lambda t, xp: -2 * EXPONENT * xp.log(first + width * t),
        lambda t, _: 2 * EXPONENT * width / (first + width * t),
        preserving=False,
        scale=sigma_data,
    )


@functools.cache
def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Schedule:
    """sigma = sigma_min (sigma_max / sigma_min)^t, alpha = 1 (Song et al. 2021, appendix C)."""
    slope = 2 * math.log(sigma_max / sigma_min)
    return Schedule(
        lambda t, _: -2 * math.log(sigma_min) - slope * t,
        lambda t, _: slope + 0 * t,
        preserving=False,
    )


def learned(last: Any, span: Any, shares: Any) -> Schedule:
    """lambda(t) = last + span (1 - m(t)), a monotone polynomial m with m(0) = 0 and m(1) = 1.

    m' = sum_k n shares_k B_k(t) in the n Bernstein polynomials of degree n - 1: equal shares give m(t) = t. Denoisers
    are told the noise, by the time at which the schedule that learning starts from has it, as those of Kingma et al.
    (2021), section 4.1, are told the log-SNR: then the bound in continuous time depends on the ends alone.

    Args:
        last: the log-SNR at t = 1, [].
        span: how far it falls, [], positive.
        shares: [n], positive, of sum one.
    """
    count = len(shares)

    def risen(t: Any) -> Any:
        """m(t): the partial sums of the shares in the Bernstein polynomials of degree n."""
        total, summed = 0.0, 0.0
        for k in range(1, count + 1):
            summed = summed + shares[k - 1]
            total = total + summed * math.comb(count, k) * t**k * (1 - t) ** (count - k)
        return total

    def rate(t: Any, xp: Any) -> Any:
        del xp
        parts = (share * math.comb(count - 1, k) * t**k * (1 - t) ** (count - 1 - k) for k, share in enumerate(shares))
        return span * count * sum(parts)

    return Schedule(lambda t, _: last + span * (1 - risen(t)), rate, clock=lambda level: (LAST + SPAN - level) / SPAN)


# ---- reverse chains --------------------------------------------------------------------------------------------------


def variance_ratio(schedule: Schedule, now: Any, later: Any, xp: Any, variance: str, error: Any = None) -> Any:
    """The variance of reverse steps between two log-SNRs, over that of the posterior q(x_s | x_t, x).

    `posterior` is 1, `beta` the variance of q(x_t | x_s) instead (both in Ho et al. 2020, section 3.2). With the mean
    squared error of the predicted noise per element it is the best isotropic variance, 1 + (exp(later - now) - 1)
    error (Bao et al. 2022, theorem 1, whose score has the second moment (1 - error) / sigma^2).

    Args:
        schedule: the schedule.
        now: log-SNRs before the steps.
        later: log-SNRs behind them, above `now`.
        xp: their array library.
        variance: `posterior` or `beta`.
        error: in [0, 1]; None where the variance is fixed.
    """
    if error is not None:
        return 1 + xp.expm1(later - now) * error
    if variance == "posterior":
        return xp.ones_like(now)
    return (1 + xp.exp(later)) / (1 + xp.exp(now)) if schedule.preserving else xp.exp(later - now)


def chain(schedule: Schedule, times: Any, xp: Any, variance: str, errors: Any = None) -> tuple[Any, Any, Any]:
    """A reverse chain's log-SNRs, weights of the squared errors in its bound, and what its variances cost.

    With variances r times the posteriors', E KL = (log r + 1 / r - 1) / 2 per element and the squared error's weight
    divided by r; the decoder, whose r is the first error or 1, costs log(r) / 2.

    Args:
        schedule: the schedule.
        times: [T], rising from 0 to 1.
        xp: their array library.
        variance: `posterior` or `beta`.
        errors: as in `variance_ratio`, of each time [T]; None where the variances are fixed.

    Returns:
        log-SNR [T], weight [T] such that a mean over steps is the sum, and the cost [] in nats per element.
    """
    log_snr = schedule.log_snr(times, xp)
    first, gain = xp.ones_like(log_snr[:1]), log_snr[:-1] - log_snr[1:]
    steps = variance_ratio(
        schedule, log_snr[1:], log_snr[:-1], xp, variance, None if errors is None else errors[1:]
    )  # fmt: skip
    ratio = xp.concatenate([first if errors is None else errors[:1], steps])
    weight = len(times) / 2 * xp.concatenate([first, xp.expm1(gain)]) / ratio
    return log_snr, weight, (xp.log(ratio).sum() + (1 / steps - 1).sum()) / 2

"""What is trained: the variational bound and the weighted regressions of a denoiser, at one random time a datum."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl.ir.schedules import Schedule, chain
from dgmppl_numpyro.diffusion.process import Denoiser, Process, levels, log_snr_at, prediction, times_of

# Hang et al. (2023), section 3.4: weights are clipped at this signal-to-noise ratio.
CLIP = 5.0
# Mean and standard deviation of the log-SNR that Karras et al. (2022), table 1, train on.
CENTRE = 2.4
WIDTH = 2.4


def bound(process: Process, denoise: Denoiser, x: Array, time: Array, noise: Array) -> Array:
    """An estimate of the variational bound on log p(x) at one random time per datum: [..], nats.

    -KL(q(x_T | x) || p(x_T)) + E log p(x | x_1) - sum_t KL(q(x_s | x_t, x) || p(x_s | x_t)), in which each divergence
    is (exp(lambda_s - lambda_t) - 1) / 2 |eps - eps^|^2 (Ho et al. 2020, eq. 5; Kingma et al. 2021, eq. 14), and its
    limit -d lambda / dt / 2 |eps - eps^|^2 in continuous time (Kingma et al. 2021, eq. 17); variances other than the
    posteriors' divide it and have a cost of their own (`schedules.chain`).

    Args:
        process: the process.
        denoise: the denoiser.
        x: [.., *event].
        time: uniform numbers [..], of which `stratified` makes times.
        noise: standard normal numbers [.., *event].
    """
    t, log_snr, weight, cost = _moment(process, stratified(time))
    size = math.prod(noise.shape[noise.ndim - process.event :])
    first, last = _ends(process, x)
    decoded = size / 2 * (first - math.log(2 * math.pi) - float(process.steps is None))
    fixed = decoded - size * cost - prior_divergence(process, x, last)
    return fixed - weight * _error(process, denoise, x, noise, t, log_snr)


def regression(process: Process, denoise: Denoiser, x: Array, time: Array, noise: Array, weighting: str) -> Array:
    """The weighted squared error of the predicted noise, summed over the event, at one random time per datum: [..].

    `simple` weighs the noise by 1 (Ho et al. 2020, eq. 14), `min_snr` by min(SNR, 5) / SNR (Hang et al. 2023),
    `edm` by p(lambda) (exp(-lambda) + scale^2) / scale^2 with a normal density p of the log-SNR (Karras et al. 2022,
    table 1, in the form of Kingma and Gao 2023, table 1).
    """
    t, log_snr, *_ = _moment(process, stratified(time))
    error = _error(process, denoise, x, noise, t, log_snr)
    match weighting:
        case "min_snr":
            return jnp.minimum(CLIP * jnp.exp(-log_snr), 1.0) * error
        case "edm":
            density = jnp.exp(-0.5 * jnp.square((log_snr - CENTRE) / WIDTH)) / (WIDTH * math.sqrt(2 * math.pi))
            scale = process.schedule.scale
            return process.schedule.rate(t, jnp) * density * (1 + jnp.exp(-log_snr) / scale**2) * error
    return error


def stratified(time: Array) -> Array:
    """Times that fill [0, 1) evenly, each by itself uniform: (u + k / n) mod 1 (Kingma et al. 2021, appendix I.1).

    The first of the uniform numbers is u; a datum's particles are as far apart as they can be, so that as many of them
    as a chain has steps visit every step once.
    """
    places = jnp.arange(time.size, dtype=time.dtype) / time.size
    return jnp.remainder(time.reshape(-1)[0] + places, 1.0).reshape(time.shape)


def prior_divergence(process: Process, x: Array, log_snr: Any) -> Array:
    """KL(q(x_T | x) || p(x_T)) [..], nats: what the schedule leaves of x in its last noise."""
    exp, log1p = (math.exp, math.log1p) if isinstance(log_snr, float) else (jnp.exp, jnp.log1p)
    axes = tuple(range(-process.event, 0))
    square = jnp.square(x).sum(axes) if axes else jnp.square(x)
    if not process.schedule.preserving:
        return 0.5 * exp(log_snr) * square
    signal = 1 / (1 + exp(-log_snr))
    size = math.prod(x.shape[x.ndim - process.event :])
    return 0.5 * (signal * square - size * (signal - log1p(exp(log_snr))))


def _moment(process: Process, uniform: Array) -> tuple[Array, Array, Array, Any]:
    """Time, log-SNR and weight of the squared error in the bound, all [..], and the cost of the variances, []."""
    schedule = process.schedule
    if process.steps is None:
        return uniform, schedule.log_snr(uniform, jnp), schedule.rate(uniform, jnp) / 2, 0.0
    table, cost = _chain(process, process.steps, uniform)
    index = jnp.minimum((uniform * process.steps).astype(int), process.steps - 1)
    t, log_snr, weight = table[:, index]
    return t, log_snr, weight, cost


def _chain(process: Process, steps: int, like: Array) -> tuple[Array, Any]:
    """Times and what `schedules.chain` says of them, in NumPy's precision unless something of it is learned."""
    if process.schedule.clock is None and process.errors is None:
        table, fixed = _table(process.schedule, steps, process.variance)
        return jnp.asarray(table, like.dtype), fixed
    times = jnp.asarray(np.linspace(0.0, 1.0, steps), like.dtype)
    log_snr, weight, cost = chain(process.schedule, times, jnp, process.variance, process.errors)
    return jnp.stack([times, log_snr, weight]), cost


@functools.cache
def _table(schedule: Schedule, steps: int, variance: str) -> tuple[Any, float]:
    """The same of a fixed chain: [3, steps], NumPy, float64; and the cost."""
    times = np.linspace(0.0, 1.0, steps)
    log_snr, weight, cost = chain(schedule, times, np, variance)
    return np.stack([times, log_snr, weight]), float(cost)


def _ends(process: Process, like: Array) -> tuple[Any, Any]:
    """The log-SNR of the first time and of the last: numbers, arrays [] where they are learned."""
    times = times_of(process, process.steps or 2)[[-1, 0]]
    if process.schedule.clock is not None:
        first, last = log_snr_at(process, like, times)
        return first, last
    first, last = process.schedule.log_snr(times, np)
    return float(first), float(last)


def _error(process: Process, denoise: Denoiser, x: Array, noise: Array, t: Array, log_snr: Array) -> Array:
    """|eps - eps^(x_t, t)|^2, summed over the event."""
    alpha, sigma = signal = levels(process, log_snr)
    found = prediction(process, denoise, alpha * x + sigma * noise, t, log_snr, signal).noise()
    axes = tuple(range(-process.event, 0))
    square = jnp.square(noise - found)
    return square.sum(axes) if axes else square

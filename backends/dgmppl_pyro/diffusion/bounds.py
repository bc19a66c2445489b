"""What is trained: the variational bound and the weighted regressions of a denoiser, at one random time a datum."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgmppl.ir.schedules import Schedule, chain
from dgmppl_pyro.diffusion.process import Denoiser, Process, levels, log_snr_at, prediction, times_of

# Hang et al. (2023), section 3.4: weights are clipped at this signal-to-noise ratio.
CLIP = 5.0
# Mean and standard deviation of the log-SNR that Karras et al. (2022), table 1, train on.
CENTRE = 2.4
WIDTH = 2.4


def bound(process: Process, denoise: Denoiser, x: Tensor, time: Tensor, noise: Tensor) -> Tensor:
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


def regression(process: Process, denoise: Denoiser, x: Tensor, time: Tensor, noise: Tensor, weighting: str) -> Tensor:
    """The weighted squared error of the predicted noise, summed over the event, at one random time per datum: [..].

    `simple` weighs the noise by 1 (Ho et al. 2020, eq. 14), `min_snr` by min(SNR, 5) / SNR (Hang et al. 2023),
    `edm` by p(lambda) (exp(-lambda) + scale^2) / scale^2 with a normal density p of the log-SNR (Karras et al. 2022,
    table 1, in the form of Kingma and Gao 2023, table 1).
    """
    t, log_snr, *_ = _moment(process, stratified(time))
    error = _error(process, denoise, x, noise, t, log_snr)
    match weighting:
        case "min_snr":
            return torch.clamp(CLIP * torch.exp(-log_snr), max=1.0) * error
        case "edm":
            density = torch.exp(-0.5 * torch.square((log_snr - CENTRE) / WIDTH)) / (WIDTH * math.sqrt(2 * math.pi))
            scale = process.schedule.scale
            return process.schedule.rate(t, torch) * density * (1 + torch.exp(-log_snr) / scale**2) * error
    return error


def stratified(time: Tensor) -> Tensor:
    """Times that fill [0, 1) evenly, each by itself uniform: (u + k / n) mod 1 (Kingma et al. 2021, appendix I.1).

    The first of the uniform numbers is u; a datum's particles are as far apart as they can be, so that as many of them
    as a chain has steps visit every step once.
    """
    count = time.numel()
    places = torch.arange(count, dtype=time.dtype, device=time.device) / count
    return torch.remainder(time.reshape(-1)[0] + places, 1.0).reshape(time.shape)


def prior_divergence(process: Process, x: Tensor, log_snr: Any) -> Tensor:
    """KL(q(x_T | x) || p(x_T)) [..], nats: what the schedule leaves of x in its last noise."""
    exp, log1p = (math.exp, math.log1p) if isinstance(log_snr, float) else (torch.exp, torch.log1p)
    axes = tuple(range(-process.event, 0))
    square = torch.square(x).sum(axes) if axes else torch.square(x)
    if not process.schedule.preserving:
        return 0.5 * exp(log_snr) * square
    signal = 1 / (1 + exp(-log_snr))
    size = math.prod(x.shape[x.ndim - process.event :])
    return 0.5 * (signal * square - size * (signal - log1p(exp(log_snr))))


def _moment(process: Process, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Time, log-SNR and weight of the squared error in the bound, all [..], and the cost of the variances, []."""
    schedule = process.schedule
    if process.steps is None:
        return uniform, schedule.log_snr(uniform, torch), schedule.rate(uniform, torch) / 2, 0.0
    table, cost = _chain(process, process.steps, uniform)
    index = torch.clamp((uniform * process.steps).long(), max=process.steps - 1)
    t, log_snr, weight = table[:, index]
    return t, log_snr, weight, cost


def _chain(process: Process, steps: int, like: Tensor) -> tuple[Tensor, Any]:
    """Times and what `schedules.chain` says of them, in NumPy's precision unless something of it is learned."""
    if process.schedule.clock is None and process.errors is None:
        table, fixed = _table(process.schedule, steps, process.variance)
        return like.new_tensor(table), fixed
    times = like.new_tensor(np.linspace(0.0, 1.0, steps))
    log_snr, weight, cost = chain(process.schedule, times, torch, process.variance, process.errors)
    return torch.stack([times, log_snr, weight]), cost


@functools.cache
def _table(schedule: Schedule, steps: int, variance: str) -> tuple[Any, float]:
    """The same of a fixed chain: [3, steps], NumPy, float64; and the cost."""
    times = np.linspace(0.0, 1.0, steps)
    log_snr, weight, cost = chain(schedule, times, np, variance)
    return np.stack([times, log_snr, weight]), float(cost)


def _ends(process: Process, like: Tensor) -> tuple[Any, Any]:
    """The log-SNR of the first time and of the last: numbers, arrays [] where they are learned."""
    times = times_of(process, process.steps or 2)[[-1, 0]]
    if process.schedule.clock is not None:
        first, last = log_snr_at(process, like, times)
        return first, last
    first, last = process.schedule.log_snr(times, np)
    return float(first), float(last)


def _error(process: Process, denoise: Denoiser, x: Tensor, noise: Tensor, t: Tensor, log_snr: Tensor) -> Tensor:
    """|eps - eps^(x_t, t)|^2, summed over the event."""
    alpha, sigma = signal = levels(process, log_snr)
    found = prediction(process, denoise, alpha * x + sigma * noise, t, log_snr, signal).noise()
    axes = tuple(range(-process.event, 0))
    square = torch.square(noise - found)
    return square.sum(axes) if axes else square

"""Diffusions: bounds and regressions of a denoiser, the density of its probability-flow ODE, and samplers.

x_t = alpha_t x + sigma_t eps with log alpha_t^2 / sigma_t^2 = lambda(t) (`Schedule`). A denoiser is a function of x_t
[.., *event] and t, [] or [..]. The reverse chain has the variances of the posterior q(x_s | x_t, x), the decoder of the
last step is Normal(denoised x, exp(-lambda / 2)); neither is learned.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dgmppl.ir.schedules import Schedule
from dgmppl_pyro import odes

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Known: TypeAlias = tuple[Tensor, Tensor, Tensor]

# Hang et al. (2023), section 3.4: weights are clipped at this signal-to-noise ratio.
CLIP = 5.0
# Mean and standard deviation of the log-SNR that Karras et al. (2022), table 1, train on.
CENTRE = 2.4
WIDTH = 2.4


@dataclass(frozen=True)
class Process:
    """A noising process and what its denoiser predicts.

    Attributes:
        schedule: the noise at each time.
        predict: `noise` eps, `data` x, `velocity` (Salimans and Ho 2022, section 4; with a schedule's scale the
            preconditioning of Karras et al. 2022, eq. 7, up to its sign) or `score`.
        event: how many axes an event has.
        steps: of a chain; None in continuous time.
    """

    schedule: Schedule
    predict: str
    event: int
    steps: int | None = None


def levels(process: Process, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at a log-SNR [..], with axes for an event on the right."""
    log_snr = _behind(log_snr, process.event)
    if process.schedule.preserving:
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    return torch.ones_like(log_snr), torch.exp(-log_snr / 2)


def predicted(process: Process, denoise: Denoiser, x: Tensor, t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """The denoised x and the noise in it, whatever the denoiser predicts; its input has the variance of unit data."""
    (alpha, sigma), scale = levels(process, log_snr), process.schedule.scale
    norm = torch.sqrt(torch.square(alpha * scale) + torch.square(sigma))
    x_scaled = x / norm
    output = denoise(x_scaled, t)
    if process.predict == "velocity":
        cosine, sine = alpha * scale / norm, sigma / norm
        return scale * (cosine * x_scaled - sine * output), sine * x_scaled + cosine * output
    if process.predict == "data":
        return output, (x - alpha * output) / sigma
    noise = output if process.predict == "noise" else -sigma * output
    return (x - sigma * noise) / alpha, noise


def guided(denoise: Denoiser, unconditional: Denoiser, weight: float) -> Denoiser:
    """Classifier-free guidance: the prediction without the condition, moved by `weight` times what the condition adds.

    Ho and Salimans (2022), eq. 6, with 1 + w = weight. No density of the model has these predictions.
    """

    def combined(x: Tensor, t: Tensor) -> Tensor:
        free = unconditional(x, t)
        return free + weight * (denoise(x, t) - free)

    return combined


# ---- what is trained -------------------------------------------------------------------------------------------------


def bound(process: Process, denoise: Denoiser, x: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """An estimate of the variational bound on log p(x) at one random time per datum: [..], nats.

    -KL(q(x_T | x) || p(x_T)) + E log p(x | x_1) - sum_t KL(q(x_s | x_t, x) || p(x_s | x_t)), in which each divergence
    is (exp(lambda_s - lambda_t) - 1) / 2 |eps - eps^|^2 (Ho et al. 2020, eq. 5; Kingma et al. 2021, eq. 13), and its
    limit -d lambda / dt / 2 |eps - eps^|^2 in continuous time (Kingma et al. 2021, eq. 17).

    Args:
        process: the process.
        denoise: the denoiser.
        x: [.., *event].
        time: uniform numbers [..], of which `stratified` makes times.
        noise: standard normal numbers [.., *event].
    """
    t, log_snr, weight = _moment(process, stratified(time))
    size = math.prod(noise.shape[noise.ndim - process.event :])
    last, first = (float(end) for end in process.schedule.log_snr(_times(process, process.steps or 2), np)[[0, -1]])
    decoded = size / 2 * (first - math.log(2 * math.pi) - (process.steps is None))
    return decoded - prior_divergence(process, x, last) - weight * _error(process, denoise, x, noise, t, log_snr)


def regression(process: Process, denoise: Denoiser, x: Tensor, time: Tensor, noise: Tensor, weighting: str) -> Tensor:
    """The weighted squared error of the predicted noise, summed over the event, at one random time per datum: [..].

    `simple` weighs the noise by 1 (Ho et al. 2020, eq. 14), `min_snr` by min(SNR, 5) / SNR (Hang et al. 2023, eq. 8),
    `edm` by p(lambda) (exp(-lambda) + scale^2) / scale^2 with a normal density p of the log-SNR (Karras et al. 2022,
    table 1, in the form of Kingma and Gao 2023, table 1).
    """
    t, log_snr, _ = _moment(process, stratified(time))
    if weighting == "min_snr":
        weight = torch.clamp(CLIP * torch.exp(-log_snr), max=1.0)
    elif weighting == "edm":
        density = torch.exp(-0.5 * torch.square((log_snr - CENTRE) / WIDTH)) / (WIDTH * math.sqrt(2 * math.pi))
        scale = process.schedule.scale
        weight = process.schedule.rate(t, torch) * density * (1 + torch.exp(-log_snr) / scale**2)
    else:
        weight = torch.ones_like(log_snr)
    return weight * _error(process, denoise, x, noise, t, log_snr)


def stratified(time: Tensor) -> Tensor:
    """Times that fill [0, 1) evenly, each by itself uniform: (u + k / n) mod 1 (Kingma et al. 2021, appendix I.1).

    The first of the uniform numbers is u; a datum's particles are as far apart as they can be, so that as many of them
    as a chain has steps visit every step once.
    """
    count = time.numel()
    places = torch.arange(count, dtype=time.dtype, device=time.device) / count
    return torch.remainder(time.reshape(-1)[0] + places, 1.0).reshape(time.shape)


def prior_divergence(process: Process, x: Tensor, log_snr: float) -> Tensor:
    """KL(q(x_T | x) || p(x_T)) [..], nats: what the schedule leaves of x in its last noise."""
    axes = tuple(range(-process.event, 0))
    square = torch.square(x).sum(axes) if axes else torch.square(x)
    if not process.schedule.preserving:
        return 0.5 * math.exp(log_snr) * square
    signal, noise = 1 / (1 + math.exp(-log_snr)), 1 / (1 + math.exp(log_snr))
    size = math.prod(x.shape[x.ndim - process.event :])
    return 0.5 * (signal * square - size * (signal + math.log(noise)))


def _moment(process: Process, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Time, log-SNR and weight of the squared error in the bound, all [..]."""
    schedule = process.schedule
    if process.steps is None:
        return uniform, schedule.log_snr(uniform, torch), schedule.rate(uniform, torch) / 2
    tables = _chain(schedule, process.steps)
    index = torch.clamp((uniform * process.steps).long(), max=process.steps - 1)
    t, level, weight = (uniform.new_tensor(table)[index] for table in tables)
    return t, level, weight


@functools.cache
def _chain(schedule: Schedule, steps: int) -> tuple[Any, Any, Any]:
    """Time, log-SNR and weight of every step of a chain: NumPy, float64."""
    times = np.linspace(0.0, 1.0, steps)
    log_snr = schedule.log_snr(times, np)
    return times, log_snr, steps / 2 * np.append(1.0, np.expm1(log_snr[:-1] - log_snr[1:]))


def _error(process: Process, denoise: Denoiser, x: Tensor, noise: Tensor, t: Tensor, log_snr: Tensor) -> Tensor:
    """|eps - eps^(x_t, t)|^2, summed over the event."""
    alpha, sigma = levels(process, log_snr)
    _, found = predicted(process, denoise, alpha * x + sigma * noise, t, log_snr)
    axes = tuple(range(-process.event, 0))
    square = torch.square(noise - found)
    return square.sum(axes) if axes else square


# ---- the probability-flow ODE ----------------------------------------------------------------------------------------


def velocity(process: Process, denoise: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """dx/dt of the probability-flow ODE (Song et al. 2021, eq. 13): d alpha / dt x^ + d sigma / dt eps^."""
    return _rates(process, denoise, x, t)[0]


def _rates(process: Process, denoise: Denoiser, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The flow's velocity, what the reverse stochastic equation's drift has beside it, and that equation's diffusion.

    The two are -g^2 / 2 times the score, and g, with g^2 = -d lambda / dt sigma^2 (Song et al. 2021, eq. 6).
    """
    log_snr = process.schedule.log_snr(t, torch)
    (alpha, sigma), rate = levels(process, log_snr), _behind(process.schedule.rate(t, torch), process.event)
    data, noise = predicted(process, denoise, x, t, log_snr)
    score = rate / 2 * sigma * noise
    if process.schedule.preserving:
        return rate / 2 * alpha * sigma * (alpha * noise - sigma * data), score, sigma * torch.sqrt(rate)
    return score, score, sigma * torch.sqrt(rate)


def log_prob(process: Process, denoise: Denoiser, x: Tensor, rtol: float = 1e-5, solver: str = "dopri5") -> Tensor:
    """log p(x) of the probability-flow ODE's own density, [..], nats: exact to the tolerance.

    The instantaneous change of variables from t = 0, where x is taken as it is, to the prior at t = 1 (Song et al.
    2021, section 4.3). It is not the density of the chain, whose bound is `bound`.
    """
    end, log_det = odes.flow(
        lambda x, t: velocity(process, denoise, x, t), x, 0.0, 1.0, rtol=rtol, atol=rtol, method=solver,
        event=process.event,
    )  # fmt: skip
    scale, axes = _prior_scale(process), tuple(range(-process.event, 0))
    each = -0.5 * torch.square(end / scale) - math.log(scale) - 0.5 * math.log(2 * math.pi)
    return (each.sum(axes) if axes else each) + log_det


# ---- samplers --------------------------------------------------------------------------------------------------------


def ancestral(process: Process, denoise: Denoiser, start: Tensor, noise: Tensor, known: Known | None = None) -> Tensor:
    """A draw from the reverse chain and its decoder: [.., *event].

    Args:
        process: the process.
        denoise: the denoiser.
        start: standard normal numbers [.., *event].
        noise: standard normal numbers [.., steps, *event], those of the decoder last.
        known: as in `ddim`.
    """
    count = noise.shape[noise.ndim - process.event - 1]
    drawn = ddim(process, denoise, start, noise, steps=count, eta=1.0, known=known)
    last = _steps(process, noise)[-1]
    result = drawn + math.exp(-float(process.schedule.log_snr(_times(process, count)[-1], np)) / 2) * last
    return result if known is None else torch.where(known[0], known[1], result)


def ddim(
    process: Process,
    denoise: Denoiser,
    start: Tensor,
    noise: Tensor | None = None,
    *,
    steps: int,
    eta: float = 0.0,
    known: Known | None = None,
) -> Tensor:
    """The implicit sampler (Song, Meng and Ermon 2021, eq. 12): [.., *event].

    Args:
        process: the process.
        denoise: the denoiser; it is called `steps` times.
        start: standard normal numbers [.., *event].
        noise: standard normal numbers [.., steps, *event] where eta is positive.
        steps: evenly spaced times of the process; of a chain no more than it has.
        eta: share of fresh noise; 0 is the exponential Euler rule of the probability-flow ODE, 1 the reverse chain.
        known: elements that are given: where (boolean), their values, and the noise that they are given in meanwhile.
    """
    t, log_snr = _grid(process, start, steps)

    def step(x: Tensor, t: Tensor, now: Tensor, later: Tensor, *fresh: Tensor) -> Tensor:
        data, eps = predicted(process, denoise, x, t, now)
        alpha, sigma = levels(process, later)
        share = -torch.expm1(now - later) * eta**2
        x = alpha * data + sigma * torch.sqrt(1 - share) * eps
        for shock in fresh:
            x = x + sigma * torch.sqrt(share) * shock
        return x if known is None else torch.where(known[0], alpha * known[1] + sigma * known[2], x)

    fresh = () if noise is None else (_steps(process, noise)[: len(t) - 1],)
    x = _march(step, start * _prior_scale(process), t[:-1], log_snr[:-1], log_snr[1:], *fresh)
    data = predicted(process, denoise, x, t[-1], log_snr[-1])[0]
    return data if known is None else torch.where(known[0], known[1], data)


def dpm_solver_pp(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), order 2; the first step is one of `ddim`: [.., *event]."""
    t, log_snr = _grid(process, start, steps)

    def step(state: Any, t: Tensor, now: Tensor, later: Tensor) -> Any:
        x, before, width_before = state
        data = predicted(process, denoise, x, t, now)[0]
        width = (later - now) / 2
        (_, sigma), (alpha, sigma_later) = levels(process, now), levels(process, later)
        ahead = data + width / (2 * width_before) * (data - before)
        return sigma_later / sigma * x - alpha * torch.expm1(-width) * ahead, data, width

    x = start * _prior_scale(process)
    first = (x, torch.zeros_like(x), torch.full_like(t[0], math.inf))
    x, _, _ = _march(step, first, t[:-1], log_snr[:-1], log_snr[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def euler(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """Euler's rule on the probability-flow ODE, order 1, then the denoised x: [.., *event]."""
    t, log_snr = _grid(process, start, steps)

    def step(x: Tensor, now: Tensor, later: Tensor) -> Tensor:
        return x + (later - now) * velocity(process, denoise, x, now)

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def heun(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """Heun's rule on the probability-flow ODE, order 2, then the denoised x (Karras et al. 2022, algorithm 1)."""
    t, log_snr = _grid(process, start, steps)

    def step(x: Tensor, now: Tensor, later: Tensor) -> Tensor:
        width = later - now
        first = velocity(process, denoise, x, now)
        second = velocity(process, denoise, x + width * first, later)
        return x + width / 2 * (first + second)

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def sde(process: Process, denoise: Denoiser, start: Tensor, noise: Tensor, solver: str = "euler_maruyama") -> Tensor:
    """The reverse stochastic differential equation (Song et al. 2021, eq. 6), then the denoised x: [.., *event].

    Args:
        process: the process.
        denoise: the denoiser.
        start: standard normal numbers [.., *event].
        noise: standard normal numbers [.., steps, *event].
        solver: `euler_maruyama`, or `heun`: drift and diffusion are averaged over both ends of the step.
    """
    shocks = _steps(process, noise)
    t, log_snr = _grid(process, start, len(shocks))

    def step(x: Tensor, now: Tensor, later: Tensor, shock: Tensor) -> Tensor:
        width, shock = later - now, torch.sqrt(now - later) * shock
        flow, score, diffusion = _rates(process, denoise, x, now)
        moved = x + width * (flow + score) + diffusion * shock
        if solver == "euler_maruyama":
            return moved
        flow_later, score_later, diffusion_later = _rates(process, denoise, moved, later)
        drift = flow + score + flow_later + score_later
        return x + width / 2 * drift + (diffusion + diffusion_later) / 2 * shock

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:], shocks[: len(t) - 1])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def ode(process: Process, denoise: Denoiser, start: Tensor, steps: int = 100, solver: str = "dopri5") -> Tensor:
    """A draw from the density of `log_prob`: the probability-flow ODE from the prior at t = 1 to t = 0."""
    times = start.new_tensor([1.0, 0.0])
    path = odes.solve(
        lambda x, t: velocity(process, denoise, x, t), start * _prior_scale(process), times, method=solver,
        steps=steps, event=process.event,
    )  # fmt: skip
    return path.movedim(-process.event - 1, 0)[-1]


def _march(step: Callable[..., Any], state: Any, *columns: Tensor) -> Any:
    """state = step(state, *row) over the rows of columns."""
    for row in zip(*columns, strict=True):
        state = step(state, *row)
    return state


def _steps(process: Process, noise: Tensor) -> Tensor:
    """Numbers [.., steps, *event] with the axis of steps in front."""
    return noise.movedim(-process.event - 1, 0)


def _grid(process: Process, like: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many times from 1 to 0, and their log-SNR."""
    times = _times(process, count)
    return like.new_tensor(times), like.new_tensor(process.schedule.log_snr(times, np))


def _times(process: Process, count: int) -> Any:
    """So many times from 1 to 0, evenly spaced: NumPy, float64; of a chain some of its own."""
    if process.steps is None:
        return np.linspace(1.0, 0.0, count)
    last = process.steps - 1
    return np.rint(np.linspace(last, 0, min(count, process.steps))) / max(last, 1)


def _prior_scale(process: Process) -> float:
    """The standard deviation of p(x_T): 1, or all the noise where noise is added alone."""
    if process.schedule.preserving:
        return 1.0
    return math.exp(-float(process.schedule.log_snr(_times(process, process.steps or 2)[0], np)) / 2)


def _behind(x: Tensor, event: int) -> Tensor:
    """x [..] with axes for an event on the right."""
    return x.reshape(x.shape + (1,) * event)

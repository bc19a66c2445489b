"""Samplers: the reverse chain, the implicit sampler, rules for the probability-flow ODE and the reverse equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dgmppl.ir.schedules import variance_ratio
from dgmppl_pyro.diffusion.flows import rates, velocity
from dgmppl_pyro.diffusion.process import Denoiser, Process, grid, levels, predicted, prior_scale, steps_in_front

Known: TypeAlias = tuple[Tensor, Tensor, Tensor]


def ancestral(process: Process, denoise: Denoiser, start: Tensor, noise: Tensor, known: Known | None = None) -> Tensor:
    """A draw from the reverse chain and its decoder: [.., *event].

    Args:
        process: the process.
        denoise: the denoiser.
        start: standard normal numbers [.., *event].
        noise: standard normal numbers [.., steps, *event], those of the decoder last.
        known: as in `ddim`.
    """
    shocks = steps_in_front(process, noise)
    t, log_snr = grid(process, start, len(shocks))
    errors = None if process.errors is None or process.steps is None else process.errors[_places(process.steps, t)]
    now, later, error = log_snr[:-1], log_snr[1:], None if errors is None else errors[:-1]
    ratio = variance_ratio(process.schedule, now, later, torch, process.variance, error)
    drawn = _walk(process, denoise, start, t, log_snr, 1.0, known, ratio, shocks[: len(t) - 1])
    deviation = torch.exp(-log_snr[-1] / 2)
    result = drawn + (deviation if errors is None else deviation * torch.sqrt(errors[-1])) * shocks[-1]
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
    t, log_snr = grid(process, start, steps)
    fresh = () if noise is None else (torch.ones_like(t[1:]), steps_in_front(process, noise)[: len(t) - 1])
    return _walk(process, denoise, start, t, log_snr, eta, known, *fresh)


def _walk(
    process: Process, denoise: Denoiser, start: Tensor, t: Tensor, log_snr: Tensor, eta: float, known: Known | None,
    *fresh: Tensor,
) -> Tensor:  # fmt: skip
    """`ddim` over given times; `fresh` are variances in units of its own and standard normal numbers, one a step."""

    def step(x: Tensor, t: Tensor, now: Tensor, later: Tensor, *fresh: Tensor) -> Tensor:
        data, eps = predicted(process, denoise, x, t, now)
        alpha, sigma = levels(process, later)
        share = -torch.expm1(now - later) * eta**2
        x = alpha * data + sigma * torch.sqrt(1 - share) * eps
        if fresh:
            ratio, shock = fresh
            x = x + sigma * torch.sqrt(share * ratio) * shock
        return x if known is None else torch.where(known[0], alpha * known[1] + sigma * known[2], x)

    x = _march(step, start * prior_scale(process), t[:-1], log_snr[:-1], log_snr[1:], *fresh)
    data = predicted(process, denoise, x, t[-1], log_snr[-1])[0]
    return data if known is None else torch.where(known[0], known[1], data)


def _places(steps: int, t: Tensor) -> Tensor:
    """The numbers of a chain's steps, by their times."""
    return torch.round(t * (steps - 1)).long()


def dpm_solver_pp(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), order 2; the first step is one of `ddim`: [.., *event]."""
    t, log_snr = grid(process, start, steps)

    def step(state: Any, t: Tensor, now: Tensor, later: Tensor) -> Any:
        x, before, width_before = state
        data = predicted(process, denoise, x, t, now)[0]
        width = (later - now) / 2
        (_, sigma), (alpha, sigma_later) = levels(process, now), levels(process, later)
        ahead = data + width / (2 * width_before) * (data - before)
        return sigma_later / sigma * x - alpha * torch.expm1(-width) * ahead, data, width

    x = start * prior_scale(process)
    first = (x, torch.zeros_like(x), torch.full_like(t[0], math.inf))
    x, _, _ = _march(step, first, t[:-1], log_snr[:-1], log_snr[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def euler(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """Euler's rule on the probability-flow ODE, order 1, then the denoised x: [.., *event]."""
    t, log_snr = grid(process, start, steps)

    def step(x: Tensor, now: Tensor, later: Tensor) -> Tensor:
        return x + (later - now) * velocity(process, denoise, x, now)

    x = _march(step, start * prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def heun(process: Process, denoise: Denoiser, start: Tensor, steps: int) -> Tensor:
    """Heun's rule on the probability-flow ODE, order 2, then the denoised x (Karras et al. 2022, algorithm 1)."""
    t, log_snr = grid(process, start, steps)

    def step(x: Tensor, now: Tensor, later: Tensor) -> Tensor:
        width = later - now
        first = velocity(process, denoise, x, now)
        second = velocity(process, denoise, x + width * first, later)
        return x + width / 2 * (first + second)

    x = _march(step, start * prior_scale(process), t[:-1], t[1:])
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
    shocks = steps_in_front(process, noise)
    t, log_snr = grid(process, start, len(shocks))

    def step(x: Tensor, now: Tensor, later: Tensor, shock: Tensor) -> Tensor:
        width, shock = later - now, torch.sqrt(now - later) * shock
        flow, score, diffusion = rates(process, denoise, x, now)
        moved = x + width * (flow + score) + diffusion * shock
        if solver == "euler_maruyama":
            return moved
        flow_later, score_later, diffusion_later = rates(process, denoise, moved, later)
        drift = flow + score + flow_later + score_later
        return x + width / 2 * drift + (diffusion + diffusion_later) / 2 * shock

    x = _march(step, start * prior_scale(process), t[:-1], t[1:], shocks[: len(t) - 1])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def _march(step: Callable[..., Any], state: Any, *columns: Tensor) -> Any:
    """state = step(state, *row) over the rows of columns."""
    for row in zip(*columns, strict=True):
        state = step(state, *row)
    return state

"""Samplers: the reverse chain, the implicit sampler, rules for the probability-flow ODE and the reverse equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from dgmppl.ir.schedules import variance_ratio
from dgmppl_numpyro.diffusion.flows import rates, velocity
from dgmppl_numpyro.diffusion.process import Denoiser, Process, grid, levels, predicted, prior_scale, steps_in_front

Known: TypeAlias = tuple[Array, Array, Array]


def ancestral(process: Process, denoise: Denoiser, start: Array, noise: Array, known: Known | None = None) -> Array:
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
    ratio = variance_ratio(process.schedule, now, later, jnp, process.variance, error)
    drawn = _walk(process, denoise, start, t, log_snr, 1.0, known, ratio, shocks[: len(t) - 1])
    deviation = jnp.exp(-log_snr[-1] / 2)
    result = drawn + (deviation if errors is None else deviation * jnp.sqrt(errors[-1])) * shocks[-1]
    return result if known is None else jnp.where(known[0], known[1], result)


def ddim(
    process: Process,
    denoise: Denoiser,
    start: Array,
    noise: Array | None = None,
    *,
    steps: int,
    eta: float = 0.0,
    known: Known | None = None,
) -> Array:
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
    fresh = () if noise is None else (jnp.ones_like(t[1:]), steps_in_front(process, noise)[: len(t) - 1])
    return _walk(process, denoise, start, t, log_snr, eta, known, *fresh)


def _walk(
    process: Process, denoise: Denoiser, start: Array, t: Array, log_snr: Array, eta: float, known: Known | None,
    *fresh: Array,
) -> Array:  # fmt: skip
    """`ddim` over given times; `fresh` are variances in units of its own and standard normal numbers, one a step."""

    def step(x: Array, t: Array, now: Array, later: Array, *fresh: Array) -> Array:
        data, eps = predicted(process, denoise, x, t, now)
        alpha, sigma = levels(process, later)
        share = -jnp.expm1(now - later) * eta**2
        x = alpha * data + sigma * jnp.sqrt(1 - share) * eps
        if fresh:
            ratio, shock = fresh
            x = x + sigma * jnp.sqrt(share * ratio) * shock
        return x if known is None else jnp.where(known[0], alpha * known[1] + sigma * known[2], x)

    x = _march(step, start * prior_scale(process), t[:-1], log_snr[:-1], log_snr[1:], *fresh)
    data = predicted(process, denoise, x, t[-1], log_snr[-1])[0]
    return data if known is None else jnp.where(known[0], known[1], data)


def _places(steps: int, t: Array) -> Array:
    """The numbers of a chain's steps, by their times."""
    return jnp.round(t * (steps - 1)).astype(int)


def dpm_solver_pp(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), order 2; the first step is one of `ddim`: [.., *event]."""
    t, log_snr = grid(process, start, steps)

    def step(state: Any, t: Array, now: Array, later: Array) -> Any:
        x, before, width_before = state
        data = predicted(process, denoise, x, t, now)[0]
        width = (later - now) / 2
        (_, sigma), (alpha, sigma_later) = levels(process, now), levels(process, later)
        ahead = data + width / (2 * width_before) * (data - before)
        return sigma_later / sigma * x - alpha * jnp.expm1(-width) * ahead, data, width

    x = start * prior_scale(process)
    first = (x, jnp.zeros_like(x), jnp.full_like(t[0], math.inf))
    x, _, _ = _march(step, first, t[:-1], log_snr[:-1], log_snr[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def euler(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """Euler's rule on the probability-flow ODE, order 1, then the denoised x: [.., *event]."""
    t, log_snr = grid(process, start, steps)

    def step(x: Array, now: Array, later: Array) -> Array:
        return x + (later - now) * velocity(process, denoise, x, now)

    x = _march(step, start * prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def heun(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """Heun's rule on the probability-flow ODE, order 2, then the denoised x (Karras et al. 2022, algorithm 1)."""
    t, log_snr = grid(process, start, steps)

    def step(x: Array, now: Array, later: Array) -> Array:
        width = later - now
        first = velocity(process, denoise, x, now)
        second = velocity(process, denoise, x + width * first, later)
        return x + width / 2 * (first + second)

    x = _march(step, start * prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def sde(process: Process, denoise: Denoiser, start: Array, noise: Array, solver: str = "euler_maruyama") -> Array:
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

    def step(x: Array, now: Array, later: Array, shock: Array) -> Array:
        width, shock = later - now, jnp.sqrt(now - later) * shock
        flow, score, diffusion = rates(process, denoise, x, now)
        moved = x + width * (flow + score) + diffusion * shock
        if solver == "euler_maruyama":
            return moved
        flow_later, score_later, diffusion_later = rates(process, denoise, moved, later)
        drift = flow + score + flow_later + score_later
        return x + width / 2 * drift + (diffusion + diffusion_later) / 2 * shock

    x = _march(step, start * prior_scale(process), t[:-1], t[1:], shocks[: len(t) - 1])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def _march(step: Callable[..., Any], state: Any, *columns: Array) -> Any:
    """state = step(state, *row) over the rows of columns, in one compiled loop."""
    return jax.lax.scan(lambda state, row: (step(state, *row), None), state, columns)[0]

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

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl.ir.schedules import Schedule
from dgmppl_numpyro import odes

Denoiser: TypeAlias = Callable[[Array, Array], Array]
Known: TypeAlias = tuple[Array, Array, Array]

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


def levels(process: Process, log_snr: Array) -> tuple[Array, Array]:
    """alpha and sigma at a log-SNR [..], with axes for an event on the right."""
    log_snr = _behind(log_snr, process.event)
    if process.schedule.preserving:
        return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    return jnp.ones_like(log_snr), jnp.exp(-log_snr / 2)


def predicted(process: Process, denoise: Denoiser, x: Array, t: Array, log_snr: Array) -> tuple[Array, Array]:
    """The denoised x and the noise in it, whatever the denoiser predicts; its input has the variance of unit data."""
    (alpha, sigma), scale = levels(process, log_snr), process.schedule.scale
    norm = jnp.sqrt(jnp.square(alpha * scale) + jnp.square(sigma))
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

    def combined(x: Array, t: Array) -> Array:
        free = unconditional(x, t)
        return free + weight * (denoise(x, t) - free)

    return combined


# ---- what is trained -------------------------------------------------------------------------------------------------


def bound(process: Process, denoise: Denoiser, x: Array, time: Array, noise: Array) -> Array:
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


def regression(process: Process, denoise: Denoiser, x: Array, time: Array, noise: Array, weighting: str) -> Array:
    """The weighted squared error of the predicted noise, summed over the event, at one random time per datum: [..].

    `simple` weighs the noise by 1 (Ho et al. 2020, eq. 14), `min_snr` by min(SNR, 5) / SNR (Hang et al. 2023, eq. 8),
    `edm` by p(lambda) (exp(-lambda) + scale^2) / scale^2 with a normal density p of the log-SNR (Karras et al. 2022,
    table 1, in the form of Kingma and Gao 2023, table 1).
    """
    t, log_snr, _ = _moment(process, stratified(time))
    if weighting == "min_snr":
        weight = jnp.minimum(CLIP * jnp.exp(-log_snr), 1.0)
    elif weighting == "edm":
        density = jnp.exp(-0.5 * jnp.square((log_snr - CENTRE) / WIDTH)) / (WIDTH * math.sqrt(2 * math.pi))
        scale = process.schedule.scale
        weight = process.schedule.rate(t, jnp) * density * (1 + jnp.exp(-log_snr) / scale**2)
    else:
        weight = jnp.ones_like(log_snr)
    return weight * _error(process, denoise, x, noise, t, log_snr)


def stratified(time: Array) -> Array:
    """Times that fill [0, 1) evenly, each by itself uniform: (u + k / n) mod 1 (Kingma et al. 2021, appendix I.1).

    The first of the uniform numbers is u; a datum's particles are as far apart as they can be, so that as many of them
    as a chain has steps visit every step once.
    """
    places = jnp.arange(time.size, dtype=time.dtype) / time.size
    return jnp.remainder(time.reshape(-1)[0] + places, 1.0).reshape(time.shape)


def prior_divergence(process: Process, x: Array, log_snr: float) -> Array:
    """KL(q(x_T | x) || p(x_T)) [..], nats: what the schedule leaves of x in its last noise."""
    axes = tuple(range(-process.event, 0))
    square = jnp.square(x).sum(axes) if axes else jnp.square(x)
    if not process.schedule.preserving:
        return 0.5 * math.exp(log_snr) * square
    signal, noise = 1 / (1 + math.exp(-log_snr)), 1 / (1 + math.exp(log_snr))
    size = math.prod(x.shape[x.ndim - process.event :])
    return 0.5 * (signal * square - size * (signal + math.log(noise)))


def _moment(process: Process, uniform: Array) -> tuple[Array, Array, Array]:
    """Time, log-SNR and weight of the squared error in the bound, all [..]."""
    schedule = process.schedule
    if process.steps is None:
        return uniform, schedule.log_snr(uniform, jnp), schedule.rate(uniform, jnp) / 2
    tables = _chain(schedule, process.steps)
    index = jnp.minimum((uniform * process.steps).astype(int), process.steps - 1)
    t, level, weight = (jnp.asarray(table, uniform.dtype)[index] for table in tables)
    return t, level, weight


@functools.cache
def _chain(schedule: Schedule, steps: int) -> tuple[Any, Any, Any]:
    """Time, log-SNR and weight of every step of a chain: NumPy, float64."""
    times = np.linspace(0.0, 1.0, steps)
    log_snr = schedule.log_snr(times, np)
    return times, log_snr, steps / 2 * np.append(1.0, np.expm1(log_snr[:-1] - log_snr[1:]))


def _error(process: Process, denoise: Denoiser, x: Array, noise: Array, t: Array, log_snr: Array) -> Array:
    """|eps - eps^(x_t, t)|^2, summed over the event."""
    alpha, sigma = levels(process, log_snr)
    _, found = predicted(process, denoise, alpha * x + sigma * noise, t, log_snr)
    axes = tuple(range(-process.event, 0))
    square = jnp.square(noise - found)
    return square.sum(axes) if axes else square


# ---- the probability-flow ODE ----------------------------------------------------------------------------------------


def velocity(process: Process, denoise: Denoiser, x: Array, t: Array) -> Array:
    """dx/dt of the probability-flow ODE (Song et al. 2021, eq. 13): d alpha / dt x^ + d sigma / dt eps^."""
    return _rates(process, denoise, x, t)[0]


def _rates(process: Process, denoise: Denoiser, x: Array, t: Array) -> tuple[Array, Array, Array]:
    """The flow's velocity, what the reverse stochastic equation's drift has beside it, and that equation's diffusion.

    The two are -g^2 / 2 times the score, and g, with g^2 = -d lambda / dt sigma^2 (Song et al. 2021, eq. 6).
    """
    log_snr = process.schedule.log_snr(t, jnp)
    (alpha, sigma), rate = levels(process, log_snr), _behind(process.schedule.rate(t, jnp), process.event)
    data, noise = predicted(process, denoise, x, t, log_snr)
    score = rate / 2 * sigma * noise
    if process.schedule.preserving:
        return rate / 2 * alpha * sigma * (alpha * noise - sigma * data), score, sigma * jnp.sqrt(rate)
    return score, score, sigma * jnp.sqrt(rate)


def log_prob(process: Process, denoise: Denoiser, x: Array, rtol: float = 1e-5, solver: str = "dopri5") -> Array:
    """log p(x) of the probability-flow ODE's own density, [..], nats: exact to the tolerance.

    The instantaneous change of variables from t = 0, where x is taken as it is, to the prior at t = 1 (Song et al.
    2021, section 4.3). It is not the density of the chain, whose bound is `bound`.
    """
    end, log_det = odes.flow(
        lambda x, t: velocity(process, denoise, x, t), x, 0.0, 1.0, rtol=rtol, atol=rtol, method=solver,
        event=process.event,
    )  # fmt: skip
    scale, axes = _prior_scale(process), tuple(range(-process.event, 0))
    each = -0.5 * jnp.square(end / scale) - math.log(scale) - 0.5 * math.log(2 * math.pi)
    return (each.sum(axes) if axes else each) + log_det


# ---- samplers --------------------------------------------------------------------------------------------------------


def ancestral(process: Process, denoise: Denoiser, start: Array, noise: Array, known: Known | None = None) -> Array:
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
    t, log_snr = _grid(process, start, steps)

    def step(x: Array, t: Array, now: Array, later: Array, *fresh: Array) -> Array:
        data, eps = predicted(process, denoise, x, t, now)
        alpha, sigma = levels(process, later)
        share = -jnp.expm1(now - later) * eta**2
        x = alpha * data + sigma * jnp.sqrt(1 - share) * eps
        for shock in fresh:
            x = x + sigma * jnp.sqrt(share) * shock
        return x if known is None else jnp.where(known[0], alpha * known[1] + sigma * known[2], x)

    fresh = () if noise is None else (_steps(process, noise)[: len(t) - 1],)
    x = _march(step, start * _prior_scale(process), t[:-1], log_snr[:-1], log_snr[1:], *fresh)
    data = predicted(process, denoise, x, t[-1], log_snr[-1])[0]
    return data if known is None else jnp.where(known[0], known[1], data)


def dpm_solver_pp(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), order 2; the first step is one of `ddim`: [.., *event]."""
    t, log_snr = _grid(process, start, steps)

    def step(state: Any, t: Array, now: Array, later: Array) -> Any:
        x, before, width_before = state
        data = predicted(process, denoise, x, t, now)[0]
        width = (later - now) / 2
        (_, sigma), (alpha, sigma_later) = levels(process, now), levels(process, later)
        ahead = data + width / (2 * width_before) * (data - before)
        return sigma_later / sigma * x - alpha * jnp.expm1(-width) * ahead, data, width

    x = start * _prior_scale(process)
    first = (x, jnp.zeros_like(x), jnp.full_like(t[0], math.inf))
    x, _, _ = _march(step, first, t[:-1], log_snr[:-1], log_snr[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def euler(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """Euler's rule on the probability-flow ODE, order 1, then the denoised x: [.., *event]."""
    t, log_snr = _grid(process, start, steps)

    def step(x: Array, now: Array, later: Array) -> Array:
        return x + (later - now) * velocity(process, denoise, x, now)

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def heun(process: Process, denoise: Denoiser, start: Array, steps: int) -> Array:
    """Heun's rule on the probability-flow ODE, order 2, then the denoised x (Karras et al. 2022, algorithm 1)."""
    t, log_snr = _grid(process, start, steps)

    def step(x: Array, now: Array, later: Array) -> Array:
        width = later - now
        first = velocity(process, denoise, x, now)
        second = velocity(process, denoise, x + width * first, later)
        return x + width / 2 * (first + second)

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:])
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
    shocks = _steps(process, noise)
    t, log_snr = _grid(process, start, len(shocks))

    def step(x: Array, now: Array, later: Array, shock: Array) -> Array:
        width, shock = later - now, jnp.sqrt(now - later) * shock
        flow, score, diffusion = _rates(process, denoise, x, now)
        moved = x + width * (flow + score) + diffusion * shock
        if solver == "euler_maruyama":
            return moved
        flow_later, score_later, diffusion_later = _rates(process, denoise, moved, later)
        drift = flow + score + flow_later + score_later
        return x + width / 2 * drift + (diffusion + diffusion_later) / 2 * shock

    x = _march(step, start * _prior_scale(process), t[:-1], t[1:], shocks[: len(t) - 1])
    return predicted(process, denoise, x, t[-1], log_snr[-1])[0]


def ode(process: Process, denoise: Denoiser, start: Array, steps: int = 100, solver: str = "dopri5") -> Array:
    """A draw from the density of `log_prob`: the probability-flow ODE from the prior at t = 1 to t = 0."""
    times = jnp.asarray([1.0, 0.0], start.dtype)
    path = odes.solve(
        lambda x, t: velocity(process, denoise, x, t), start * _prior_scale(process), times, method=solver,
        steps=steps, event=process.event,
    )  # fmt: skip
    return jnp.moveaxis(path, path.ndim - process.event - 1, 0)[-1]


def _march(step: Callable[..., Any], state: Any, *columns: Array) -> Any:
    """state = step(state, *row) over the rows of columns, in one compiled loop."""
    return jax.lax.scan(lambda state, row: (step(state, *row), None), state, columns)[0]


def _steps(process: Process, noise: Array) -> Array:
    """Numbers [.., steps, *event] with the axis of steps in front."""
    return jnp.moveaxis(noise, noise.ndim - process.event - 1, 0)


def _grid(process: Process, like: Array, count: int) -> tuple[Array, Array]:
    """So many times from 1 to 0, and their log-SNR."""
    times = _times(process, count)
    return jnp.asarray(times, like.dtype), jnp.asarray(process.schedule.log_snr(times, np), like.dtype)


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


def _behind(x: Array, event: int) -> Array:
    """x [..] with axes for an event on the right."""
    return x.reshape(x.shape + (1,) * event)

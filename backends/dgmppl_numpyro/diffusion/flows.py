"""The probability-flow ODE of a diffusion: its velocity, its own density, draws from it."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro import odes
from dgmppl_numpyro.diffusion.process import Denoiser, Process, behind, levels, predicted, prior_scale


def velocity(process: Process, denoise: Denoiser, x: Array, t: Array) -> Array:
    """dx/dt of the probability-flow ODE (Song et al. 2021, eq. 13): d alpha / dt x^ + d sigma / dt eps^."""
    return rates(process, denoise, x, t)[0]


def rates(process: Process, denoise: Denoiser, x: Array, t: Array) -> tuple[Array, Array, Array]:
    """The flow's velocity, what the reverse stochastic equation's drift has beside it, and that equation's diffusion.

    The two are -g^2 / 2 times the score, and g, with g^2 = -d lambda / dt sigma^2 (Song et al. 2021, eq. 6).
    """
    log_snr = process.schedule.log_snr(t, jnp)
    (alpha, sigma), rate = levels(process, log_snr), behind(process.schedule.rate(t, jnp), process.event)
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
    scale, axes = prior_scale(process), tuple(range(-process.event, 0))
    each = -0.5 * jnp.square(end / scale) - math.log(scale) - 0.5 * math.log(2 * math.pi)
    return (each.sum(axes) if axes else each) + log_det


def ode(process: Process, denoise: Denoiser, start: Array, steps: int = 100, solver: str = "dopri5") -> Array:
    """A draw from the density of `log_prob`: the probability-flow ODE from the prior at t = 1 to t = 0."""
    times = jnp.asarray([1.0, 0.0], start.dtype)
    path = odes.solve(
        lambda x, t: velocity(process, denoise, x, t), start * prior_scale(process), times, method=solver,
        steps=steps, event=process.event,
    )  # fmt: skip
    return jnp.moveaxis(path, path.ndim - process.event - 1, 0)[-1]

"""Noising processes, what denoisers predict in them, and the times at which they are told apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl.ir.schedules import Schedule

Denoiser: TypeAlias = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Process:
    """A noising process and what its denoiser predicts.

    Attributes:
        schedule: the noise at each time.
        predict: `noise` eps, `data` x, `velocity` (Salimans and Ho 2022, section 4; with a schedule's scale the
            preconditioning of Karras et al. 2022, eq. 7, up to its sign) or `score`.
        event: how many axes an event has.
        steps: of a chain; None in continuous time.
        variance: of the chain's reverse steps, `posterior` or `beta`.
        errors: the mean squared errors per element of the predicted noise [steps], each in [0, 1], that reverse
            variances are best for (`schedules.variance_ratio`); None where the variances are fixed.
    """

    schedule: Schedule
    predict: str
    event: int
    steps: int | None = None
    variance: str = "posterior"
    errors: Array | None = None


def levels(process: Process, log_snr: Array) -> tuple[Array, Array]:
    """alpha and sigma at a log-SNR [..], with axes for an event on the right."""
    log_snr = behind(log_snr, process.event)
    if process.schedule.preserving:
        return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    return jnp.ones_like(log_snr), jnp.exp(-log_snr / 2)


class Prediction(NamedTuple):
    """What a denoiser says of x_t, in either form, whatever it predicts.

    Attributes:
        process: the process.
        output: the denoiser's.
        x: x_t.
        scaled: its input, x_t / norm, which has the variance of unit data.
        alpha, sigma: the levels of the signal and of the noise, with axes for an event.
        norm: likewise; 1 where levels are on the unit circle.
    """

    process: Process
    output: Array
    x: Array
    scaled: Array
    alpha: Array
    sigma: Array
    norm: Array | float

    def noise(self) -> Array:
        """The noise in x_t."""
        match self.process.predict:
            case "noise":
                return self.output
            case "score":
                return -self.sigma * self.output
            case "data":
                return (self.x - self.alpha * self.output) / self.sigma
        cosine, sine = self._angle()
        return sine * self.scaled + cosine * self.output

    def data(self, noise: Array) -> Array:
        """The denoised x, given the noise."""
        match self.process.predict:
            case "noise" | "score":
                return (self.x - self.sigma * noise) / self.alpha
            case "data":
                return self.output
        cosine, sine = self._angle()
        return self.process.schedule.scale * (cosine * self.scaled - sine * self.output)

    def _angle(self) -> tuple[Array, Array]:
        return self.alpha * self.process.schedule.scale / self.norm, self.sigma / self.norm


def prediction(
    process: Process, denoise: Denoiser, x: Array, t: Array, log_snr: Array, signal: tuple[Array, Array]
) -> Prediction:
    """Asks the denoiser about x_t; `signal` are the levels at the log-SNR."""
    (alpha, sigma), scale, clock = signal, process.schedule.scale, process.schedule.clock
    unit = process.schedule.preserving and scale == 1.0
    norm = 1.0 if unit else jnp.sqrt(jnp.square(alpha * scale) + jnp.square(sigma))
    scaled = x if unit else x / norm
    output = denoise(scaled, t if clock is None else clock(log_snr))
    return Prediction(process, output, x, scaled, alpha, sigma, norm)


def predicted(process: Process, denoise: Denoiser, x: Array, t: Array, log_snr: Array) -> tuple[Array, Array]:
    """The denoised x and the noise in it, whatever the denoiser predicts; its input has the variance of unit data."""
    found = prediction(process, denoise, x, t, log_snr, levels(process, log_snr))
    noise = found.noise()
    return found.data(noise), noise


def guided(denoise: Denoiser, unconditional: Denoiser, weight: float) -> Denoiser:
    """Classifier-free guidance: the prediction without the condition, moved by `weight` times what the condition adds.

    Ho and Salimans (2022), eq. 6, with 1 + w = weight. No density of the model has these predictions.
    """

    def combined(x: Array, t: Array) -> Array:
        free = unconditional(x, t)
        return free + weight * (denoise(x, t) - free)

    return combined


def grid(process: Process, like: Array, count: int) -> tuple[Array, Array]:
    """So many times from 1 to 0, and their log-SNR."""
    times = times_of(process, count)
    t = jnp.asarray(times, like.dtype)
    return t, log_snr_at(process, like, times)


def log_snr_at(process: Process, like: Array, times: Any) -> Array:
    """The log-SNR at times that are NumPy's, in whose precision it is computed unless it is learned."""
    schedule = process.schedule
    if schedule.clock is not None:
        return schedule.log_snr(jnp.asarray(times, like.dtype), jnp)
    return jnp.asarray(schedule.log_snr(times, np), like.dtype)


def times_of(process: Process, count: int) -> Any:
    """So many times from 1 to 0, evenly spaced: NumPy, float64; of a chain some of its own."""
    if process.steps is None:
        return np.linspace(1.0, 0.0, count)
    last = process.steps - 1
    return np.rint(np.linspace(last, 0, min(count, process.steps))) / max(last, 1)


def steps_in_front(process: Process, noise: Array) -> Array:
    """Numbers [.., steps, *event] with the axis of steps in front."""
    return jnp.moveaxis(noise, noise.ndim - process.event - 1, 0)


def prior_scale(process: Process) -> float:
    """The standard deviation of p(x_T): 1, or all the noise where noise is added alone."""
    if process.schedule.preserving:
        return 1.0
    return math.exp(-float(process.schedule.log_snr(times_of(process, process.steps or 2)[0], np)) / 2)


def behind(x: Array, event: int) -> Array:
    """x [..] with axes for an event on the right."""
    return x.reshape(x.shape + (1,) * event)

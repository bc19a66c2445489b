"""Diffusions of Gaussian data, whose denoiser is known: what tests of their laws share.

Data N(m, v) in each element: x_t ~ N(alpha m, alpha^2 v + sigma^2), and E[x | x_t] is linear in x_t.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy import stats

from dgmppl.ir import schedules
from dgmppl.ir.schedules import Schedule
from dgmppl_numpyro import diffusion as jax_diffusion
from dgmppl_pyro import diffusion as torch_diffusion

BACKENDS = ("pyro", "numpyro")
MEAN, VARIANCE = 0.4, 0.6
SCHEDULES = {
    "cosine": schedules.cosine(),
    "linear": schedules.linear(),
    "sigmoid": schedules.sigmoid(),
    "edm": schedules.edm(),
    "variance_exploding": schedules.variance_exploding(),
}
PREDICTIONS = ("noise", "data", "velocity", "score")


def diffusion(backend: str) -> Any:
    return torch_diffusion if backend == "pyro" else jax_diffusion


def library(backend: str) -> Any:
    return torch if backend == "pyro" else jnp


def run(backend: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """A function of one backend's arrays, called with NumPy's."""
    if backend == "pyro":
        return function(*(torch.as_tensor(np.asarray(x)) for x in arguments)).detach().numpy()
    return np.asarray(jax.jit(function)(*(jnp.asarray(x) for x in arguments)))


def levels(schedule: Schedule, t: Any, xp: Any = np) -> tuple[Any, Any]:
    """alpha and sigma by their definition."""
    log_snr = schedule.log_snr(t, xp)
    if schedule.preserving:
        return xp.sqrt(1 / (1 + xp.exp(-log_snr))), xp.sqrt(1 / (1 + xp.exp(log_snr)))
    return xp.ones_like(log_snr), xp.exp(-log_snr / 2)


def exact(backend: str, schedule: Schedule, predict: str, event: int = 1) -> Callable[[Any, Any], Any]:
    """The best denoiser of the Gaussian data, in each parameterization; it reads its input scaled."""
    xp = library(backend)

    def denoise(x: Any, t: Any) -> Any:
        alpha, sigma = (part.reshape(part.shape + (1,) * event) for part in levels(schedule, t, xp))
        norm = xp.sqrt((alpha * schedule.scale) ** 2 + sigma**2)
        point = x * norm
        data = MEAN + alpha * VARIANCE * (point - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)
        noise = (point - alpha * data) / sigma
        velocity = (alpha * schedule.scale * noise - sigma * data / schedule.scale) / norm
        return {"noise": noise, "data": data, "velocity": velocity, "score": -noise / sigma}[predict]

    return denoise


def process(backend: str, schedule: Schedule, predict: str = "noise", steps: int | None = None, **settings: Any) -> Any:
    return diffusion(backend).Process(schedule, predict, 1, steps, **settings)


def reverse_variances(schedule: Schedule, steps: int) -> dict[str, np.ndarray]:
    """Variances of a chain's reverse steps, the decoder's first: fixed ones by their definitions, and the true ones.

    The true ones are those of the Gaussian p(x_s | x_t) of the data's own noising process, so that nothing is lost.
    """
    alpha, sigma = levels(schedule, np.linspace(0, 1, steps))
    marginal, between = alpha**2 * VARIANCE + sigma**2, alpha[1:] / alpha[:-1]
    added = sigma[1:] ** 2 - (between * sigma[:-1]) ** 2
    decoder, first = (sigma[0] / alpha[0]) ** 2, VARIANCE * sigma[0] ** 2 / marginal[0]
    return {
        "posterior": np.append(decoder, added * sigma[:-1] ** 2 / sigma[1:] ** 2),
        "beta": np.append(decoder, added),
        "true": np.append(first, added * marginal[:-1] / marginal[1:]),
    }


def errors_of(schedule: Schedule, steps: int) -> np.ndarray:
    """E[(eps - eps^)^2] per element of the exact denoiser at each step."""
    alpha, sigma = levels(schedule, np.linspace(0, 1, steps))
    return alpha**2 * VARIANCE / (alpha**2 * VARIANCE + sigma**2)


def chain_bound(schedule: Schedule, steps: int, x: np.ndarray, variance: str = "posterior") -> np.ndarray:
    """The bound of the chain with the exact denoiser, by Gaussian divergences written out, per element [.., D]."""
    alpha, sigma = levels(schedule, np.linspace(0, 1, steps))
    kinds = reverse_variances(schedule, steps)
    variances = kinds[variance]
    scale = 1.0 if schedule.preserving else sigma[-1]
    last = stats.norm(alpha[-1] * x, sigma[-1])
    total = -(np.log(scale / last.std()) + (last.var() + last.mean() ** 2) / (2 * scale**2) - 0.5)
    for step in range(steps):
        # E[(x - E[x | x_t])^2 | x], the expected squared error of the denoiser.
        gain = alpha[step] * VARIANCE / (alpha[step] ** 2 * VARIANCE + sigma[step] ** 2)
        error = ((1 - gain * alpha[step]) * (x - MEAN)) ** 2 + (gain * sigma[step]) ** 2
        if step == 0:
            total = total - 0.5 * np.log(2 * np.pi * variances[0]) - error / (2 * variances[0])
            continue
        between, ratio = alpha[step] / alpha[step - 1], kinds["posterior"][step] / variances[step]
        added = sigma[step] ** 2 - (between * sigma[step - 1]) ** 2
        weight = alpha[step - 1] * added / sigma[step] ** 2
        total = total - weight**2 * error / (2 * variances[step]) - (ratio - 1 - np.log(ratio)) / 2
    return total


def expected_bound(backend: str, path: Any, x: Any, *, steps: int) -> Any:
    """A chain's bound at x [D], exactly: noise 1 and -1 at every step have the mean of what is quadratic in it."""
    xp, module = library(backend), diffusion(backend)
    sign = np.where(np.arange(2 * steps) % 2, 1.0, -1.0)[:, None] * np.ones((1, len(x)))
    time = np.full(2 * steps, 0.01)
    make = torch.as_tensor if backend == "pyro" else jnp.asarray
    denoise = exact(backend, path.schedule, path.predict)
    return xp.mean(module.bound(path, denoise, make(x), make(time), make(sign)))


def transported(schedule: Schedule, x: np.ndarray, start: float, end: float) -> np.ndarray:
    """The exact map of the probability-flow ODE: marginals are normal, and quantiles stay."""
    alpha, sigma = levels(schedule, np.array([start, end]))
    spread = np.sqrt(alpha**2 * VARIANCE + sigma**2)
    return alpha[1] * MEAN + spread[1] * (x - alpha[0] * MEAN) / spread[0]

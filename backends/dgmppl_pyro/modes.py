"""Modes of the posterior: maximum a posteriori, and the normal distribution at the mode (Laplace)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian
from torch.distributions import MultivariateNormal

from dgmppl.backend import Array, Draws
from dgmppl.errors import RunError
from dgmppl_pyro.posterior import Posterior, Progress
from dgmppl_pyro.program import mix

# L-BFGS has arrived when no component of the gradient, in nats per unit of a raw parameter, is larger.
TOLERANCE = 1e-4
BLOCKS = 20


def maximum(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """The mode of p(theta, data) over theta in constrained space: log|d theta / d raw| is not counted.

    Returns:
        The mode as one chain of one draw; the log joint, in nats, per block of updates as the trace.

    Raises:
        RunError: the log joint is not finite at the start.
    """
    mode, trace, arrived = _ascend(posterior, posterior.log_joint, options, seed, progress)
    notes = ("the mode of the density over constrained values, without the Jacobian of the unconstraining map",)
    return Draws(posterior=posterior.constrained(mode[None, None]), trace=trace, notes=notes + arrived)


def laplace(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """The normal distribution at the mode in unconstrained space, with the inverse negative Hessian as covariance.

    Returns:
        Draws with log p and log q of each over constrained values, in nats.

    Raises:
        RunError: the log density is not finite at the start, or the Hessian at the mode is not negative definite.
    """
    mode, trace, arrived = _ascend(posterior, posterior.log_density, options, seed, progress)
    precision = hessian(lambda z: -posterior.log_density(z), mode)
    precision = 0.5 * (precision + precision.mT)
    if not torch.isfinite(precision).all() or torch.linalg.cholesky_ex(precision).info:
        raise RunError("laplace: the Hessian at the mode is not negative definite; use nuts or svi")
    normal = MultivariateNormal(mode, precision_matrix=precision)
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 1))
        draws = normal.sample((int(options["draws"]),))
    log_p, log_q = posterior.densities(draws, normal.log_prob(draws))
    return Draws(posterior.constrained(draws[None]), log_p=log_p[None], log_q=log_q[None], trace=trace, notes=arrived)


def _ascend(
    posterior: Posterior,
    density: Callable[[Tensor], Tensor],
    options: Mapping[str, Any],
    seed: int,
    progress: Progress | None,
) -> tuple[Tensor, Array, tuple[str, ...]]:
    """The maximum of a density by L-BFGS from the start values, or from a random point where that is not finite.

    Returns:
        The maximum z, the density per block of updates, and a note if they ended before the gradient vanished.
    """
    z, trace, steps = _start(posterior, density, seed).requires_grad_(), [], int(options["steps"])
    leaves, length = [z, *posterior.points.values()], -(-steps // BLOCKS)
    search = torch.optim.LBFGS(
        leaves,
        max_iter=length,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def energy() -> Tensor:
        value = -density(z)
        gradients = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        return value

    for done in range(length, steps + length, length):
        search.step(energy)
        trace.append(-energy().item())
        slope = max(float(leaf.grad.abs().max()) for leaf in leaves if leaf.grad is not None)
        if progress is not None:
            progress(min(done, steps), steps, f"log density {trace[-1]:.6g} nats")
        if slope <= TOLERANCE * max(1.0, abs(trace[-1])):
            return z.detach(), np.asarray(trace), ()
    unfinished = f"the mode was not reached in {steps} updates: the largest slope left is {slope:.3g} nats"
    return z.detach(), np.asarray(trace), (unfinished,)


def _start(posterior: Posterior, density: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """The start values where the density is finite there, else a random point."""
    first = posterior.start()
    return first if bool(torch.isfinite(density(first))) else posterior.scattered(seed)

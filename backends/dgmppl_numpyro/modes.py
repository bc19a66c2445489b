"""Modes of the posterior: maximum a posteriori, and the normal distribution at the mode (Laplace)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from dgmppl.backend import Array, Draws
from dgmppl.errors import RunError
from dgmppl_numpyro.parameters import Flat
from dgmppl_numpyro.posterior import Posterior, Progress, initial_points
from dgmppl_numpyro.program import key

# L-BFGS has arrived when no component of the gradient, in nats per unit of a raw parameter, is larger.
TOLERANCE = 1e-4
BLOCKS = 20
CHUNK = 50

Objective = Callable[[Any, Flat, Flat], Any]


def maximum(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """The mode of p(theta, data) over theta in constrained space: log|d theta / d raw| is not counted.

    Returns:
        The mode as one chain of one draw; the log joint, in nats, per block of updates as the trace.

    Raises:
        RunError: the log joint is not finite at the start.
    """
    mode, trace, unravel, arrived = _ascend(posterior, posterior.log_joint, options, seed, progress)
    point = jax.tree.map(lambda value: value[None, None], unravel(mode))
    notes = ("the mode of the density over constrained values, without the Jacobian of the unconstraining map",)
    return Draws(posterior=posterior.constrained(point), trace=trace, notes=notes + arrived)


def laplace(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """The normal distribution at the mode in unconstrained space, with the inverse negative Hessian as covariance.

    Returns:
        Draws with log p and log q of each over constrained values, in nats.

    Raises:
        RunError: the log density is not finite at the start, or the Hessian at the mode is not negative definite.
    """
    posterior.without_points("laplace")
    mode, trace, unravel, arrived = _ascend(posterior, posterior.log_density, options, seed, progress)

    def energy(vector: Any, fixed: Flat, batch: Flat) -> Any:
        return -posterior.log_density(unravel(vector), fixed, batch)

    factor = jnp.linalg.cholesky(jax.jit(jax.hessian(energy))(mode, posterior.fixed, posterior.batch))
    if not bool(jnp.all(jnp.isfinite(factor))):
        raise RunError("laplace: the Hessian at the mode is not negative definite; use nuts or svi")

    def draw(random: Any, fixed: Flat, batch: Flat) -> tuple[Flat, Any, Any]:
        noise = jax.random.normal(random, mode.shape)
        raw = unravel(mode + jax.scipy.linalg.solve_triangular(factor.T, noise, lower=False))
        normal = jnp.sum(jnp.log(jnp.diagonal(factor)) - 0.5 * noise**2 - 0.5 * jnp.log(2.0 * jnp.pi))
        return raw, posterior.log_joint(raw, fixed, batch), normal - posterior.program.tree.log_abs_det(raw)

    def everything(keys: Any, fixed: Flat, batch: Flat) -> Any:
        return jax.lax.map(lambda each: draw(each, fixed, batch), keys, batch_size=CHUNK)

    keys = jax.random.split(jax.random.fold_in(key(seed), 1), int(options["draws"]))
    raw, *densities = jax.jit(everything)(keys, posterior.fixed, posterior.batch)
    values = posterior.constrained({name: value[None] for name, value in raw.items()})
    log_p, log_q = (np.asarray(density)[None] for density in densities)
    return Draws(posterior=values, log_p=log_p, log_q=log_q, trace=trace, notes=arrived)


def _ascend(
    posterior: Posterior, density: Callable[[Flat, Flat, Flat], Any], options: Mapping[str, Any], seed: int,
    progress: Progress | None,
) -> tuple[Any, Array, Callable[[Any], Flat], tuple[str, ...]]:  # fmt: skip
    """The maximum of a density by L-BFGS from the start values, or from random points where that is not finite.

    Returns:
        The flat raw maximum, the density per block of updates, the way back from flat to named arrays, and a note if
        the updates ended before the gradient vanished.
    """
    start, unravel = ravel_pytree(_start(posterior, density, seed))
    advance, state = _climber(partial(_flat, density, unravel), start)
    vector, trace, steps = start, [], int(options["steps"])
    length = -(-steps // BLOCKS)
    for done in range(length, steps + length, length):
        vector, state, value, slope = advance(vector, state, length, posterior.fixed, posterior.batch)
        trace.append(float(value))
        if progress is not None:
            progress(min(done, steps), steps, f"log density {trace[-1]:.6g} nats")
        if float(slope) <= TOLERANCE * max(1.0, abs(trace[-1])):
            return vector, np.asarray(trace), unravel, ()
    unfinished = f"the mode was not reached in {steps} updates: the largest slope left is {float(slope):.3g} nats"
    return vector, np.asarray(trace), unravel, (unfinished,)


def _flat(density: Callable[[Flat, Flat, Flat], Any], unravel: Callable[[Any], Flat], *point: Any) -> Any:
    vector, fixed, batch = point
    return density(unravel(vector), fixed, batch)


def _start(posterior: Posterior, density: Callable[[Flat, Flat, Flat], Any], seed: int) -> Flat:
    """The start values where the density is finite there, else a random point."""
    first = {name: posterior.start[name] for name in posterior.names}
    if bool(jnp.isfinite(density(first, posterior.fixed, posterior.batch))):
        return first

    def here(point: Flat) -> Any:
        return density(point, posterior.fixed, posterior.batch)

    def explain(point: Flat) -> str:
        return posterior.culprits(posterior.program.tree.constrain(point))

    points = initial_points(here, first, key(seed), 1, explain)
    return {name: value[0] for name, value in points.items()}


def _climber(density: Objective, start: Any) -> tuple[Callable[..., tuple[Any, Any, Any, Any]], Any]:
    """A compiled block of L-BFGS updates, and its first state."""
    search = optax.lbfgs()

    @partial(jax.jit, static_argnums=2)
    def advance(vector: Any, state: Any, length: int, fixed: Flat, batch: Flat) -> tuple[Any, Any, Any, Any]:
        def energy(vector: Any) -> Any:
            return -density(vector, fixed, batch)

        def update(carry: Any, _: None) -> tuple[Any, None]:
            vector, state = carry
            value, gradient = optax.value_and_grad_from_state(energy)(vector, state=state)
            change, state = search.update(gradient, state, vector, value=value, grad=gradient, value_fn=energy)
            return (optax.apply_updates(vector, change), state), None

        (vector, state), _ = jax.lax.scan(update, (vector, state), None, length=length)
        value, gradient = jax.value_and_grad(energy)(vector)
        return vector, state, -value, jnp.max(jnp.abs(gradient))

    return advance, search.init(start)

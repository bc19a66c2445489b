"""Sequential Monte Carlo: particles move from prior to posterior by adaptive tempering, with Hamiltonian moves.

The stages' densities are p(theta) p(data | theta)^t for 0 = t_0 < t_1 < ... = 1 over unconstrained theta. Each t is the
largest at which the particles' effective sample size stays half their number (Del Moral et al. 2012); the moves' mass
matrix comes from the particles, and their step size follows the acceptance rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.infer.util import compute_log_probs, initialize_model, unconstrain_fn

from dgmppl.backend import Draws
from dgmppl.errors import RunError
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.posterior import Posterior, Progress
from dgmppl_numpyro.program import key

MOVES = 10
LEAPFROG = 8
TARGET_ACCEPTANCE = 0.7
MOST_STAGES = 200

Density = Callable[[Flat, Flat], Any]


def run(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """Draws from the posterior, and an estimate of log p(data) in nats in the notes.

    Raises:
        RunError: a prior cannot be sampled, or tempering does not arrive.
    """
    count, first = int(options["particles"]), key(seed)
    posterior.without_points("smc")
    prior, likelihood, values = _densities(posterior)
    particles = _prior_draws(posterior, jax.random.fold_in(first, 0), count)
    stage = jax.jit(partial(_stage, prior, likelihood))
    temperature, log_evidence, step_size = jnp.zeros(()), 0.0, jnp.full((), 0.2)
    for number in range(1, MOST_STAGES + 1):
        random = jax.random.fold_in(first, number)
        particles, temperature, gain, step_size = stage(random, particles, temperature, step_size, posterior.batch)
        log_evidence += float(gain)
        if not np.isfinite(log_evidence):
            raise RunError("smc: no particle has a finite log likelihood")
        if progress is not None:
            progress(int(1000 * float(temperature)), 1000, f"stage {number}, temperature {float(temperature):.3g}")
        if float(temperature) >= 1.0:
            break
    else:
        raise RunError(f"smc: the temperature is {float(temperature):.3g} after {MOST_STAGES} stages: more particles?")
    chosen = jax.random.choice(jax.random.fold_in(first, MOST_STAGES + 1), count, (int(options["draws"]),))
    final = {name: part[chosen] for name, part in particles.items()}
    found = to_host(jax.jit(jax.vmap(values, (0, None)))(final, posterior.batch))
    draws = {name: value[None] for name, value in found.items()}
    notes = (f"log p(data) is about {log_evidence:.4g} nats, from {number} tempering stages of {count} particles",)
    return Draws(posterior=draws, notes=notes)


def _densities(posterior: Posterior) -> tuple[Density, Density, Density]:
    """log p(theta) and log p(data | theta) at unconstrained theta, in nats, and theta's constrained values."""
    model, arguments = posterior.on_reals(), posterior.arguments
    info = initialize_model(
        key(0), model, dynamic_args=True, model_kwargs=arguments(posterior.batch), validate_grad=False
    )

    def likelihood(point: Flat, batch: Flat) -> Any:
        sites = info.postprocess_fn(**arguments(batch))(point)
        log_probs, trace = compute_log_probs(handlers.seed(model, key(0)), (), arguments(batch), sites)
        return sum((value for name, value in log_probs.items() if trace[name]["is_observed"]), start=jnp.zeros(()))

    def prior(point: Flat, batch: Flat) -> Any:
        return -info.potential_fn(**arguments(batch))(point) - likelihood(point, batch)

    def values(point: Flat, batch: Flat) -> Flat:
        constrained = info.postprocess_fn(**arguments(batch))(point)
        return {name: constrained[name] for name in posterior.names}

    return prior, likelihood, values


def _prior_draws(posterior: Posterior, random: Any, count: int) -> Flat:
    """Unconstrained draws from the prior.

    Raises:
        RunError: a prior has no sampler.
    """
    model, columns = posterior.on_reals(), posterior.arguments(posterior.batch)

    def draw(random: Any) -> Flat:
        sites = handlers.trace(handlers.seed(model, random)).get_trace(**columns)
        latent = {
            name: site["value"] for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]
        }
        unconstrained: Flat = unconstrain_fn(model, (), columns, latent)
        return unconstrained

    try:
        drawn: Flat = jax.jit(jax.vmap(draw))(jax.random.split(random, count))
    except NotImplementedError as error:
        raise RunError("smc starts from draws of the prior, and a flat prior has none; use nuts") from error
    return drawn


def _stage(
    prior: Density, likelihood: Density, random: Any, particles: Flat, temperature: Any, step_size: Any, batch: Flat
) -> tuple[Flat, Any, Any, Any]:
    """Reweighting, resampling and moves: particles, temperature, gain in log evidence, step size after it."""
    log_likelihood = jax.vmap(likelihood, (0, None))(particles, batch)
    log_likelihood = jnp.where(jnp.isnan(log_likelihood), -jnp.inf, log_likelihood)
    following = _next_temperature(log_likelihood, temperature)
    log_weights = (following - temperature) * log_likelihood
    count = log_weights.size
    resample, moves = jax.random.split(random)
    parents = _systematic(resample, jax.nn.softmax(log_weights))
    chosen = jax.tree.map(lambda part: part[parents], particles)
    scales = jax.tree.map(lambda part: jnp.maximum(jnp.std(part, 0), 1e-6), chosen)

    def density(point: Flat) -> Any:
        return prior(point, batch) + following * likelihood(point, batch)

    def move(carry: tuple[Flat, Any], random: Any) -> tuple[tuple[Flat, Any], None]:
        points, step_size = carry
        kernel = jax.vmap(partial(_hamiltonian, density, scales), (0, 0, None))
        points, accepted = kernel(jax.random.split(random, count), points, step_size)
        return (points, step_size * jnp.exp(0.5 * (jnp.mean(accepted) - TARGET_ACCEPTANCE))), None

    (moved, step_size), _ = jax.lax.scan(move, (chosen, step_size), jax.random.split(moves, MOVES))
    return moved, following, jax.nn.logsumexp(log_weights) - jnp.log(count), step_size


def _next_temperature(log_likelihood: Any, temperature: Any) -> Any:
    """The largest temperature at which the effective sample size is half the number of particles, by bisection."""

    def enough(following: Any) -> Any:
        weights = jax.nn.softmax((following - temperature) * log_likelihood)
        return 1.0 / jnp.sum(weights**2) >= 0.5 * log_likelihood.size

    def halve(bounds: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        low, high = bounds
        middle = 0.5 * (low + high)
        good = enough(middle)
        return (jnp.where(good, middle, low), jnp.where(good, high, middle)), None

    one = jnp.ones_like(temperature)
    (low, _), _ = jax.lax.scan(halve, (temperature, one), None, length=30)
    return jnp.where(enough(one), one, low)


def _systematic(random: Any, weights: Any) -> Any:
    """Systematic resampling: the particles' numbers, each as often as its weight says, give or take one."""
    count = weights.size
    positions = (jnp.arange(count) + jax.random.uniform(random)) / count
    return jnp.clip(jnp.searchsorted(jnp.cumsum(weights), positions), 0, count - 1)


def _hamiltonian(
    density: Callable[[Flat], Any], scales: Flat, random: Any, point: Flat, step_size: Any
) -> tuple[Flat, Any]:
    """One Hamiltonian move in coordinates of unit scale: the point after it and the acceptance probability."""
    refresh, accept, jitter = jax.random.split(random, 3)
    length = step_size * jax.random.uniform(jitter, minval=0.8, maxval=1.2)
    keys = dict(zip(point, jax.random.split(refresh, len(point)), strict=True))
    momentum = {name: jax.random.normal(keys[name], part.shape, part.dtype) for name, part in point.items()}
    slope = jax.grad(density)

    def kick(point: Flat, momentum: Flat, share: float) -> Flat:
        gradient = slope(point)
        return {name: part + share * length * scales[name] * gradient[name] for name, part in momentum.items()}

    def leap(state: tuple[Flat, Flat], _: None) -> tuple[tuple[Flat, Flat], None]:
        point, momentum = state
        momentum = kick(point, momentum, 0.5)
        point = {name: part + length * scales[name] * momentum[name] for name, part in point.items()}
        return (point, kick(point, momentum, 0.5)), None

    (proposal, final), _ = jax.lax.scan(leap, (point, momentum), None, length=LEAPFROG)
    energy = partial(_energy, density)
    change = energy(proposal, final) - energy(point, momentum)
    probability = jnp.where(jnp.isfinite(change), jnp.exp(-jnp.maximum(change, 0.0)), 0.0)
    taken = jax.random.uniform(accept) < probability
    return jax.tree.map(partial(jnp.where, taken), proposal, point), probability


def _energy(density: Callable[[Flat], Any], point: Flat, momentum: Flat) -> Any:
    return 0.5 * sum(jnp.sum(part**2) for part in momentum.values()) - density(point)

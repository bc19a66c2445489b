"""Annealed importance sampling: chains from a normalized density to an unnormalized one, each in one compiled loop.

Forward, from draws of the base, E[exp(log_weights)] = Z; reverse, from exact draws of the density, E[exp(-log_weights)]
= 1 / Z (Neal 2001, section 2). Like chains at one temperature these are functions of their noise, without gradient.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dgmppl_numpyro.samplers import (
    LogDensity,
    block_sweep,
    fixed,
    hamiltonian,
    informed,
    split_noise,
    units,
    value_and_slope,
)

# Annealed chains draw each transition's step size log-uniformly between these, so that some fit every temperature.
SMALLEST, LARGEST = 0.03, 1.0


def hmc(
    log_base: LogDensity,
    log_p: LogDensity,
    start: Array,
    rank: int,
    normal: Array,
    uniform: Array,
    size: Array,
    *,
    leapfrog: int,
    reverse: bool,
) -> tuple[Array, Array]:
    """Annealed importance sampling along base^(1 - beta) p^beta with HMC (Neal 2001, section 2).

    Forward, from draws of the base, E[exp(log_weights)] = Z. Reverse, from exact draws of p, E[exp(-log_weights)] =
    1 / Z.

    Args:
        log_base: the normalized density at beta = 0.
        log_p: the unnormalized one at beta = 1.
        start: draws of the base; in reverse of p.
        rank: axes of an event.
        normal: momenta, [.., temperatures, *event].
        uniform: [.., temperatures].
        size: uniforms of the step sizes, [.., temperatures].
        leapfrog: leapfrog steps of a transition.
        reverse: from beta = 1 to beta = 0.

    Returns:
        The chains' ends [.., *event], and the log-weights [..], nats.
    """
    steps, start = split_noise(start, rank, (normal, rank), (uniform, 0), (size, 0))
    base, target = fixed(log_base, start), fixed(log_p, start)

    def move(x: Array, beta: Array, entries: tuple[Array, ...]) -> Array:
        momentum, u, share = entries
        step_size = (SMALLEST * (LARGEST / SMALLEST) ** share).reshape(share.shape + (1,) * rank)
        slope = value_and_slope(lambda point: _between(base, target, beta, point))
        return hamiltonian(slope, x, rank, (momentum, u), step_size, leapfrog)

    return _annealed(move, lambda x: target(x) - base(x), start, steps, reverse)


def gibbs_with_gradients(
    log_base: LogDensity,
    log_p: LogDensity,
    start: Array,
    rank: int,
    gumbel: Array,
    uniform: Array,
    *,
    states: int,
    reverse: bool,
) -> tuple[Array, Array]:
    """Annealed importance sampling with Gibbs-with-gradients; arguments as in `hmc` and there."""
    steps, start = split_noise(start, rank, (gumbel, 1), (uniform, 0))
    base, target = fixed(log_base, start), fixed(log_p, start)

    def move(x: Array, beta: Array, entries: tuple[Array, ...]) -> Array:
        return informed(value_and_slope(lambda point: _between(base, target, beta, point)), x, rank, entries, states)

    return _annealed(move, lambda x: target(x) - base(x), start, steps, reverse)


def block_gibbs(
    log_p: LogDensity,
    start: Array,
    rank: int,
    visible: Array,
    hidden: Array,
    first: Array,
    *,
    hidden_rank: int,
    states: tuple[int, int],
    reverse: bool,
) -> tuple[Array, Array]:
    """Annealed importance sampling along p(v, h)^beta with block Gibbs (Salakhutdinov and Murray 2008).

    The base is the uniform distribution over the states of all units; its log-mass is part of the log-weights.

    Args:
        log_p: as in `block_gibbs`.
        start: uniform visible units; in reverse exact draws of them.
        rank: as in `block_gibbs`.
        visible: as in `block_gibbs`, one entry per temperature.
        hidden: likewise.
        first: like one entry of `hidden`: the hidden units' first draw.
        hidden_rank: as in `block_gibbs`.
        states: as in `block_gibbs`.
        reverse: from beta = 1 to beta = 0.
    """
    noises = (visible, rank + (states[0] > 2)), (hidden, hidden_rank + (states[1] > 2))
    steps, start = split_noise(start, rank, *noises)
    sweep = block_sweep(log_p, start, steps[1], states)
    empty = jnp.zeros(first.shape if states[1] == 2 else first.shape[:-1], start.dtype)
    target = fixed(log_p, start, empty)
    slope = jax.grad(lambda h: target(start, h).sum())(empty)
    begin = start, units(slope if reverse else jnp.zeros_like(slope), first, states[1])

    def move(pair: tuple[Array, Array], beta: Array, entries: tuple[Array, ...]) -> tuple[Array, Array]:
        return sweep(pair[0], *entries, beta)

    (end, _), log_weights = _annealed(move, lambda pair: target(*pair), begin, steps, reverse)
    sizes = math.prod(start.shape[start.ndim - rank :]), math.prod(empty.shape[empty.ndim - hidden_rank :])
    return end, log_weights + sum(size * math.log(count) for size, count in zip(sizes, states, strict=True))


def _between(base: LogDensity, target: LogDensity, beta: Any, x: Array) -> Array:
    return (1.0 - beta) * base(x) + beta * target(x)


def _annealed(move: Any, ratio: Any, start: Any, steps: tuple[Array, ...], reverse: bool) -> tuple[Any, Array]:
    """Moves at every temperature but 0, and the log-weights that gather between them."""
    count = len(steps[0])
    betas = jnp.arange(1, count + 1) / count

    def step(carry: tuple[Any, Array], entries: Any) -> tuple[tuple[Any, Array], None]:
        x, log_weights = carry
        beta, noise = entries
        if reverse:
            x = move(x, beta, noise)
            return (x, log_weights + ratio(x) / count), None
        log_weights = log_weights + ratio(x) / count
        return (move(x, beta, noise), log_weights), None

    betas = betas.astype(jax.tree.leaves(start)[0].dtype)
    carry = start, jnp.zeros_like(ratio(start))
    (end, log_weights), _ = lax.scan(step, carry, (betas, steps), reverse=reverse)
    return lax.stop_gradient(end), lax.stop_gradient(log_weights)

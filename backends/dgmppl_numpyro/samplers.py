"""Markov chains on densities that are known up to their normalizer, each in one compiled loop.

A chain is a function of its noise: the array of every transition's random numbers, whose axis of transitions stands
left of the event. No gradient passes through a chain: what its density reads is held fixed.

MALA, HMC, Gibbs and Gibbs-with-gradients leave the density invariant; unadjusted Langevin dynamics leaves another one
invariant, which for N(0, 1) is N(0, 1 / (1 - step_size / 2)). A proposal at which the density is not finite is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

LogDensity = Callable[..., Array]
Transition = Callable[[Array, tuple[Array, ...]], Array]

# Annealed chains draw each transition's step size log-uniformly between these, so that some fit every temperature.
SMALLEST, LARGEST = 0.03, 1.0


# ---- continuous events ----------------------------------------------------------------------------------------------


def langevin(
    log_p: LogDensity,
    start: Array,
    rank: int,
    normal: Array,
    *,
    step_size: float,
    noise: float | None = None,
    clip: float | None = None,
) -> Array:
    """x <- x + step_size grad log p(x) + noise eps: unadjusted Langevin dynamics (Grenander and Miller 1994).

    Args:
        log_p: x [.., *event] -> [..], nats, up to a constant.
        start: where the chains begin, [.., *event].
        rank: axes of an event.
        normal: [.., steps, *event].
        step_size: h.
        noise: standard deviation of the noise; sqrt(2 h), the diffusion's own, where None: others temper the density.
        clip: each element of the gradient is clipped to [-clip, clip].
    """
    scale = math.sqrt(2.0 * step_size) if noise is None else noise
    (steps,), start = _steps(start, rank, (normal, rank))
    slope = _slope(_fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        drift = slope(x)[1] if clip is None else jnp.clip(slope(x)[1], -clip, clip)
        return x + step_size * drift + scale * entries[0]

    return _run(step, start, (steps,))


def mala(log_p: LogDensity, start: Array, rank: int, normal: Array, uniform: Array, *, step_size: float) -> Array:
    """Langevin proposals that are accepted or refused (Roberts and Tweedie 1996): leaves the density invariant.

    Args:
        log_p: as in `langevin`.
        start: as in `langevin`.
        rank: as in `langevin`.
        normal: [.., steps, *event].
        uniform: [.., steps].
        step_size: h.
    """
    (normals, uniforms), start = _steps(start, rank, (normal, rank), (uniform, 0))
    slope = _slope(_fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        eps, u = entries
        value, drift = slope(x)
        moved = x + step_size * drift + math.sqrt(2.0 * step_size) * eps
        other, back = slope(moved)
        returned = _sum(jnp.square(x - moved - step_size * back), rank) / (4.0 * step_size)
        return _accepted(other - value + 0.5 * _sum(jnp.square(eps), rank) - returned, u, moved, x, rank)

    return _run(step, start, (normals, uniforms))


def hmc(
    log_p: LogDensity, start: Array, rank: int, normal: Array, uniform: Array, *, step_size: float, leapfrog: int
) -> Array:
    """Hamiltonian Monte Carlo with unit masses (Neal 2011, figure 2): leaves the density invariant.

    Args:
        log_p: as in `langevin`.
        start: as in `langevin`.
        rank: as in `langevin`.
        normal: momenta, [.., steps, *event].
        uniform: [.., steps].
        step_size: of the leapfrog.
        leapfrog: how many of them make a transition.
    """
    (normals, uniforms), start = _steps(start, rank, (normal, rank), (uniform, 0))
    slope = _slope(_fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return _hamiltonian(slope, x, rank, entries, step_size, leapfrog)

    return _run(step, start, (normals, uniforms))


def _hamiltonian(
    slope: Callable[[Array], tuple[Array, Array]],
    x: Array,
    rank: int,
    noise: tuple[Array, ...],
    step_size: Any,
    leapfrog: int,
) -> Array:
    """One transition of HMC; the step size is a number or one per chain, with the event's axes."""
    (momentum, u), (value, force) = noise, slope(x)

    def leap(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], None]:
        place, speed, _, force = carry
        speed = speed + 0.5 * step_size * force
        place = place + step_size * speed
        level, force = slope(place)
        return (place, speed + 0.5 * step_size * force, level, force), None

    (moved, speed, other, _), _ = lax.scan(leap, (x, momentum, value, force), None, length=leapfrog)
    kinetic = 0.5 * _sum(jnp.square(momentum) - jnp.square(speed), rank)
    return _accepted(other - value + kinetic, u, moved, x, rank)


# ---- discrete events ------------------------------------------------------------------------------------------------


def gibbs(log_p: LogDensity, start: Array, rank: int, gumbel: Array, *, states: int) -> Array:
    """Sweeps over the elements in order, each drawn given the others (Geman and Geman 1984).

    Args:
        log_p: x [.., *event] -> [..], nats, up to a constant; more axes may stand on the left.
        start: where the chains begin, [.., *event], values 0..states-1.
        rank: axes of an event.
        gumbel: [.., steps, *event, states].
        states: how many values an element has.
    """
    (gumbels,), start = _steps(start, rank, (gumbel, rank + 1))
    size, batch, event = _split(start, rank)
    values = jnp.arange(states, dtype=start.dtype)
    wide = jnp.broadcast_to(start, (states, *start.shape))
    fixed = _fixed(log_p, wide)

    def visit(x: Array, entry: tuple[Array, Array]) -> tuple[Array, None]:
        place, noise = entry
        choices = jnp.broadcast_to(x, (states, *x.shape))
        choices = choices.at[..., place].set(values.reshape(states, *(1,) * len(batch)))
        logits = jnp.moveaxis(fixed(choices.reshape(states, *batch, *event)), 0, -1)
        return x.at[..., place].set((logits + noise).argmax(-1).astype(x.dtype)), None

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        noise = jnp.moveaxis(entries[0].reshape(*batch, size, states), -2, 0)
        return lax.scan(visit, x.reshape(*batch, size), (jnp.arange(size), noise))[0].reshape(x.shape)

    return _run(step, start, (gumbels,))


def gibbs_with_gradients(
    log_p: LogDensity, start: Array, rank: int, gumbel: Array, uniform: Array, *, states: int
) -> Array:
    """One element is changed at a time, chosen by the gradient, then accepted or refused (Grathwohl et al. 2021).

    The proposal of element i and value k has log-weight (k - x_i) d log p / d x_i / 2 (their eq. 6).

    Args:
        log_p: as in `gibbs`, with a derivative at these values.
        start: as in `gibbs`.
        rank: as in `gibbs`.
        gumbel: [.., steps, elements * states].
        uniform: [.., steps].
        states: as in `gibbs`.
    """
    (gumbels, uniforms), start = _steps(start, rank, (gumbel, 1), (uniform, 0))
    slope = _slope(_fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return _informed(slope, x, rank, entries, states)

    return _run(step, start, (gumbels, uniforms))


def _informed(
    slope: Callable[[Array], tuple[Array, Array]], x: Array, rank: int, noise: tuple[Array, ...], states: int
) -> Array:
    """One transition of Gibbs-with-gradients."""
    (gumbel, u), (size, batch, _) = noise, _split(x, rank)
    here = x.reshape(*batch, size)
    value, logits = _informed_logits(slope, x, rank, states)
    choice = (logits + gumbel).argmax(-1)[..., None]
    element, new = choice // states, (choice % states).astype(x.dtype)
    old = jnp.take_along_axis(here, element, -1)
    moved = jnp.where(jnp.arange(size) == element, new, here).reshape(x.shape)
    other, backward = _informed_logits(slope, moved, rank, states)
    back = element * states + old.astype(element.dtype)
    there = jnp.take_along_axis(logits, choice, -1) - jnp.take_along_axis(backward, back, -1)
    return _accepted(other - value - there[..., 0], u, moved, x, rank)


def _informed_logits(
    slope: Callable[[Array], tuple[Array, Array]], x: Array, rank: int, states: int
) -> tuple[Array, Array]:
    """log p, and the normalized log-weights of every change, [.., elements * states]."""
    size, batch, _ = _split(x, rank)
    value, gradient = slope(x)
    flat, change = gradient.reshape(*batch, size), jnp.arange(states, dtype=x.dtype)
    steps = change - x.reshape(*batch, size, 1)
    logits = jnp.where(steps == 0, -jnp.inf, 0.5 * flat[..., None] * steps)
    return value, jax.nn.log_softmax(logits.reshape(*batch, size * states), -1)


def block_gibbs(
    log_p: LogDensity,
    start: Array,
    rank: int,
    visible: Array,
    hidden: Array,
    *,
    hidden_rank: int,
    states: tuple[int, int],
) -> Array:
    """Hidden units given the visible ones, then visible units given the hidden ones (Hinton 2002).

    Both blocks are independent given the other where log p(v, h) is affine in each: their log-odds are its derivatives.

    Args:
        log_p: v [.., *event], h [.., *hidden event] -> [..], nats, up to a constant.
        start: where the visible units begin.
        rank: axes of the visible event.
        visible: [.., steps, *event] uniforms, with more than two states [.., steps, *event, states] Gumbels.
        hidden: likewise of the hidden event.
        hidden_rank: axes of the hidden event.
        states: of a visible and of a hidden unit.
    """
    noises = (visible, rank + (states[0] > 2)), (hidden, hidden_rank + (states[1] > 2))
    steps, start = _steps(start, rank, *noises)
    blocks = _blocks(log_p, start, steps[1], states)

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return blocks(x, *entries, 1.0)[0]

    return _run(step, start, steps)


def _blocks(
    log_p: LogDensity, start: Array, noises: Array, states: tuple[int, int]
) -> Callable[..., tuple[Array, Array]]:
    """A sweep over both blocks at an inverse temperature: (visible, hidden)."""
    like = noises[0] if states[1] == 2 else noises[0][..., 0]
    empty = jnp.zeros(like.shape, start.dtype)
    fixed = _fixed(log_p, start, empty)
    given_visible = jax.grad(lambda h, v: fixed(v, h).sum())
    given_hidden = jax.grad(lambda v, h: fixed(v, h).sum())

    def sweep(x: Array, visible: Array, hidden: Array, inverse: Any) -> tuple[Array, Array]:
        h = _units(inverse * given_visible(empty, x), hidden, states[1])
        return _units(inverse * given_hidden(x, h), visible, states[0]), h

    return sweep


def _units(slope: Array, noise: Array, states: int) -> Array:
    """Independent units of values k = 0.. with log-weights k slope."""
    if states == 2:
        return (noise < jax.nn.sigmoid(slope)).astype(slope.dtype)
    values = jnp.arange(states, dtype=slope.dtype)
    return (slope[..., None] * values + noise).argmax(-1).astype(slope.dtype)


# ---- annealed importance sampling -----------------------------------------------------------------------------------


def annealed_hmc(
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
    """Annealed importance sampling along base^(1 - beta) p^beta with HMC (Neal 2001, eq. 11 to 14).

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
    steps, start = _steps(start, rank, (normal, rank), (uniform, 0), (size, 0))
    base, target = _fixed(log_base, start), _fixed(log_p, start)

    def move(x: Array, beta: Array, entries: tuple[Array, ...]) -> Array:
        momentum, u, share = entries
        step_size = (SMALLEST * (LARGEST / SMALLEST) ** share).reshape(share.shape + (1,) * rank)
        slope = _slope(lambda point: _between(base, target, beta, point))
        return _hamiltonian(slope, x, rank, (momentum, u), step_size, leapfrog)

    return _annealed(move, lambda x: target(x) - base(x), start, steps, reverse)


def annealed_gibbs_with_gradients(
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
    """Annealed importance sampling with Gibbs-with-gradients; arguments as in `annealed_hmc` and there."""
    steps, start = _steps(start, rank, (gumbel, 1), (uniform, 0))
    base, target = _fixed(log_base, start), _fixed(log_p, start)

    def move(x: Array, beta: Array, entries: tuple[Array, ...]) -> Array:
        return _informed(_slope(lambda point: _between(base, target, beta, point)), x, rank, entries, states)

    return _annealed(move, lambda x: target(x) - base(x), start, steps, reverse)


def annealed_block_gibbs(
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
    steps, start = _steps(start, rank, *noises)
    sweep = _blocks(log_p, start, steps[1], states)
    empty = jnp.zeros(first.shape if states[1] == 2 else first.shape[:-1], start.dtype)
    target = _fixed(log_p, start, empty)
    slope = jax.grad(lambda h: target(start, h).sum())(empty)
    units = start, _units(slope if reverse else jnp.zeros_like(slope), first, states[1])

    def move(pair: tuple[Array, Array], beta: Array, entries: tuple[Array, ...]) -> tuple[Array, Array]:
        return sweep(pair[0], *entries, beta)

    (end, _), log_weights = _annealed(move, lambda pair: target(*pair), units, steps, reverse)
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


# ---- parts ----------------------------------------------------------------------------------------------------------


def origin(like: Array, rank: int, shape: tuple[int, ...]) -> Array:
    """Zeros [.., *shape] with the batch axes of a value whose event has `rank` axes."""
    return jnp.zeros((*like.shape[: like.ndim - rank], *shape), like.dtype)


def _run(step: Transition, start: Array, steps: tuple[Array, ...]) -> Array:
    """The end of a chain."""
    end = lax.scan(lambda x, entries: (step(x, entries), None), start, steps)[0]
    return lax.stop_gradient(end)


def _steps(start: Array, rank: int, *noises: tuple[Array, int]) -> tuple[tuple[Array, ...], Array]:
    """Noise with its axis of transitions first, and the start with the noise's batch axes, held fixed."""
    steps = tuple(jnp.moveaxis(noise, -own - 1, 0) for noise, own in noises)
    batch = steps[-1].shape[1 : steps[-1].ndim - noises[-1][1]]
    event = start.shape[start.ndim - rank :]
    shape = (*jnp.broadcast_shapes(batch, start.shape[: start.ndim - rank]), *event)
    dtype = jnp.result_type(steps[-1])
    return steps, lax.stop_gradient(jnp.broadcast_to(start, shape).astype(dtype))


def _fixed(log_p: LogDensity, *points: Array) -> LogDensity:
    """The density with everything that it reads held fixed, so that no derivative by parameters is traced."""
    plain, read = jax.closure_convert(log_p, *points)
    held = [lax.stop_gradient(value) for value in read]
    return lambda *arguments: plain(*arguments, *held)


def _slope(log_p: LogDensity) -> Callable[[Array], tuple[Array, Array]]:
    """log p [..] and its gradient [.., *event]."""

    def both(x: Array) -> tuple[Array, Array]:
        value, back = jax.vjp(log_p, x)
        return value, back(jnp.ones_like(value))[0]

    return both


def _accepted(log_ratio: Array, uniform: Array, moved: Array, x: Array, rank: int) -> Array:
    """The proposal where log u lies below the log-ratio, else the place before."""
    taken = jnp.log(uniform) < log_ratio
    return jnp.where(taken.reshape(taken.shape + (1,) * rank), moved, x)


def _sum(x: Array, rank: int) -> Array:
    return x.sum(tuple(range(-rank, 0)))


def _split(x: Array, rank: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Elements of an event, batch axes, event axes."""
    batch, event = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    return math.prod(event), batch, event

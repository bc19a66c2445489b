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

# A chain whose largest element is so many times one more than that of its start has no density that it follows.
EXPLODED = 1e6


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
    (steps,), start = split_noise(start, rank, (normal, rank))
    slope = value_and_slope(fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        drift = slope(x)[1] if clip is None else jnp.clip(slope(x)[1], -clip, clip)
        return x + step_size * drift + scale * entries[0]

    return _bounded(_run(step, start, (steps,)), start, rank)


def annealed_langevin(
    log_p: LogDensity,
    start: Array,
    rank: int,
    normal: Array,
    *,
    step_size: float,
    largest: float,
    smallest: float,
    levels: int,
) -> Array:
    """Langevin dynamics at one noise after another, from the largest on (Song and Ermon 2019, algorithm 1).

    At sigma_k = largest (smallest / largest)^(k / (levels - 1)) steps have the size step_size (sigma_k / smallest)^2,
    so that drift and noise keep their ratio.

    Args:
        log_p: x [.., *event] and sigma [..] -> [..], nats, up to a constant.
        start: where the chains begin, [.., *event].
        rank: axes of an event.
        normal: [.., levels * steps, *event].
        step_size: at the smallest noise.
        largest: the first noise.
        smallest: the last.
        levels: how many.
    """
    (steps,), start = split_noise(start, rank, (normal, rank))
    batch, each = start.shape[: start.ndim - rank], len(steps) // levels
    sigmas = jnp.repeat(jnp.asarray(_noises(largest, smallest, levels), start.dtype), each)
    held = fixed(log_p, start, jnp.broadcast_to(sigmas[0], batch))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        sigma, eps = entries
        size = step_size * (sigma / smallest) ** 2
        slope = value_and_slope(lambda point: held(point, jnp.broadcast_to(sigma, batch)))
        return x + size * slope(x)[1] + jnp.sqrt(2.0 * size) * eps

    return _bounded(_run(step, start, (sigmas, steps)), start, rank)


def _noises(largest: float, smallest: float, levels: int) -> list[float]:
    """From the largest to the smallest, evenly spaced in their logarithm."""
    return [largest * (smallest / largest) ** (k / (levels - 1)) for k in range(levels)]


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
    (normals, uniforms), start = split_noise(start, rank, (normal, rank), (uniform, 0))
    slope = value_and_slope(fixed(log_p, start))

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
    (normals, uniforms), start = split_noise(start, rank, (normal, rank), (uniform, 0))
    slope = value_and_slope(fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return hamiltonian(slope, x, rank, entries, step_size, leapfrog)

    return _run(step, start, (normals, uniforms))


def hamiltonian(
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
    (gumbels,), start = split_noise(start, rank, (gumbel, rank + 1))
    size, batch, event = _split(start, rank)
    values = jnp.arange(states, dtype=start.dtype)
    wide = jnp.broadcast_to(start, (states, *start.shape))
    held = fixed(log_p, wide)

    def visit(x: Array, entry: tuple[Array, Array]) -> tuple[Array, None]:
        place, noise = entry
        choices = jnp.broadcast_to(x, (states, *x.shape))
        choices = choices.at[..., place].set(values.reshape(states, *(1,) * len(batch)))
        logits = jnp.moveaxis(held(choices.reshape(states, *batch, *event)), 0, -1)
        return x.at[..., place].set((logits + noise).argmax(-1).astype(x.dtype)), None

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        noise = jnp.moveaxis(entries[0].reshape(*batch, size, states), -2, 0)
        return lax.scan(visit, x.reshape(*batch, size), (jnp.arange(size), noise))[0].reshape(x.shape)

    return _run(step, start, (gumbels,))


def gibbs_with_gradients(
    log_p: LogDensity, start: Array, rank: int, gumbel: Array, uniform: Array, *, states: int
) -> Array:
    """One element is changed at a time, chosen by the gradient, then accepted or refused (Grathwohl et al. 2021).

    The proposal of element i and value k has log-weight (k - x_i) d log p / d x_i / 2.

    Args:
        log_p: as in `gibbs`, with a derivative at these values.
        start: as in `gibbs`.
        rank: as in `gibbs`.
        gumbel: [.., steps, elements * states].
        uniform: [.., steps].
        states: as in `gibbs`.
    """
    (gumbels, uniforms), start = split_noise(start, rank, (gumbel, 1), (uniform, 0))
    slope = value_and_slope(fixed(log_p, start))

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return informed(slope, x, rank, entries, states)

    return _run(step, start, (gumbels, uniforms))


def informed(
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
    steps, start = split_noise(start, rank, *noises)
    blocks = block_sweep(log_p, start, steps[1], states)

    def step(x: Array, entries: tuple[Array, ...]) -> Array:
        return blocks(x, *entries, 1.0)[0]

    return _run(step, start, steps)


def block_sweep(
    log_p: LogDensity, start: Array, noises: Array, states: tuple[int, int]
) -> Callable[..., tuple[Array, Array]]:
    """A sweep over both blocks at an inverse temperature: (visible, hidden)."""
    like = noises[0] if states[1] == 2 else noises[0][..., 0]
    empty = jnp.zeros(like.shape, start.dtype)
    held = fixed(log_p, start, empty)
    given_visible = jax.grad(lambda h, v: held(v, h).sum())
    given_hidden = jax.grad(lambda v, h: held(v, h).sum())

    def sweep(x: Array, visible: Array, hidden: Array, inverse: Any) -> tuple[Array, Array]:
        h = units(inverse * given_visible(empty, x), hidden, states[1])
        return units(inverse * given_hidden(x, h), visible, states[0]), h

    return sweep


def units(slope: Array, noise: Array, states: int) -> Array:
    """Independent units of values k = 0.. with log-weights k slope."""
    if states == 2:
        return (noise < jax.nn.sigmoid(slope)).astype(slope.dtype)
    values = jnp.arange(states, dtype=slope.dtype)
    return (slope[..., None] * values + noise).argmax(-1).astype(slope.dtype)


# ---- parts ----------------------------------------------------------------------------------------------------------


def origin(like: Array, rank: int, shape: tuple[int, ...]) -> Array:
    """Zeros [.., *shape] with the batch axes of a value whose event has `rank` axes."""
    return jnp.zeros((*like.shape[: like.ndim - rank], *shape), like.dtype)


def slots(uniform: Array, size: int) -> Array:
    """Places in a buffer of `size` chains, one for each row of uniforms [B <= size], all different.

    Row b takes one of the chains floor(b size / B) .. floor((b + 1) size / B) - 1, each as likely as the others.
    """
    bounds = jnp.arange(len(uniform) + 1) * size // len(uniform)
    return bounds[:-1] + (uniform * jnp.diff(bounds)).astype(bounds.dtype)


def put(buffer: Array, places: Array, chains: Array) -> Array:
    """The buffer [N, *event] with chains [B, *event] at their places [B]."""
    return buffer.at[places].set(chains)


def _run(step: Transition, start: Array, steps: tuple[Array, ...]) -> Array:
    """The end of a chain."""
    end = lax.scan(lambda x, entries: (step(x, entries), None), start, steps)[0]
    return lax.stop_gradient(end)


def _bounded(end: Array, start: Array, rank: int) -> Array:
    """The ends of chains; NaN where one has exploded: a million times as far out as it began."""
    out, began = (jnp.abs(x).max(tuple(range(-rank, 0)), keepdims=True) for x in (end, start))
    return jnp.where(out > EXPLODED * (1.0 + began), jnp.nan, end)


def split_noise(start: Array, rank: int, *noises: tuple[Array, int]) -> tuple[tuple[Array, ...], Array]:
    """Noise with its axis of transitions first, and the start with the noise's batch axes, held fixed."""
    steps = tuple(jnp.moveaxis(noise, -own - 1, 0) for noise, own in noises)
    batch = steps[-1].shape[1 : steps[-1].ndim - noises[-1][1]]
    event = start.shape[start.ndim - rank :]
    shape = (*jnp.broadcast_shapes(batch, start.shape[: start.ndim - rank]), *event)
    dtype = jnp.result_type(steps[-1])
    return steps, lax.stop_gradient(jnp.broadcast_to(start, shape).astype(dtype))


def fixed(log_p: LogDensity, *points: Array) -> LogDensity:
    """The density with everything that it reads held fixed, so that no derivative by parameters is traced."""
    plain, read = jax.closure_convert(log_p, *points)
    held = [lax.stop_gradient(value) for value in read]
    return lambda *arguments: plain(*arguments, *held)


def value_and_slope(log_p: LogDensity) -> Callable[[Array], tuple[Array, Array]]:
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

"""Markov chains on densities that are known up to their normalizer, each in one loop.

A chain is a function of its noise: the array of every transition's random numbers, whose axis of transitions stands
left of the event. No gradient passes through a chain: what its density reads is held fixed.

MALA, HMC, Gibbs and Gibbs-with-gradients leave the density invariant; unadjusted Langevin dynamics leaves another one
invariant, which for N(0, 1) is N(0, 1 / (1 - step_size / 2)). A proposal at which the density is not finite is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

LogDensity = Callable[..., Tensor]
Transition = Callable[[Tensor, tuple[Tensor, ...]], Tensor]

# A chain whose largest element is so many times one more than that of its start has no density that it follows.
EXPLODED = 1e6

# (transition, start, noise of every step) -> the same transition, which a run may have recorded.
FASTER = ContextVar[Callable[..., Transition]]("FASTER", default=lambda step, *_: step)


# ---- continuous events ----------------------------------------------------------------------------------------------


@torch.no_grad()  # type: ignore[untyped-decorator]
def langevin(
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    normal: Tensor,
    *,
    step_size: float,
    noise: float | None = None,
    clip: float | None = None,
) -> Tensor:
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
    (steps,), start = split_noise(start, rank, (scale * normal, rank))
    return _bounded(_run(_dynamics(log_p, step_size, clip), start, (steps,)), start, rank)


def _dynamics(log_p: LogDensity, step_size: float, clip: float | None = None) -> Transition:
    """A transition of Langevin dynamics, whose noise has its standard deviation already."""
    slope = value_and_slope(log_p)

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        drift = slope(x)[1] if clip is None else slope(x)[1].clip(-clip, clip)
        return x.add(drift, alpha=step_size).add_(entries[0])

    return step


@torch.no_grad()  # type: ignore[untyped-decorator]
def annealed_langevin(
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    normal: Tensor,
    *,
    step_size: float,
    largest: float,
    smallest: float,
    levels: int,
) -> Tensor:
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
    x = start
    for sigma, noise in zip(_noises(largest, smallest, levels), steps.chunk(levels), strict=True):
        size, level = step_size * (sigma / smallest) ** 2, start.new_full(start.shape[: start.ndim - rank], sigma)
        at = _dynamics(lambda point, level=level: log_p(point, level), size)
        x = _run(at, x, (math.sqrt(2.0 * size) * noise,))
    return _bounded(x, start, rank)


def _noises(largest: float, smallest: float, levels: int) -> list[float]:
    """From the largest to the smallest, evenly spaced in their logarithm."""
    return [largest * (smallest / largest) ** (k / (levels - 1)) for k in range(levels)]


@torch.no_grad()  # type: ignore[untyped-decorator]
def mala(log_p: LogDensity, start: Tensor, rank: int, normal: Tensor, uniform: Tensor, *, step_size: float) -> Tensor:
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
    slope = value_and_slope(log_p)

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        eps, u = entries
        value, drift = slope(x)
        moved = x + step_size * drift + math.sqrt(2.0 * step_size) * eps
        other, back = slope(moved)
        returned = _sum(torch.square(x - moved - step_size * back), rank) / (4.0 * step_size)
        return _accepted(other - value + 0.5 * _sum(torch.square(eps), rank) - returned, u, moved, x, rank)

    return _run(step, start, (normals, uniforms))


@torch.no_grad()  # type: ignore[untyped-decorator]
def hmc(
    log_p: LogDensity, start: Tensor, rank: int, normal: Tensor, uniform: Tensor, *, step_size: float, leapfrog: int
) -> Tensor:
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
    slope = value_and_slope(log_p)

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        return hamiltonian(slope, x, rank, entries, step_size, leapfrog)

    return _run(step, start, (normals, uniforms))


def hamiltonian(
    slope: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    rank: int,
    noise: tuple[Tensor, ...],
    step_size: Any,
    leapfrog: int,
) -> Tensor:
    """One transition of HMC; the step size is a number or one per chain, with the event's axes."""
    (momentum, u), (value, force) = noise, slope(x)
    moved, speed, other = x, momentum, value
    for _ in range(leapfrog):
        speed = speed + 0.5 * step_size * force
        moved = moved + step_size * speed
        other, force = slope(moved)
        speed = speed + 0.5 * step_size * force
    kinetic = 0.5 * _sum(torch.square(momentum) - torch.square(speed), rank)
    return _accepted(other - value + kinetic, u, moved, x, rank)


# ---- discrete events ------------------------------------------------------------------------------------------------


@torch.no_grad()  # type: ignore[untyped-decorator]
def gibbs(log_p: LogDensity, start: Tensor, rank: int, gumbel: Tensor, *, states: int) -> Tensor:
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
    values = torch.arange(states, dtype=start.dtype, device=start.device)

    def visit(x: Tensor, place: int, noise: Tensor) -> Tensor:
        choices = x.expand(states, *x.shape).clone()
        choices[..., place] = values.reshape(states, *(1,) * len(batch))
        logits = torch.movedim(log_p(choices.reshape(states, *batch, *event)), 0, -1)
        x = x.clone()
        x[..., place] = (logits + noise).argmax(-1).to(x.dtype)
        return x

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        noise, flat = entries[0].reshape(*batch, size, states), x.reshape(*batch, size)
        for place in range(size):
            flat = visit(flat, place, noise[..., place, :])
        return flat.reshape(x.shape)

    return _run(step, start, (gumbels,))


@torch.no_grad()  # type: ignore[untyped-decorator]
def gibbs_with_gradients(
    log_p: LogDensity, start: Tensor, rank: int, gumbel: Tensor, uniform: Tensor, *, states: int
) -> Tensor:
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
    slope = value_and_slope(log_p)

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        return informed(slope, x, rank, entries, states)

    return _run(step, start, (gumbels, uniforms))


def informed(
    slope: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, rank: int, noise: tuple[Tensor, ...], states: int
) -> Tensor:
    """One transition of Gibbs-with-gradients."""
    (gumbel, u), (size, batch, _) = noise, _split(x, rank)
    here = x.reshape(*batch, size)
    value, logits = _informed_logits(slope, x, rank, states)
    choice = (logits + gumbel).argmax(-1)[..., None]
    element, new = choice // states, (choice % states).to(x.dtype)
    old = here.gather(-1, element)
    moved = torch.where(torch.arange(size, device=x.device) == element, new, here).reshape(x.shape)
    other, backward = _informed_logits(slope, moved, rank, states)
    back = element * states + old.to(element.dtype)
    there = logits.gather(-1, choice) - backward.gather(-1, back)
    return _accepted(other - value - there[..., 0], u, moved, x, rank)


def _informed_logits(
    slope: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, rank: int, states: int
) -> tuple[Tensor, Tensor]:
    """log p, and the normalized log-weights of every change, [.., elements * states]."""
    size, batch, _ = _split(x, rank)
    value, gradient = slope(x)
    flat, change = gradient.reshape(*batch, size), torch.arange(states, dtype=x.dtype, device=x.device)
    steps = change - x.reshape(*batch, size, 1)
    logits = torch.where(steps == 0, -torch.inf, 0.5 * flat[..., None] * steps)
    return value, torch.log_softmax(logits.reshape(*batch, size * states), -1)


@torch.no_grad()  # type: ignore[untyped-decorator]
def block_gibbs(
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    visible: Tensor,
    hidden: Tensor,
    *,
    hidden_rank: int,
    states: tuple[int, int],
) -> Tensor:
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

    def step(x: Tensor, entries: tuple[Tensor, ...]) -> Tensor:
        return blocks(x, *entries, 1.0)[0]

    return _run(step, start, steps)


def block_sweep(
    log_p: LogDensity, start: Tensor, noises: Tensor, states: tuple[int, int]
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A sweep over both blocks at an inverse temperature: (visible, hidden)."""
    like = noises[0] if states[1] == 2 else noises[0][..., 0]
    empty = start.new_zeros(like.shape)

    def sweep(x: Tensor, visible: Tensor, hidden: Tensor, inverse: Any) -> tuple[Tensor, Tensor]:
        given_visible = value_and_slope(lambda h: log_p(x, h))(empty)[1]
        h = units(inverse * given_visible, hidden, states[1])
        given_hidden = value_and_slope(lambda v: log_p(v, h))(x)[1]
        return units(inverse * given_hidden, visible, states[0]), h

    return sweep


def units(slope: Tensor, noise: Tensor, states: int) -> Tensor:
    """Independent units of values k = 0.. with log-weights k slope."""
    if states == 2:
        return (noise < torch.sigmoid(slope)).to(slope.dtype)
    values = torch.arange(states, dtype=slope.dtype, device=slope.device)
    return (slope[..., None] * values + noise).argmax(-1).to(slope.dtype)


# ---- parts ----------------------------------------------------------------------------------------------------------


def origin(like: Tensor, rank: int, shape: tuple[int, ...]) -> Tensor:
    """Zeros [.., *shape] with the batch axes of a value whose event has `rank` axes."""
    return like.new_zeros((*like.shape[: like.ndim - rank], *shape))


def slots(uniform: Tensor, size: int) -> Tensor:
    """Places in a buffer of `size` chains, one for each row of uniforms [B <= size], all different.

    Row b takes one of the chains floor(b size / B) .. floor((b + 1) size / B) - 1, each as likely as the others.
    """
    bounds = torch.arange(len(uniform) + 1, device=uniform.device) * size // len(uniform)
    return bounds[:-1] + (uniform * bounds.diff()).to(bounds.dtype)


def put(buffer: Tensor, places: Tensor, chains: Tensor) -> Tensor:
    """The buffer [N, *event] with chains [B, *event] at their places [B]."""
    return buffer.index_copy(0, places, chains)


def _run(step: Transition, start: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
    """The end of a chain."""
    x, step = start, FASTER.get()(step, start, steps)
    for entries in zip(*steps, strict=True):
        x = step(x, entries)
    return x


def _bounded(end: Tensor, start: Tensor, rank: int) -> Tensor:
    """The ends of chains; NaN where one has exploded: a million times as far out as it began."""
    out, began = (x.abs().amax(tuple(range(-rank, 0)), keepdim=True) if rank else x.abs() for x in (end, start))
    return torch.where(out > EXPLODED * (1.0 + began), torch.nan, end)


def split_noise(start: Tensor, rank: int, *noises: tuple[Tensor, int]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Noise with its axis of transitions first, and the start with the noise's batch axes, held fixed."""
    steps = tuple(torch.movedim(noise, -own - 1, 0) for noise, own in noises)
    batch = steps[-1].shape[1 : steps[-1].ndim - noises[-1][1]]
    event = start.shape[start.ndim - rank :]
    shape = (*torch.broadcast_shapes(batch, start.shape[: start.ndim - rank]), *event)
    return steps, start.detach().expand(shape).to(steps[-1].dtype)


def value_and_slope(log_p: LogDensity) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """log p [..] and its gradient [.., *event]."""

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            value = log_p(point)
            (slope,) = torch.autograd.grad(value, point, torch.ones_like(value))
        return value.detach(), slope

    return both


def _accepted(log_ratio: Tensor, uniform: Tensor, moved: Tensor, x: Tensor, rank: int) -> Tensor:
    """The proposal where log u lies below the log-ratio, else the place before."""
    taken = torch.log(uniform) < log_ratio
    return torch.where(taken.reshape(taken.shape + (1,) * rank), moved, x)


def _sum(x: Tensor, rank: int) -> Tensor:
    return x.sum(tuple(range(-rank, 0))) if rank else x


def _split(x: Tensor, rank: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Elements of an event, batch axes, event axes."""
    batch, event = tuple(x.shape[: x.ndim - rank]), tuple(x.shape[x.ndim - rank :])
    return math.prod(event), batch, event

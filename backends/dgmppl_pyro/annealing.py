"""Annealed importance sampling: chains from a normalized density to an unnormalized one, each in one loop.

Forward, from draws of the base, E[exp(log_weights)] = Z; reverse, from exact draws of the density, E[exp(-log_weights)]
= 1 / Z (Neal 2001, section 2). Like chains at one temperature these are functions of their noise, without gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dgmppl_pyro.samplers import (
    LogDensity,
    block_sweep,
    hamiltonian,
    informed,
    split_noise,
    units,
    value_and_slope,
)

# Annealed chains draw each transition's step size log-uniformly between these, so that some fit every temperature.
SMALLEST, LARGEST = 0.03, 1.0


@torch.no_grad()  # type: ignore[untyped-decorator]
def hmc(
    log_base: LogDensity,
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    normal: Tensor,
    uniform: Tensor,
    size: Tensor,
    *,
    leapfrog: int,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
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

    def move(x: Tensor, beta: float, entries: tuple[Tensor, ...]) -> Tensor:
        momentum, u, share = entries
        step_size = (SMALLEST * (LARGEST / SMALLEST) ** share).reshape(share.shape + (1,) * rank)
        slope = value_and_slope(lambda point: _between(log_base, log_p, beta, point))
        return hamiltonian(slope, x, rank, (momentum, u), step_size, leapfrog)

    return _annealed(move, lambda x: log_p(x) - log_base(x), start, steps, reverse)


@torch.no_grad()  # type: ignore[untyped-decorator]
def gibbs_with_gradients(
    log_base: LogDensity,
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    gumbel: Tensor,
    uniform: Tensor,
    *,
    states: int,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Annealed importance sampling with Gibbs-with-gradients; arguments as in `hmc` and there."""
    steps, start = split_noise(start, rank, (gumbel, 1), (uniform, 0))

    def move(x: Tensor, beta: float, entries: tuple[Tensor, ...]) -> Tensor:
        return informed(value_and_slope(lambda point: _between(log_base, log_p, beta, point)), x, rank, entries, states)

    return _annealed(move, lambda x: log_p(x) - log_base(x), start, steps, reverse)


@torch.no_grad()  # type: ignore[untyped-decorator]
def block_gibbs(
    log_p: LogDensity,
    start: Tensor,
    rank: int,
    visible: Tensor,
    hidden: Tensor,
    first: Tensor,
    *,
    hidden_rank: int,
    states: tuple[int, int],
    reverse: bool,
) -> tuple[Tensor, Tensor]:
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
    empty = start.new_zeros(first.shape if states[1] == 2 else first.shape[:-1])
    slope = value_and_slope(lambda h: log_p(start, h))(empty)[1]
    begin = start, units(slope if reverse else torch.zeros_like(slope), first, states[1])

    def move(pair: tuple[Tensor, Tensor], beta: float, entries: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return sweep(pair[0], *entries, beta)

    (end, _), log_weights = _annealed(move, lambda pair: log_p(*pair), begin, steps, reverse)
    sizes = math.prod(start.shape[start.ndim - rank :]), math.prod(empty.shape[empty.ndim - hidden_rank :])
    return end, log_weights + sum(size * math.log(count) for size, count in zip(sizes, states, strict=True))


def _between(base: LogDensity, target: LogDensity, beta: float, x: Tensor) -> Tensor:
    return (1.0 - beta) * base(x) + beta * target(x)


def _annealed(move: Any, ratio: Any, start: Any, steps: tuple[Tensor, ...], reverse: bool) -> tuple[Any, Tensor]:
    """Moves at every temperature but 0, and the log-weights that gather between them."""
    count = len(steps[0])
    x, log_weights = start, torch.zeros_like(ratio(start))
    for place in reversed(range(count)) if reverse else range(count):
        noise = tuple(entry[place] for entry in steps)
        if reverse:
            x = move(x, (place + 1) / count, noise)
            log_weights = log_weights + ratio(x) / count
        else:
            log_weights = log_weights + ratio(x) / count
            x = move(x, (place + 1) / count, noise)
    return x, log_weights

"""Discrete chains in time: their likelihood, posterior, most probable path and exact draws (Rabiner 1989).

p(z, x) = start(z_0) emit_0(z_0) prod_t move_t(z_{t-1}, z_t) emit_t(z_t) for t = 1, ..., T - 1, all given as logarithms:
`start` [.., S], `move` [.., T-1 or 1, S (from), S (to)], `emit` [.., T, S]. Leading axes are batch axes and broadcast
against each other. The work is O(T S^2) per datum, in the time's order.

An impossible event has log-probability -inf. Inside, it is a finite number so low that no sum of 2 T of them
overflows and that no exponential of it differs from 0: the recursions then never subtract infinities, and the
gradients with respect to impossible events are 0. Messages are kept with a maximum of 0, and what was subtracted is
summed apart, so that rounding does not grow with |log p(x)|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dgmppl_pyro.operations import take

# Numbers in a product of two transition matrices, with its batch, up to which products in a tree beat a loop in time:
# the tree does S times the work in log T instead of T steps.
PARALLEL_ELEMENTS = 2048


def log_forward(start: Tensor, move: Tensor, emit: Tensor) -> Tensor:
    """log p(x) [..], nats: the sum over all S^T paths.

    -inf where every path is impossible; the gradient is 0 there.
    """
    start, move, emit = _finite(start, move, emit)
    shape = torch.broadcast_shapes(start.shape[:-1], move.shape[:-3], emit.shape[:-2])
    if math.prod(shape) * emit.shape[-1] ** 3 <= PARALLEL_ELEMENTS:
        return _in_parallel(start, move, emit)
    return _forward(start, move, emit)[1]


def smooth(start: Tensor, move: Tensor, emit: Tensor) -> Tensor:
    """p(z_t = s | x) [.., T, S] by forward and backward messages; NaN where x is impossible."""
    start, move, emit = _finite(start, move, emit)
    past, log_p = _forward(start, move, emit)
    posterior = torch.softmax(past + _backward(move, emit), -1)
    return torch.where(torch.isinf(log_p)[..., None, None], math.nan, posterior)


def viterbi(start: Tensor, move: Tensor, emit: Tensor) -> Tensor:
    """The most probable path given x [.., T], integers (Viterbi 1967); of equally probable ones, any."""
    start, move, emit = _finite(start, move, emit)
    best, origins = _peaked(start + emit[..., 0, :])[0], []
    for transition, evidence in zip(_in_time(move, emit), emit.unbind(-2)[1:], strict=True):
        reached, origin = (best[..., :, None] + transition).max(-2)
        best = _peaked(reached + evidence)[0]
        origins.append(origin)
    path = [best.argmax(-1)]
    for origin in reversed(origins):
        path.append(take(origin, path[-1], 1))
    return torch.stack(torch.broadcast_tensors(*reversed(path)), -1)


def sample_path(start: Tensor, move: Tensor, emit: Tensor, gumbel: Tensor) -> Tensor:
    """An exact draw of z given x [.., T], integers: forward filtering, backward sampling.

    Args:
        start: as above.
        move: as above.
        emit: as above.
        gumbel: independent standard Gumbel noise [.., T, S]; the state of largest log-probability plus noise is a draw.
    """
    start, move, emit = _finite(start, move, emit)
    past, _ = _forward(start, move, emit)
    scores = (past + gumbel).unbind(-2)
    path = [scores[-1].argmax(-1)]
    for transition, score in zip(reversed(_in_time(move, emit)), reversed(scores[:-1]), strict=True):
        onward = take(transition.mT, path[-1], 2)
        path.append((score + onward).argmax(-1))
    return torch.stack(torch.broadcast_tensors(*reversed(path)), -1)


def _finite(*factors: Tensor) -> tuple[Tensor, ...]:
    """The factors with -inf replaced by the lowest number of which 4 T do not overflow."""
    lowest = _lowest(factors[-1])
    return tuple(factor.clamp(min=lowest) for factor in factors)


def _lowest(emit: Tensor) -> float:
    lowest = float(torch.finfo(emit.dtype).min)
    return lowest / (4 * int(emit.shape[-2]))


def _in_time(move: Tensor, emit: Tensor) -> Sequence[Tensor]:
    """The T - 1 transition matrices [.., S, S]."""
    matrices: Sequence[Tensor] = move.expand(*move.shape[:-3], emit.shape[-2] - 1, *move.shape[-2:]).unbind(-3)
    return matrices


def _peaked(message: Tensor) -> tuple[Tensor, Tensor]:
    """The message with a maximum of 0, and what was subtracted; as a constant, for it cancels in every gradient."""
    peak = message.detach().amax(-1, keepdim=True)
    return message - peak, peak


def _forward(start: Tensor, move: Tensor, emit: Tensor) -> tuple[Tensor, Tensor]:
    """log p(z_t, x_0, ..., x_t) up to a constant per t [.., T, S], and log p(x) [..]."""
    message, peak = _peaked(start + emit[..., 0, :])
    messages, peaks = [message], [peak]
    for transition, evidence in zip(_in_time(move, emit), emit.unbind(-2)[1:], strict=True):
        message, peak = _peaked(torch.logsumexp(message[..., :, None] + transition, -2) + evidence)
        messages.append(message)
        peaks.append(peak)
    subtracted = torch.cat(torch.broadcast_tensors(*peaks), -1).sum(-1)
    log_p = _possible(subtracted + torch.logsumexp(message, -1), emit)
    return torch.stack(torch.broadcast_tensors(*messages), -2), log_p


def _backward(move: Tensor, emit: Tensor) -> Tensor:
    """log p(x_{t+1}, ..., x_{T-1} | z_t) up to a constant per t [.., T, S]."""
    messages = [torch.zeros_like(emit[..., -1, :])]
    for transition, evidence in zip(reversed(_in_time(move, emit)), reversed(emit.unbind(-2)[1:]), strict=True):
        onward = transition + (messages[-1] + evidence)[..., None, :]
        messages.append(_peaked(torch.logsumexp(onward, -1))[0])
    return torch.stack(torch.broadcast_tensors(*reversed(messages)), -2)


def _in_parallel(start: Tensor, move: Tensor, emit: Tensor) -> Tensor:
    """log p(x) by products of neighbouring transition matrices, O(log T) of them one after another."""
    first, subtracted = _peaked(start + emit[..., 0, :])
    log_p, products = subtracted[..., 0], move + emit[..., 1:, None, :]
    while products.shape[-3] > 1:
        even = products.shape[-3] // 2 * 2
        left, right, rest = products[..., 0:even:2, :, :], products[..., 1:even:2, :, :], products[..., even:, :, :]
        paired = torch.logsumexp(left[..., :, :, None] + right[..., None, :, :], -2)
        peak = paired.detach().amax((-2, -1), keepdim=True)
        log_p = log_p + peak.sum((-3, -2, -1))
        products = torch.cat([paired - peak, rest], -3)
    paths = first[..., :, None] + products[..., 0, :, :] if products.shape[-3] else first[..., :, None]
    return _possible(log_p + torch.logsumexp(paths, (-2, -1)), emit)


def _possible(log_p: Tensor, emit: Tensor) -> Tensor:
    """-inf in place of what only an impossible event makes so low."""
    return torch.where(log_p < 0.5 * _lowest(emit), -math.inf, log_p)

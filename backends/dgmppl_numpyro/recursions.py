"""Discrete chains in time: their likelihood, posterior, most probable path and exact draws (Rabiner 1989).

p(z, x) = start(z_0) emit_0(z_0) prod_t move_t(z_{t-1}, z_t) emit_t(z_t) for t = 1, ..., T - 1, all given as logarithms:
`start` [.., S], `move` [.., T-1 or 1, S (from), S (to)], `emit` [.., T, S]. Leading axes are batch axes and broadcast
against each other. The work is O(T S^2) per datum, in the time's order: on processors one compiled loop was faster
than products of matrices in a tree at every size from 3 to 32 states and 50 to 500 times.

An impossible event has log-probability -inf. Inside, it is a finite number so low that no sum of 2 T of them
overflows and that no exponential of it differs from 0: the recursions then never subtract infinities, and the
gradients with respect to impossible events are 0. Messages are kept with a maximum of 0, and what was subtracted is
summed apart, so that rounding does not grow with |log p(x)|.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import logsumexp

from dgmppl_numpyro.operations import take


def log_forward(start: Array, move: Array, emit: Array) -> Array:
    """log p(x) [..], nats: the sum over all S^T paths.

    -inf where every path is impossible; the gradient is 0 there.
    """
    return _forward(*_finite(start, move, emit))[1]


def smooth(start: Array, move: Array, emit: Array) -> Array:
    """p(z_t = s | x) [.., T, S] by forward and backward messages; NaN where x is impossible."""
    start, move, emit = _finite(start, move, emit)
    past, log_p = _forward(start, move, emit)
    posterior = jax.nn.softmax(past + _backward(move, emit), -1)
    return jnp.where(jnp.isinf(log_p)[..., None, None], jnp.nan, posterior)


def viterbi(start: Array, move: Array, emit: Array) -> Array:
    """The most probable path given x [.., T], integers (Viterbi 1967); of equally probable ones, any."""
    start, move, emit = _finite(start, move, emit)

    def extend(best: Array, transition: Array, evidence: Array) -> tuple[Array, Array]:
        reached = best[..., :, None] + transition
        return _peaked(reached.max(-2) + evidence)[0], reached.argmax(-2)

    def back(state: Array, origin: Array) -> tuple[Array, Array]:
        previous = take(origin, state, 1)
        return previous, previous

    best, origins = _over_time(extend, _peaked(_first(start, move, emit))[0], move, emit)
    last = best.argmax(-1)
    _, path = jax.lax.scan(back, last, origins, reverse=True)
    return jnp.moveaxis(jnp.concatenate([path, last[None]]), 0, -1)


def sample_path(start: Array, move: Array, emit: Array, gumbel: Array) -> Array:
    """An exact draw of z given x [.., T], integers: forward filtering, backward sampling.

    Args:
        start: as above.
        move: as above.
        emit: as above.
        gumbel: independent standard Gumbel noise [.., T, S]; the state of largest log-probability plus noise is a draw.
    """
    start, move, emit = _finite(start, move, emit)
    past, _ = _forward(start, move, emit)
    scores = past + gumbel

    def back(state: Array, transition: Array, score: Array) -> tuple[Array, Array]:
        onward = take(jnp.swapaxes(transition, -2, -1), state, 2)
        previous = (score + onward).argmax(-1)
        return previous, previous

    last = scores[..., -1, :].argmax(-1)
    _, path = _over_time(back, last, move, jnp.roll(scores, 1, -2), reverse=True)
    return jnp.moveaxis(jnp.concatenate([path, last[None]]), 0, -1)


def _finite(*factors: Array) -> tuple[Array, ...]:
    """The factors with -inf replaced by the lowest number of which 4 T do not overflow."""
    lowest = _lowest(factors[-1])
    return tuple(jnp.maximum(factor, lowest) for factor in factors)


def _lowest(emit: Array) -> float:
    lowest = float(jnp.finfo(emit.dtype).min)
    return lowest / (4 * int(emit.shape[-2]))


def _over_time(
    step: Callable[[Array, Array, Array], tuple[Array, Any]],
    message: Array,
    move: Array,
    values: Array,
    *,
    reverse: bool = False,
) -> tuple[Array, Any]:
    """Scans a step (message, transition [.., S, S], values_t [.., S]) over t = 1, ..., T - 1; outputs are [T-1, ..]."""
    later = jnp.moveaxis(values, -2, 0)[1:]
    if move.shape[-3] == 1:
        transition = move[..., 0, :, :]
        last, outputs = jax.lax.scan(lambda at, value: step(at, transition, value), message, later, reverse=reverse)
    else:
        along = (jnp.moveaxis(move, -3, 0), later)
        last, outputs = jax.lax.scan(lambda at, both: step(at, *both), message, along, reverse=reverse)
    return last, outputs


def _first(start: Array, move: Array, emit: Array) -> Array:
    """log p(z_0, x_0) with every batch axis [.., S]."""
    shape = jnp.broadcast_shapes(start.shape[:-1], move.shape[:-3], emit.shape[:-2])
    return jnp.broadcast_to(start + emit[..., 0, :], shape + emit.shape[-1:])


def _peaked(message: Array) -> tuple[Array, Array]:
    """The message with a maximum of 0, and what was subtracted; as a constant, for it cancels in every gradient."""
    peak = jax.lax.stop_gradient(message.max(-1, keepdims=True))
    return message - peak, peak


def _forward(start: Array, move: Array, emit: Array) -> tuple[Array, Array]:
    """log p(z_t, x_0, ..., x_t) up to a constant per t [.., T, S], and log p(x) [..]."""

    def extend(message: Array, transition: Array, evidence: Array) -> tuple[Array, tuple[Array, Array]]:
        message, peak = _peaked(logsumexp(message[..., :, None] + transition, -2) + evidence)
        return message, (message, peak)

    message, peak = _peaked(_first(start, move, emit))
    last, (messages, peaks) = _over_time(extend, message, move, emit)
    log_p = _possible((peak + peaks.sum(0))[..., 0] + logsumexp(last, -1), emit)
    return jnp.moveaxis(jnp.concatenate([message[None], messages]), 0, -2), log_p


def _backward(move: Array, emit: Array) -> Array:
    """log p(x_{t+1}, ..., x_{T-1} | z_t) up to a constant per t [.., T, S]."""

    def extend(message: Array, transition: Array, evidence: Array) -> tuple[Array, Array]:
        onward = transition + (message + evidence)[..., None, :]
        message = _peaked(logsumexp(onward, -1))[0]
        return message, message

    last = jnp.zeros_like(_first(emit[..., 0, :], move, emit))
    _, messages = _over_time(extend, last, move, emit, reverse=True)
    return jnp.moveaxis(jnp.concatenate([messages, last[None]]), 0, -2)


def _possible(log_p: Array, emit: Array) -> Array:
    """-inf in place of what only an impossible event makes so low."""
    return jnp.where(log_p < 0.5 * _lowest(emit), -jnp.inf, log_p)

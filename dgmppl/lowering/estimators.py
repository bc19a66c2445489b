"""Score-function gradients: what is added to a value so that its gradient counts how its draws were made."""

from __future__ import annotations

from dgmppl.lowering.layout import Lowered, combine, op


def surrogate(log_density: Lowered, signal: Lowered) -> Lowered:
    """signal * log density with the gradient of the log-density alone and the value zero (Williams 1992)."""
    held = log_density.with_value(op("stop", log_density.value))
    return combine("mul", signal.with_value(op("stop", signal.value)), combine("sub", log_density, held))


def leave_one_out(value: Lowered) -> Lowered:
    """A signal minus the mean of the others along the leftmost axis: a baseline that its own draw has no part in."""
    return value.with_value(op("leave_one_out", value.value))

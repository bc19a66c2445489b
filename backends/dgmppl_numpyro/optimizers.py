"""Optimizers and learning-rate schedules, with torch's mathematics, as optax gradient transformations.

With g the gradient (after clipping), t = 1, 2, ... the step and f(t) the schedule's factor:

    adam     m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= lr f m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    adamw    the same after p *= 1 - lr f weight_decay
    sgd      u = momentum u + g + weight_decay p,  p -= lr f u
    rmsprop  v = decay v + (1 - decay) g^2,  p -= lr f g / (sqrt(v) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import LEARNING_RATES, OPTIMIZERS

Factor: TypeAlias = Callable[[Any], Any]


def optimizer(call: Call, schedule: Call | None, steps: int) -> optax.GradientTransformation:
    """An optimizer for one group of parameters.

    Args:
        call: `adam(1e-3, beta1=0.9)` and so on.
        schedule: the learning rate's schedule, or None for a constant rate.
        steps: updates over which the schedule runs.

    Raises:
        RunError: the optimizer or one of its options is unknown.
    """
    options = bind(call, OPTIMIZERS, "optimizer")
    parts = _direction(call.function, options)
    rate, factor = float(options["rate"]), schedule_factor(schedule, steps)
    scale = optax.scale(-rate) if factor is None else optax.scale_by_schedule(lambda count: -rate * factor(count))
    return optax.chain(*parts, scale)


def _direction(kind: str, options: dict[str, Any]) -> list[optax.GradientTransformation]:
    """The step before it is multiplied by minus the learning rate."""
    if kind == "rmsprop":
        return [optax.scale_by_rms(options["decay"], options["eps"], eps_in_sqrt=False)]
    if kind == "sgd":
        momentum = optax.trace(options["momentum"]) if options["momentum"] else optax.identity()
        return [optax.add_decayed_weights(options["weight_decay"]), momentum]
    adam = optax.scale_by_adam(options["beta1"], options["beta2"], options["eps"])
    return [adam, optax.add_decayed_weights(options["weight_decay"])] if kind == "adamw" else [adam]


def schedule_factor(schedule: Call | None, steps: int) -> Factor | None:
    """The factor f on the learning rate as a function of the updates made before; None for a constant rate.

    exponential: decay^updates. Else f rises linearly from 1 / warmup to 1 over the first `warmup` updates; then, with s
    from 0 to 1 over the remaining ones: cosine end + (1 - end) (1 + cos(pi s)) / 2, linear 1 + (end - 1) s.

    Args:
        schedule: `constant()`, `cosine(warmup=0, end=0)`, `linear(warmup=0, end=0)`, `exponential(decay=0.999)`.
        steps: all updates, warm-up included.

    Raises:
        RunError: the schedule or one of its options is unknown.
    """
    if schedule is None:
        return None
    options = bind(schedule, LEARNING_RATES, "schedule")
    if schedule.function == "constant":
        return None
    if schedule.function == "exponential":
        log_decay = math.log(options["decay"])
        return lambda count: jnp.exp(log_decay * count)
    warmup, end = int(options["warmup"]), float(options["end"])
    remaining = max(1, steps - warmup)

    def factor(count: Any) -> Any:
        fraction = jnp.clip((count - warmup) / remaining, 0.0, 1.0)
        share = 1.0 - fraction if schedule.function == "linear" else 0.5 * (1.0 + jnp.cos(math.pi * fraction))
        return jnp.where(count < warmup, (count + 1.0) / max(1, warmup), end + (1.0 - end) * share)

    return factor


def norm(gradients: Any) -> Any:
    """The Euclidean norm of all gradients together."""
    return jnp.sqrt(sum(jnp.vdot(gradient, gradient) for gradient in jax.tree.leaves(gradients)))


def clip_by_norm(gradients: Any, limit: float) -> Any:
    """Gradients g times min(1, limit / (|g| + 1e-6)), |g| over all of them together; torch's formula."""
    scale = jnp.minimum(1.0, limit / (norm(gradients) + 1e-6))
    return jax.tree.map(lambda gradient: gradient * scale, gradients)

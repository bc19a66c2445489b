"""Optimizers and learning-rate schedules: torch's own, fused.

With g the gradient (after clipping), t = 1, 2, ... the step and f(t) the schedule's factor:

    adam     m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= lr f m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    adamw    the same after p *= 1 - lr f weight_decay
    sgd      u = momentum u + g + weight_decay p,  p -= lr f u
    rmsprop  v = decay v + (1 - decay) g^2,  p -= lr f g / (sqrt(v) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch

from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import LEARNING_RATES, OPTIMIZERS

Factor: TypeAlias = Callable[[int], float]

_CLASSES: Mapping[str, Any] = {
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip
_UNFUSED = frozenset({"rmsprop"})


def optimizers(groups: Iterable[tuple[Call, list[torch.Tensor]]]) -> tuple[torch.optim.Optimizer, ...]:
    """One optimizer per kind that occurs; each call's parameters are a parameter group of their own in it.

    A parameter group keeps its unscheduled learning rate under `initial_lr`, as torch's schedulers do.

    Args:
        groups: `adam(1e-3, beta1=0.9)` and so on, with the parameters that it moves.

    Raises:
        RunError: an optimizer or one of its options is unknown.
    """
    kinds: dict[str, list[dict[str, Any]]] = {}
    for call, parameters in groups:
        if parameters:
            options = _keywords(call.function, bind(call, OPTIMIZERS, "optimizer"))
            kinds.setdefault(call.function, []).append({"params": parameters, "initial_lr": options["lr"], **options})
    return tuple(
        _CLASSES[kind](parts, **({} if kind in _UNFUSED else {"fused": True})) for kind, parts in kinds.items()
    )


def _keywords(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's options under torch's names."""
    rate = {"lr": float(options["rate"])}
    match kind:
        case "sgd":
            return {**rate, "momentum": float(options["momentum"]), "weight_decay": float(options["weight_decay"])}
        case "rmsprop":
            return {**rate, "alpha": float(options["decay"]), "eps": float(options["eps"])}
    betas = (float(options["beta1"]), float(options["beta2"]))
    weight_decay = float(options.get("weight_decay", 0.0))
    return {**rate, "betas": betas, "eps": float(options["eps"]), "weight_decay": weight_decay}


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
        return lambda count: math.exp(log_decay * count)
    warmup, end = int(options["warmup"]), float(options["end"])
    remaining = max(1, steps - warmup)

    def factor(count: int) -> float:
        fraction = min(max((count - warmup) / remaining, 0.0), 1.0)
        share = 1.0 - fraction if schedule.function == "linear" else 0.5 * (1.0 + math.cos(math.pi * fraction))
        return (count + 1.0) / warmup if count < warmup else end + (1.0 - end) * share

    return factor

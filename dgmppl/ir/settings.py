"""How a program is trained: the `train` section with every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dgmppl.ir.expressions import Call, Literal


@dataclass(frozen=True, slots=True)
class Train:
    """The training settings.

    Attributes:
        optimizer: `adam(1e-3, beta1=0.9, ...)`, `adamw(...)`, `sgd(...)`; for every group without one of its own.
        optimizers: per parameter group.
        batch_size: rows per step; None for all rows.
        steps: updates of the model's player; None where `epochs` is given.
        epochs: passes over the training rows.
        schedule: learning-rate schedule (`constant() cosine(warmup=) linear(...) exponential(...)`), or None.
        clip_norm: global gradient-norm clip, or None.
        ema: decay of the exponential moving average that is evaluated and saved, or None.
        seed: of initial values, shuffling and noise.
        early_stopping: `early_stopping(patience=, every=)`, or None.
        precision: `float32 | float64 | bfloat16`.
    """

    optimizer: Call = field(default_factory=lambda: Call("adam", (Literal(1e-3),)))
    optimizers: Mapping[str, Call] = field(default_factory=dict)
    batch_size: int | None = 128
    steps: int | None = 2000
    epochs: int | None = None
    schedule: Call | None = None
    clip_norm: float | None = None
    ema: float | None = None
    seed: int = 0
    early_stopping: Call | None = None
    precision: str = "float32"

"""The training loop: blocks of steps on the backend's trainer, with reports, checkpoints and early stopping.

All randomness is a function of (seed, step), and a block's boundaries do not change the numbers: a run that is stopped
and resumed takes the same steps as one that is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import Trainer
from dgmppl.data import Batches
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.interrupts import Interrupted, watched
from dgmppl.runs.progress import Progress, silent

Arrays: TypeAlias = dict[str, NDArray[Any]]
Record: TypeAlias = dict[str, Any]

_LONGEST_BLOCK = 100
_BLOCKS = 40
_CHECKPOINT_SECONDS = 60.0


def forget(record: Record) -> None:
    """Keep no metrics."""
    del record


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and whom to tell.

    Attributes:
        steps: updates of the model's player in all.
        progress: told of each block.
        record: takes one line of metrics per block.
        keep: takes checkpoints; None for a run without a folder.
        early_stopping: `early_stopping(patience=, every=)`, or None.
        validate: the held-out loss per datum (nats) at given parameters, for early stopping.
    """

    steps: int
    progress: Progress = silent
    record: Callable[[Record], None] = forget
    keep: Callable[[Checkpoint], object] | None = None
    early_stopping: Call | None = None
    validate: Callable[[Arrays], float] | None = None


@dataclass(slots=True)
class History:
    """What training reported, one entry per block.

    Attributes:
        records: step, mean reports over the block, seconds since the start.
        best: the lowest held-out loss and its step, with early stopping.
    """

    records: list[Record] = field(default_factory=list)
    best: tuple[float, int] | None = None
    waited: int = 0


def block_length(steps: int) -> int:
    """Steps per block: at most 100, and about 40 blocks in a run."""
    return max(1, min(_LONGEST_BLOCK, steps // _BLOCKS))


def train(trainer: Trainer, batches: Batches, plan: Plan) -> History:
    """Advance a trainer to `plan.steps` steps.

    Args:
        trainer: fresh, or restored to the cursor of `batches`.
        batches: row numbers of the training split.
        plan: see there.

    Raises:
        RunError: for a loss that is not finite, naming the step; the last finite checkpoint stays.
        Interrupted: after Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    history, start, kept = History(), time.perf_counter(), time.monotonic()
    block = block_length(plan.steps)
    with watched() as interrupt:
        while trainer.step < plan.steps:
            # Blocks end at multiples of their length, wherever a run was resumed.
            count = min(block - trainer.step % block, plan.steps - trainer.step)
            before = trainer.step
            reports = trainer.advance(np.stack([next(batches) for _ in range(count)]))
            _require_finite(reports, before, trainer)
            record = _record(reports, trainer.step, batches.epoch, time.perf_counter() - start)
            history.records.append(record)
            plan.record(record)
            plan.progress(trainer.step, plan.steps, f"loss {record['loss']:.2f} nats")
            stop = _stops_early(plan, history, trainer, before)
            last = stop or trainer.step >= plan.steps
            if plan.keep and (last or interrupt.requested or time.monotonic() - kept > _CHECKPOINT_SECONDS):
                plan.keep(Checkpoint(trainer.step, trainer.parameters(), trainer.state()))
                kept = time.monotonic()
            if stop:
                break
            if interrupt.requested and not last:
                raise Interrupted(trainer.step)
    return history


def _record(reports: Arrays, step: int, epoch: int, seconds: float) -> Record:
    # A player that did not move in a step reports NaN for it.
    moved = {name: values[np.isfinite(values)] for name, values in reports.items() if name != "finite"}
    means = {name: float(values.mean()) for name, values in moved.items() if values.size}
    return {"step": step, "epoch": epoch, "loss": means.pop("loss"), **means, "seconds": round(seconds, 3)}


def _require_finite(reports: Arrays, before: int, trainer: Trainer) -> None:
    loss = reports["loss"]
    bad = ~np.isfinite(loss) | ~reports.get("finite", np.ones_like(loss, dtype=bool)).astype(bool)
    if not bad.any():
        return
    first = int(np.argmax(bad))
    terms = [
        name for name, values in reports.items() if name not in ("loss", "finite") and not np.isfinite(values[first])
    ]
    parameters = trainer.parameters(averaged=False)
    broken = [name for name, value in parameters.items() if not np.isfinite(value).all()]
    finite = {name: value for name, value in parameters.items() if value.size and name not in broken}
    largest = sorted(((float(np.abs(value).max()), name) for name, value in finite.items()), reverse=True)[:3]
    what = f"the loss is {loss[first]}" if not np.isfinite(loss[first]) else "the gradient of the loss is not finite"
    lines = [f"{what} at step {before + first + 1}"]
    if terms:
        lines.append(f"  not finite first: {', '.join(terms)}")
    if broken:
        lines.append(f"  parameters that are no longer finite: {', '.join(broken[:5])}")
    if largest:
        lines.append("  largest finite parameters: " + ", ".join(f"{name} ({value:.3g})" for value, name in largest))
    lines.append("  fix: a smaller learning rate, train: {clip_norm: 1.0}, or a floor under a learned scale")
    raise RunError("\n".join(lines))


def _stops_early(plan: Plan, history: History, trainer: Trainer, before: int) -> bool:
    """Whether the held-out loss has not improved for `patience` checks."""
    if plan.early_stopping is None or plan.validate is None:
        return False
    every, patience = _setting(plan.early_stopping, "every", 100), _setting(plan.early_stopping, "patience", 10)
    if before // every == trainer.step // every:
        return False
    held_out = plan.validate(trainer.parameters())
    history.records[-1]["validation"] = held_out
    if history.best is None or held_out < history.best[0]:
        history.best, history.waited = (held_out, trainer.step), 0
        return False
    history.waited += 1
    return history.waited >= patience


def _setting(call: Call, name: str, default: int) -> int:
    value = call.keyword(name)
    return int(value.value) if isinstance(value, Literal) and isinstance(value.value, int | float) else default

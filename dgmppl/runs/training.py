"""The training loop: blocks of steps on the backend's trainer, with reports, checkpoints and early stopping.

All randomness is a function of (seed, step), and a block's boundaries do not change the numbers: a run that is stopped
and resumed takes the same steps as one that is not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import Trainer
from dgmppl.data import Batches
from dgmppl.errors import RunError
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.interrupts import Interrupted, watched
from dgmppl.runs.progress import Progress, silent
from dgmppl.runs.stopping import EarlyStopping

Arrays: TypeAlias = dict[str, NDArray[Any]]
Record: TypeAlias = dict[str, Any]
Rows: TypeAlias = NDArray[np.int64]

_LONGEST_BLOCK = 100
_BLOCKS = 40
CHECKPOINT_SECONDS = 60.0


def forget(record: Record) -> None:
    """Keep no metrics."""
    del record


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and whom to tell.

    Attributes:
        steps: all steps of the run; a player that moves every k-th one takes a k-th of them.
        progress: told of each block.
        record: takes one line of metrics per block.
        keep: takes checkpoints; None for a run without a folder.
        keep_seconds: time between two of them.
        stopping: early stopping, or None.
        diagnose: says what went wrong in a step: given the trainer as it stands before it, and the step's rows.
    """

    steps: int
    progress: Progress = silent
    record: Callable[[Record], None] = forget
    keep: Callable[[Checkpoint], object] | None = None
    keep_seconds: float = CHECKPOINT_SECONDS
    stopping: EarlyStopping | None = None
    diagnose: Callable[[Trainer, Rows], str] | None = None


@dataclass(slots=True)
class History:
    """What training reported.

    Attributes:
        records: step, epoch and mean reports over the block, one entry per block.
        parameters: the result: those of the last step, or with early stopping those of the best one.
    """

    records: list[Record] = field(default_factory=list)
    parameters: Arrays = field(default_factory=dict)


def block_length(steps: int, every: int | None = None) -> int:
    """Steps per block: at most 100, about 40 blocks in a run, and a divisor of `every` where that is given."""
    length = max(1, min(_LONGEST_BLOCK, steps // _BLOCKS))
    return length if every is None else max(size for size in range(1, min(length, every) + 1) if every % size == 0)


def train(trainer: Trainer, batches: Batches, plan: Plan) -> History:
    """Advance a trainer to `plan.steps` steps.

    Args:
        trainer: fresh, or restored to the cursor of `batches`.
        batches: row numbers of the training split.
        plan: see there.

    Raises:
        RunError: for a loss that is not finite, saying at which step and why; the last finite checkpoint stays.
        Interrupted: after Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    history, kept, stopping = History(), time.monotonic(), plan.stopping
    block = block_length(plan.steps, stopping.every if stopping else None)
    with watched() as interrupt:
        while trainer.step < plan.steps and not (stopping and stopping.over):
            # Blocks end at multiples of their length, wherever a run was resumed.
            count = min(block - trainer.step % block, plan.steps - trainer.step)
            history.records.append(_block(trainer, batches, count, plan))
            last = trainer.step >= plan.steps or (stopping is not None and stopping.over)
            if plan.keep and (last or interrupt.requested or time.monotonic() - kept > plan.keep_seconds):
                plan.keep(checkpoint(trainer, stopping))
                kept = time.monotonic()
            if interrupt.requested and not last:
                raise Interrupted(trainer.step)
    history.parameters = dict(checkpoint(trainer, stopping).parameters)
    return history


def checkpoint(trainer: Trainer, stopping: EarlyStopping | None) -> Checkpoint:
    """Where training stands: its result so far, and what it needs to go on."""
    if stopping is None:
        return Checkpoint(trainer.step, trainer.parameters(), trainer.state())
    parameters = stopping.parameters or trainer.parameters()
    return Checkpoint(trainer.step, parameters, {**trainer.state(), **stopping.state()})


def _block(trainer: Trainer, batches: Batches, count: int, plan: Plan) -> Record:
    """One block of steps, its line of metrics written, and the held-out loss looked at where it is due."""
    before, rows = trainer.step, np.stack([next(batches) for _ in range(count)])
    reports = trainer.advance(rows)
    _require_finite(reports, trainer, rows, before, plan)
    record = _record(reports, trainer.step, batches.epoch)
    if plan.stopping is not None and trainer.step % plan.stopping.every == 0:
        record["validation"] = plan.stopping.look(trainer.step, trainer.parameters())
    plan.record(record)
    plan.progress(trainer.step, plan.steps, f"loss {record['loss']:.2f} nats")
    return record


def _record(reports: Arrays, step: int, epoch: int) -> Record:
    # A player that did not move in a step reports NaN for it.
    moved = {name: values[np.isfinite(values)] for name, values in reports.items() if name != "finite"}
    means = {name: float(values.mean()) for name, values in moved.items() if values.size}
    return {"step": step, "epoch": epoch, "loss": means.pop("loss", math.nan), **means}


def _require_finite(reports: Arrays, trainer: Trainer, rows: Rows, before: int, plan: Plan) -> None:
    """Stop where a loss or a gradient was not finite; the trainer then stands at the last finite step."""
    bad = ~reports["finite"].astype(bool)
    if not bad.any():
        return
    taken = trainer.step - before
    loss = float(reports["loss"][taken])
    players = sum(name.rpartition(".")[2] == "loss" for name in reports)
    what = "a gradient or another player's loss" if players > 1 else "its gradient"
    said = f"the loss is {loss:.6g}" + (f", but {what} is not finite," if math.isfinite(loss) else "")
    lines = [f"{said} at step {trainer.step + 1}"]
    if plan.diagnose is not None:
        lines.append(plan.diagnose(trainer, rows[taken]))
    # A raw array may be finite where the value that its bijection makes of it is not.
    if plan.keep is not None and all(np.isfinite(value).all() for value in trainer.parameters().values()):
        plan.keep(checkpoint(trainer, plan.stopping))
    if plan.keep is not None:
        lines.append("the newest checkpoint holds the last parameters that were finite")
    raise RunError("\n".join(lines))

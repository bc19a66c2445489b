"""Fitting a compiled program: by gradients, or by an inference engine, as its derivation says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.diagnosis import Diagnosis
from dgmppl.api.inputs import Batch, of_part, row_wise
from dgmppl.api.queries import Queries
from dgmppl.api.reach import beyond_splines
from dgmppl.api.settings import FitOptions, engine_of, timed, total_steps
from dgmppl.backend import Draws, Trainer
from dgmppl.compiler import Compilation
from dgmppl.data import Batches, DataSet
from dgmppl.errors import RunError
from dgmppl.ir.expressions import text
from dgmppl.ir.parameters import initial_values
from dgmppl.ir.settings import Train
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.progress import bar
from dgmppl.runs.stopping import EarlyStopping, early_stopping
from dgmppl.runs.training import Plan, Record, checkpoint, forget, train

Array: TypeAlias = NDArray[Any]

# Random transforms are drawn anew for so many passes; then the copies repeat.
_COPIES = 16
_COPY_BYTES = 2**28


@dataclass(frozen=True)
class Outcome:
    """What a fit found.

    Attributes:
        parameters: constrained values by canonical name: the moving averages where `train: {ema}` keeps them, those of
            the best step with early stopping, posterior means where an engine drew them.
        draws: of the posterior; None for point parameters.
        records: training reports, one per block of steps; those before a resumed run went on are the folder's.
        step: steps taken.
        seconds: wall time.
        notes: what the user must be told.
    """

    parameters: dict[str, Array]
    draws: Draws | None = None
    records: list[Record] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Keeper:
    """Where a run's progress goes.

    Attributes:
        record: takes one line of metrics per block.
        keep: takes checkpoints.
        start: the checkpoint to go on from, or None.
    """

    record: Callable[[Record], None] = forget
    keep: Callable[[Checkpoint], object] | None = None
    start: Checkpoint | None = None


def run(compiled: Compilation, data: DataSet, options: FitOptions, keeper: Keeper) -> Outcome:
    """Fit a program to data.

    Args:
        compiled: the program.
        data: loaded and transformed.
        options: see there.
        keeper: see there.

    Raises:
        RunError: a non-finite loss, an unusable device, a checkpoint of another run.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    started = time.perf_counter()
    if engine_of(compiled.derivation) is not None:
        return _infer(compiled, data, options, started)
    return _train(compiled, data, options, keeper, started)


def _infer(compiled: Compilation, data: DataSet, options: FitOptions, started: float) -> Outcome:
    chosen = engine_of(compiled.derivation)
    assert chosen is not None
    engine, settings = timed(chosen, options.steps), options.train(compiled.program)
    batch = of_part(compiled.program, data, data.train)
    with bar(f"{compiled.program.name}: {engine.function}", unit="draws", shown=options.progress) as progress:
        draws = compiled.executable.infer(
            engine, batch.arrays, seed=settings.seed, device=options.on(settings), progress=progress
        )
    seconds = time.perf_counter() - started
    start = initial_values(compiled.module.parameters, settings.seed)
    means = {name: np.asarray(values).mean(axis=(0, 1)) for name, values in draws.posterior.items() if name in start}
    parameters = {name: np.asarray(means.get(name, value), dtype=np.float32) for name, value in start.items()}
    if draws.sampler == "map":
        # A mode is a point: nothing that needs draws may be asked of it.
        return Outcome(parameters, None, seconds=seconds, notes=draws.notes)
    return Outcome(parameters, draws, seconds=seconds, notes=draws.notes)


def _train(compiled: Compilation, data: DataSet, options: FitOptions, keeper: Keeper, started: float) -> Outcome:
    program, settings = compiled.program, options.train(compiled.program)
    batch = of_part(program, data, data.train)
    if not batch.rows:
        raise RunError(f"{program.name} has no rows to train on")
    batches = _Stream(batch.rows, settings)
    arrays = _with_redraws(compiled, data, batch, batches, settings.seed)
    # The model's player moves last in a step.
    every = compiled.module.players[-1][2] if compiled.module.players else 1
    steps = total_steps(settings, batches, every)
    values = _start_values(compiled, batch, settings)
    with bar(program.name, shown=options.progress) as progress:
        sized = replace(settings, batch_size=batches.size)
        trainer = compiled.executable.trainer(
            values, arrays, sized, steps=steps, seed=settings.seed, device=options.on(settings)
        )
        stopping = _stopping(compiled, data, settings, options)
        if keeper.start is not None:
            _restore(trainer, batches, stopping, keeper.start)
        elif keeper.keep is not None:
            keeper.keep(checkpoint(trainer, stopping))
        plan = Plan(
            steps, progress, keeper.record, keeper.keep, options.checkpoint_seconds, stopping,
            Diagnosis(compiled, arrays, batch.numbers),
        )  # fmt: skip
        history = train(trainer, batches, plan)
    seconds, notes = time.perf_counter() - started, tuple(beyond_splines(program, batch.arrays))
    return Outcome(history.parameters, None, history.records, trainer.step, seconds, notes)


def _start_values(compiled: Compilation, batch: Batch, settings: Train) -> dict[str, Array]:
    """Where training starts: the seed's values, and those that are read off the first batch."""
    values = initial_values(compiled.module.parameters, settings.seed)
    if not compiled.executable.has("warm_start"):
        return values
    first = next(iter(Batches(batch.rows, settings.batch_size, settings.seed)))
    part = batch.take(compiled.program, first)
    return values | compiled.executable.call("warm_start", values, part.arrays, rows=part.rows)


def _restore(trainer: Trainer, batches: Batches, stopping: EarlyStopping | None, start: Checkpoint) -> None:
    """Put trainer, early stopping and data cursor where a checkpoint left them."""
    if not start.state:
        raise RunError("the run's checkpoint holds parameters alone, and no training state to go on from")
    trainer.restore(start.state)
    if trainer.step != start.step:
        raise RunError(f"the checkpoint says step {start.step}, its training state step {trainer.step}")
    if stopping is not None:
        stopping.restore(start.state)
    batches.position = start.step * batches.size


class _Stream(Batches):
    """Batches whose rows point into copies of the data, one copy per pass, where transforms draw noise."""

    def __init__(self, rows: int, settings: Train) -> None:
        super().__init__(rows, settings.batch_size, settings.seed)
        self.copies = 1

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return self

    def __next__(self) -> NDArray[np.int64]:
        """The next batch's row numbers, `[B]`."""
        copy = self.epoch % self.copies
        return super().__next__() + copy * self.rows


def _with_redraws(compiled: Compilation, data: DataSet, batch: Batch, batches: _Stream, seed: int) -> dict[str, Array]:
    """The training arrays; with random transforms several draws of them one below the other."""
    program = compiled.program
    if not any(column.random for column in program.columns.values()):
        return batch.arrays
    size = sum(array.nbytes for array in batch.arrays.values())
    batches.copies = max(1, min(_COPIES, _COPY_BYTES // max(size, 1)))
    drawn = [batch.arrays]
    for copy in range(1, batches.copies):
        again = data.redraw(seed + copy)
        drawn.append(of_part(program, again, again.train).arrays)
    return {
        name: np.concatenate([arrays[name] for arrays in drawn]) if row_wise(program, name) else array
        for name, array in batch.arrays.items()
    }


def _stopping(compiled: Compilation, data: DataSet, settings: Train, options: FitOptions) -> EarlyStopping | None:
    """Early stopping by the held-out loss per datum, nats: that of validation rows, of a density or its bound.

    Raises:
        RunError: it is asked for, but there are no validation rows, or no density.
    """
    if settings.early_stopping is None:
        return None
    part, has = data.parts.get("validation"), compiled.executable.has
    if part is None:
        raise RunError(
            "early stopping needs validation rows; fix: a split such as `split: {validation: 0.1}` at the data"
        )
    if not has("log_prob") and not has("elbo"):
        raise RunError(
            f"early stopping needs a density of {compiled.program.name} or a bound on it, and it has neither"
        )
    batch, queries = of_part(compiled.program, data, part), Queries(compiled, options.answers_on(settings))

    def loss(values: Mapping[str, Array]) -> float:
        if has("log_prob"):
            return -queries.log_prob(values, batch).mean
        return -queries.elbo(values, batch, 8, settings.seed).mean

    return early_stopping(settings.early_stopping, loss)


def describe_engine(compiled: Compilation) -> str:
    """How the program is fitted, in the spec's syntax."""
    engine = engine_of(compiled.derivation)
    return text(engine) if engine is not None else "gradient"

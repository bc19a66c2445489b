"""A fit with its folder: locked while it is written, resumable, with a receipt, held-out numbers and pictures."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dgmppl.api import fitting
from dgmppl.api.fitted import Fit
from dgmppl.api.fitting import Keeper, Outcome
from dgmppl.api.identity import facts, require_same
from dgmppl.api.settings import FitOptions, engine_of
from dgmppl.data import DataSet
from dgmppl.errors import ArgumentError, RunError
from dgmppl.runs import checkpoints
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import RunFolder

if TYPE_CHECKING:
    from dgmppl.api.program import CompiledProgram


def fit(program: CompiledProgram, options: FitOptions, out: Path | None) -> Fit:
    """Fit, and write the run if it has a folder.

    Args:
        program: compiled for the data at hand.
        options: see there.
        out: the run's folder, or None.

    Raises:
        RunError: see `CompiledProgram.fit`; also where the folder holds another run.
    """
    if options.resume and out is None:
        raise RunError("resume needs the run's folder: fit(..., out=RUN, resume=True)")
    engine = engine_of(program.compiled.derivation)
    if options.compile and engine is not None:
        raise ArgumentError(f"{engine.function} has no training steps to compile; fit without --compile")
    # What cannot be lowered, lacks its backend, device or data is refused before a folder is made; and threads are
    # those asked for before anything else of the backend's library starts.
    program.compiled.executable.on(options.on(options.train(program.compiled.program)))
    data = program.load_data()
    folder = None if out is None else RunFolder(out)
    _require_other(program, folder)
    with nullcontext() if folder is None else folder.locked():
        if folder is None:
            return _fitted(program, data, fitting.run(program.compiled, data, options, Keeper()), options)
        identity = facts(program.compiled, options, data)
        keeper = _keeper(program, folder, options, identity)
        outcome = fitting.run(program.compiled, data, options, keeper)
        fitted = _fitted(program, data, replace(outcome, records=folder.read_metrics()), options)
        _finish(fitted, folder, outcome, options, identity)
    return fitted


def _require_other(program: CompiledProgram, folder: RunFolder | None) -> None:
    """A fit must not replace a run that it reads."""
    read = {inlined.folder for inlined in program.compiled.program.runs}
    if folder is not None and str(folder.path.resolve()) in read:
        raise RunError(f"{folder.path} holds a run that this model reads; choose another --out")


def _fitted(program: CompiledProgram, data: DataSet, outcome: Outcome, options: FitOptions) -> Fit:
    device = options.answers_on(options.train(program.compiled.program))
    return Fit(program, outcome.parameters, outcome.draws, data, outcome.records, device)


def _keeper(program: CompiledProgram, folder: RunFolder, options: FitOptions, identity: dict[str, str]) -> Keeper:
    """Prepare the folder, for a new run or for one that goes on."""
    start = _start(folder, options, identity)
    if start is None and not options.resume:
        folder.make_room()
    program.keep(folder, options)
    if folder.metrics.exists():
        folder.keep_metrics_until(0 if start is None else start.step)

    def keep(checkpoint: Checkpoint) -> Path:
        return checkpoints.save(folder.checkpoints, replace(checkpoint, metadata=identity))

    return Keeper(folder.append_metrics, keep, start)


def _start(folder: RunFolder, options: FitOptions, identity: dict[str, str]) -> Checkpoint | None:
    """The checkpoint to go on from; None for a run from the start, also of one that was killed before its first."""
    if not options.resume or not checkpoints.exist(folder.checkpoints):
        return None
    start = checkpoints.latest(folder.checkpoints)
    require_same(start.metadata, identity)
    return start


def _finish(fitted: Fit, folder: RunFolder, outcome: Outcome, options: FitOptions, identity: dict[str, str]) -> None:
    """Write the results, and the receipt last: a folder with a receipt is a finished run."""
    # Loads ArviZ and matplotlib, which a fit that is kept in memory does not need.
    from dgmppl.api import saving

    if outcome.draws is not None or not checkpoints.exist(folder.checkpoints):
        checkpoints.save(folder.checkpoints, Checkpoint(0, outcome.parameters, metadata=identity))
    saving.write_results(fitted, folder)
    folder.write_json(folder.receipt, saving.receipt(fitted, outcome, options, identity, folder))
    folder.drop_aside()

"""A fit with its folder: locked while it is written, resumable, with a receipt, held-out numbers and pictures."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dgmppl.api import fitting
from dgmppl.api.evaluating import held_out
from dgmppl.api.fitted import Fit
from dgmppl.api.fitting import Keeper, Outcome
from dgmppl.api.inputs import of_part
from dgmppl.api.program import CompiledProgram
from dgmppl.api.settings import FitOptions
from dgmppl.data import DataSet
from dgmppl.errors import RunError
from dgmppl.runs import checkpoints
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import VERSION, RunFolder
from dgmppl.runs.receipt import data_hash, machine, program_hash, text_hash, versions

_SHOWN = 64


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
    # What cannot be lowered, lacks its backend or lacks its data is refused before a folder is made.
    program.compiled.executable  # noqa: B018
    data = program.load_data()
    folder = None if out is None else RunFolder(out)
    with nullcontext() if folder is None else folder.locked():
        keeper = Keeper() if folder is None else _keeper(program, folder, options)
        outcome = fitting.run(program.compiled, data, options, keeper)
        fitted = Fit(program, outcome.parameters, outcome.draws, data, outcome.records)
        if folder is not None:
            _finish(fitted, folder, outcome, data, options)
    return fitted


def _keeper(program: CompiledProgram, folder: RunFolder, options: FitOptions) -> Keeper:
    """Prepare the folder, for a new run or for one that goes on."""
    start: Checkpoint | None = None
    identity = {"backend": program.backend, "identity": program.identity()}
    if options.resume and folder.exists():
        start = checkpoints.latest(folder.checkpoints)
        program.resumable(start)
        folder.keep_metrics_until(start.step)
    elif folder.exists() and folder.receipt.exists() is False:
        raise RunError(f"{folder.path} holds an unfinished run; go on with --resume, or choose another --out")
    else:
        _clear(folder)
    program.keep(folder)

    def keep(checkpoint: Checkpoint) -> Path:
        return checkpoints.save(folder.checkpoints, replace(checkpoint, metadata=identity))

    return Keeper(folder.append_metrics, keep, start)


def _clear(folder: RunFolder) -> None:
    """Remove the files of a finished run that a new one in the same folder replaces."""
    for path in (folder.receipt, folder.metrics, folder.posterior, folder.path / "samples.png"):
        path.unlink(missing_ok=True)
    for path in folder.checkpoints.glob("step-*.safetensors"):
        path.unlink()


def _finish(fitted: Fit, folder: RunFolder, outcome: Outcome, data: DataSet, options: FitOptions) -> None:
    program = fitted.program
    identity = {"backend": program.backend, "identity": program.identity()}
    if outcome.draws is not None:
        checkpoints.save(folder.checkpoints, Checkpoint(0, outcome.parameters, metadata=identity))
    folder.write_json(folder.receipt, receipt(fitted, outcome, data, options))
    fitted.write_results(folder, shown=_SHOWN)


def receipt(fitted: Fit, outcome: Outcome, data: DataSet, options: FitOptions) -> dict[str, Any]:
    """The facts of a run as JSON data."""
    from dgmppl.spec.writer import to_yaml

    compiled = fitted.program.compiled
    settings = options.train(compiled.program)
    library = compiled.library
    return {
        "version": VERSION,
        "name": compiled.program.name,
        "backend": compiled.backend,
        "engine": fitting.describe_engine(compiled),
        "objective": fitted.program.objective.text(),
        "status": compiled.derivation.status,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(outcome.seconds, 3),
        "steps": outcome.step,
        "seed": settings.seed,
        "device": {**asdict(options.on(settings)), "available": list(library.devices())},
        "versions": {**versions(), **library.versions()},
        "machine": machine(),
        "sha256": {
            "spec": text_hash(to_yaml(compiled.spec)),
            "data": data_hash(of_part(compiled.program, data, data.train).arrays),
            "program": program_hash(compiled.source),
        },
        "rows": {name: part.rows for name, part in data.parts.items()},
        "final_loss": outcome.records[-1]["loss"] if outcome.records else None,
        "held_out": held_out(fitted, data),
        "notes": [*compiled.derivation.notes, *outcome.notes],
    }

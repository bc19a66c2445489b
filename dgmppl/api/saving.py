"""Writing a fit: its results, its receipt, and the folder as a whole."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api import fitting
from dgmppl.api.answers import Answers
from dgmppl.api.evaluating import held_out
from dgmppl.api.fitting import Outcome
from dgmppl.api.identity import facts, used_device
from dgmppl.api.inference_data import build
from dgmppl.api.settings import FitOptions
from dgmppl.errors import RunError
from dgmppl.ir.program import Program
from dgmppl.results import compat, pictures
from dgmppl.runs import checkpoints
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import VERSION, RunFolder, unwritable
from dgmppl.runs.receipt import data_hash, file_hash, machine, program_hash, text_hash, versions
from dgmppl.runs.trained import hashes
from dgmppl.spec.writer import to_yaml

Array: TypeAlias = NDArray[Any]

_LATENT_DRAWS = 20
_SHOWN = 64


def save(fit: Answers, path: Path) -> Path:
    """See `Fit.save`."""
    folder, options = RunFolder(path), FitOptions()
    identity = facts(fit.program.compiled, options, fit.loaded)
    with folder.locked():
        folder.make_room()
        fit.program.keep(folder, options)
        step = int(fit.records[-1]["step"]) if fit.records else 0
        checkpoints.save(folder.checkpoints, Checkpoint(step, fit.parameters, metadata=identity))
        folder.write(folder.metrics, "".join(json.dumps(record) + "\n" for record in fit.records))
        write_results(fit, folder)
        outcome = Outcome(fit.parameters, fit.draws, fit.records, step)
        folder.write_json(folder.receipt, receipt(fit, outcome, options, identity, folder))
        folder.drop_aside()
    return path


def write_results(fit: Answers, folder: RunFolder) -> None:
    """Write samples.png, and posterior.nc where the model has a posterior to show."""
    executable = fit.program.compiled.executable
    if executable.has("sample"):
        draw_samples(fit, folder.path / "samples.png", _SHOWN)
    if fit.draws is not None or executable.has("encode"):
        container = build(fit, draws=_LATENT_DRAWS)
        temporary = folder.posterior.with_name(f".{folder.posterior.name}.{os.getpid()}.tmp")
        try:
            compat.write(container, temporary)
            os.replace(temporary, folder.posterior)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise unwritable(folder.posterior, error) from error


def draw_samples(fit: Answers, path: Path, n: int, given: Any = None, seed: int = 0) -> None:
    """Draw samples of the observed variable with the most elements beside the data.

    Raises:
        RunError: the file cannot be written, or its ending is no picture's.
    """
    program = fit.program.compiled.program
    site = max(program.observed, key=lambda one: one.typed.size)
    column = program.columns.get(site.name)
    drawn = fit.sample(n if site.typed.size > 4 else max(n, 1000), given, seed)
    samples = drawn[site.name] if isinstance(drawn, dict) else drawn
    data = _comparison(fit, program, site.name, samples)
    shape = column.raw_shape if column is not None else None
    try:
        pictures.draw_samples(
            path, np.asarray(samples, dtype=np.float64), data=data, shape=shape, title=f"{program.name}: {site.name}"
        )
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def _comparison(fit: Answers, program: Program, name: str, samples: Array) -> Array | None:
    """The data's rows beside which samples are drawn: in the samples' units."""
    if fit.data is None:
        return None
    part = fit.data.held_out or fit.data.train
    column = program.columns[name]
    lossy = any(not transform.invertible for transform in column.transforms)
    rows = np.asarray(part.arrays[name] if lossy else part.raw[name])
    return rows.astype(np.float64) if rows.dtype.kind in "fiub" and rows.shape[1:] == samples.shape[1:] else None


def receipt(
    fit: Answers, outcome: Outcome, options: FitOptions, identity: dict[str, str], folder: RunFolder
) -> dict[str, Any]:
    """The facts of a run as JSON data."""
    compiled, data = fit.program.compiled, fit.loaded
    settings = options.train(compiled.program)
    library = compiled.library
    return {
        "version": VERSION,
        "name": compiled.program.name,
        "backend": compiled.backend,
        "engine": fitting.describe_engine(compiled),
        "draws": outcome.draws is not None,
        "objective": fit.program.objective.text(),
        "status": compiled.derivation.status,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(outcome.seconds, 3),
        "steps": outcome.step,
        "seed": settings.seed,
        "device": {
            **asdict(options.on(settings)),
            "used": used_device(compiled, options),
            "available": list(library.devices()),
        },
        "versions": {**versions(), **library.versions()},
        "machine": machine(),
        "sha256": {
            "spec": text_hash(to_yaml(compiled.spec)),
            "resolved": file_hash(folder.resolved),
            "data": identity["data"],
            "program": program_hash(compiled.source),
            "parameters": data_hash(fit.parameters),
        },
        "trained": hashes(compiled.program),
        "rows": {name: part.rows for name, part in data.parts.items()},
        "final_loss": fit.records[-1]["loss"] if fit.records else None,
        "held_out": held_out(fit, data),
        "notes": [*compiled.derivation.notes, *outcome.notes],
    }

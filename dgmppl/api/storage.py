"""Runs on disk: writing a fit, and reading it back on any backend.

Reading never imports the run's `program.py`: the resolved spec is compiled again, and a difference in the emitted text
is reported.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.fitted import Fit
from dgmppl.api.fitting import Outcome
from dgmppl.api.program import CompiledProgram
from dgmppl.api.settings import FitOptions
from dgmppl.backend import Draws
from dgmppl.compiler import compile_spec
from dgmppl.errors import RunError
from dgmppl.ir.program import Program
from dgmppl.results import compat, pictures
from dgmppl.runs import checkpoints, columns
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import VERSION, RunFolder
from dgmppl.runs.receipt import program_hash

Array: TypeAlias = NDArray[Any]

_STATISTICS = frozenset({"log_p", "log_q", "elbo"})
_LATENT_DRAWS = 20


def write_results(fit: Fit, folder: RunFolder, shown: int) -> None:
    """Write samples.png, and posterior.nc where the model has a posterior to show."""
    executable = fit.program.compiled.executable
    if executable.has("sample"):
        draw_samples(fit, folder.path / "samples.png", shown)
    if fit.draws is not None or executable.has("encode"):
        container = fit.to_arviz(draws=_LATENT_DRAWS)
        temporary = folder.posterior.with_name(f".{folder.posterior.name}.{os.getpid()}.tmp")
        compat.write(container, temporary)
        os.replace(temporary, folder.posterior)


def draw_samples(fit: Fit, path: Path, n: int, given: Any = None, seed: int = 0) -> None:
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


def _comparison(fit: Fit, program: Program, name: str, samples: Array) -> Array | None:
    """The data's rows beside which samples are drawn: in the samples' units."""
    if fit.data is None:
        return None
    part = fit.data.held_out or fit.data.train
    column = program.columns[name]
    lossy = any(not transform.invertible for transform in column.transforms)
    rows = np.asarray(part.arrays[name] if lossy else part.raw[name])
    return rows.astype(np.float64) if rows.dtype.kind in "fiub" and rows.shape[1:] == samples.shape[1:] else None


def save(fit: Fit, path: Path) -> Path:
    """See `Fit.save`."""
    from dgmppl.api.running import receipt

    folder = RunFolder(path)
    with folder.locked():
        fit.program.keep(folder)
        identity = {"backend": fit.program.backend, "identity": fit.program.identity()}
        step = int(fit.records[-1]["step"]) if fit.records else 0
        checkpoints.save(folder.checkpoints, Checkpoint(step, fit.parameters, metadata=identity))
        folder.write(folder.metrics, "")
        for record in fit.records:
            folder.append_metrics(record)
        outcome = Outcome(fit.parameters, fit.draws, fit.records, step)
        folder.write_json(folder.receipt, receipt(fit, outcome, fit.loaded, FitOptions()))
        write_results(fit, folder, shown=64)
    return path


def load(path: str | os.PathLike[str], backend: str | None = None) -> Fit:
    """Read a run.

    Args:
        path: the run's folder.
        backend: instead of the one that it was fitted with: parameters are the same on all.

    Raises:
        RunError: there is no run, a file is damaged, or a newer dgmppl wrote it.
    """
    folder = RunFolder(Path(path))
    facts = folder.read_json(folder.receipt)
    if int(facts.get("version", 0)) > VERSION:
        raise RunError(
            f"{path} was written by a newer dgmppl (folder version {facts['version']}, this one reads {VERSION})"
        )
    schema = columns.from_json(folder.read_json(folder.columns))
    chosen = backend or str(facts["backend"])
    compiled = compile_spec(folder.resolved, backend=chosen, schema=schema)
    program = CompiledProgram(compiled, {})
    if chosen == facts["backend"]:
        _compare(compiled.source, facts, folder)
    checkpoint = checkpoints.latest(folder.checkpoints)
    draws = _read_draws(folder) if facts.get("engine") != "gradient" else None
    return Fit(program, dict(checkpoint.parameters), draws, None, folder.read_metrics())


def _compare(source: str, facts: dict[str, Any], folder: RunFolder) -> None:
    """Report a difference between the program that was fitted and the one that this version emits."""
    stored = facts.get("sha256", {}).get("program")
    if stored is None:
        return
    if folder.program.is_file() and _hash(folder.program) != stored:
        warnings.warn(f"{folder.program} was changed after the run; it is not what runs here", stacklevel=3)
    if stored != program_hash(source):
        written = facts.get("versions", {}).get("dgmppl")
        warnings.warn(f"this version emits another program for {folder.path} than dgmppl {written} did", stacklevel=3)


def _hash(path: Path) -> str | None:
    """The hash of a program on disk; None where it is no Python any more."""
    try:
        return program_hash(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return None


def _read_draws(folder: RunFolder) -> Draws:
    """The posterior draws of a run.

    Raises:
        RunError: posterior.nc is missing or damaged.
    """
    try:
        groups = compat.groups_of(compat.read(folder.posterior))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{folder.posterior} is missing or damaged: {error}") from error
    posterior = groups["posterior"]
    statistics = groups.get("sample_stats")
    found = (
        {}
        if statistics is None
        else {str(name): np.asarray(value.values) for name, value in statistics.data_vars.items()}
    )
    return Draws(
        {str(name): np.asarray(value.values) for name, value in posterior.data_vars.items()},
        {name: value for name, value in found.items() if name not in _STATISTICS},
        found.get("log_p"), found.get("log_q"), found.get("elbo", np.zeros(0)),
        str(posterior.attrs.get("engine", "")), str(posterior.attrs.get("sampler", "")),
        tuple(filter(None, str(posterior.attrs.get("notes", "")).split("; "))),
    )  # fmt: skip

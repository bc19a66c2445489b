"""Runs on disk, read back on any backend.

Reading never imports the run's `program.py`: the resolved spec is compiled again, and a difference in the emitted text
is reported.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.fitted import Fit
from dgmppl.api.program import CompiledProgram
from dgmppl.backend import Draws
from dgmppl.compiler import compile_spec
from dgmppl.errors import RunError
from dgmppl.ir.program import Program
from dgmppl.results import compat
from dgmppl.runs import checkpoints, columns
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import RunFolder, other_version
from dgmppl.runs.receipt import data_hash, file_hash, program_hash
from dgmppl.runs.trained import hashes

Array: TypeAlias = NDArray[Any]

_STATISTICS = frozenset({"log_p", "log_q", "elbo"})
_LATENT_DRAWS = 20


def load(
    path: str | os.PathLike[str], backend: str | None = None, *, trust_code: bool = False, device: str = "auto",
    precision: str | None = None, threads: int | None = None, overrides: Iterable[str] = (),
) -> Fit:  # fmt: skip
    """Read a run.

    Args:
        path: the run's folder.
        backend: instead of the one that it was fitted with: parameters are the same on all.
        trust_code: `python(...)` in the run's spec may import code of your own.
        device: where its densities, samples and posteriors are computed: `auto`, `cpu`, `cuda`.
        precision: of those; None for that of the parameters. See `Fit.to`.
        threads: CPU threads; None for the library's own choice.
        overrides: `evaluate.KEY=VALUE`, how it is sampled and evaluated: `evaluate.sampler=ddim(steps=50)`.

    Warns:
        UserWarning: a file was changed after the run, a damaged checkpoint was passed over, or this version emits
            another program for the run's spec.

    Raises:
        RunError: there is no finished run, a file is damaged, another version of the format wrote it, there is no such
            device, or an override is of what was fitted.
    """
    changed = _of_evaluation(overrides)
    folder = RunFolder(Path(path))
    if folder.exists() and not folder.receipt.exists():
        raise RunError(f"{folder.path} holds an unfinished run; finish it with `dgmppl fit ... --resume`")
    receipt = folder.read_json(folder.receipt)
    if (wrong := other_version(receipt)) is not None:
        raise RunError(f"{folder.path} {wrong}")
    schema = columns.from_json(folder.read_json(folder.columns))
    stored, chosen = str(receipt.get("backend")), backend or str(receipt.get("backend"))
    compiled = compile_spec(folder.resolved, backend=chosen, schema=schema, overrides=changed, trust_code=trust_code)
    checkpoint = checkpoints.latest(folder.checkpoints)
    changes = _changes(folder, receipt, checkpoint, compiled.source if chosen == stored and not changed else None)
    for note in (*changes, *_changed_runs(folder, receipt, compiled.program)):
        warnings.warn(note, stacklevel=2)
    draws = _read_draws(folder) if receipt.get("draws") else None
    fitted = Fit(CompiledProgram(compiled, {}), dict(checkpoint.parameters), draws, None, folder.read_metrics())
    return fitted.to(device, precision, threads)


def _of_evaluation(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides, all of the section `evaluate`: a run's model and training are done."""
    given = tuple(overrides)
    wrong = next((text for text in given if text.partition("=")[0].partition(".")[0].strip() != "evaluate"), None)
    if wrong is not None:
        raise RunError(
            f"{wrong}: the run is finished, and only how it is evaluated can be changed; "
            "write evaluate.KEY=VALUE, or fit again"
        )
    return given


def _changes(folder: RunFolder, receipt: dict[str, Any], checkpoint: Checkpoint, source: str | None) -> Iterator[str]:
    """What is no longer as the receipt says: stored spec, stored program, parameters, and what would be emitted."""
    sums, versions = (_mapping(receipt, key, folder) for key in ("sha256", "versions"))
    if not {"resolved", "program", "parameters"} <= sums.keys():
        yield (
            f"{folder.receipt} lacks hashes: an earlier version of dgmppl wrote it, and what was changed after the run "
            "cannot be noticed; fix: fit the spec in spec.yaml again"
        )
        return
    if sums.get("resolved") != file_hash(folder.resolved):
        yield f"{folder.resolved} was changed after the run; what is loaded is what it says now"
    if sums.get("program") != _program_on_disk(folder):
        yield f"{folder.program} was changed after the run; it is not what runs here"
    if sums.get("parameters") != data_hash(dict(checkpoint.parameters)):
        yield f"the parameters of {folder.path} are not those that its receipt speaks of"
    if source is not None and sums.get("program") != program_hash(source):
        yield f"this version emits another program for {folder.path} than dgmppl {versions.get('dgmppl')} did"


def _changed_runs(folder: RunFolder, receipt: dict[str, Any], program: Program) -> Iterator[str]:
    """The finished runs in the model that are no longer those that were frozen."""
    stored, now = _mapping(receipt, "trained", folder), hashes(program)
    for inlined in program.runs:
        site = f"{inlined.section} {inlined.site}"
        if stored.get(site) != now[site]:
            yield f"{inlined.run} was changed after {folder.path} froze it; its parameters here are those of then"


def _mapping(receipt: dict[str, Any], key: str, folder: RunFolder) -> dict[str, Any]:
    found = receipt.get(key, {})
    if not isinstance(found, dict):
        raise RunError(f"{folder.receipt} is damaged: {key!r} holds no JSON object")
    return found


def _program_on_disk(folder: RunFolder) -> str | None:
    """The hash of the stored program; None where it is gone, or is no Python any more."""
    try:
        return program_hash(folder.program.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
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

"""The same fitted model on another backend: a run of its own, whose receipt says where it came from.

Parameters cross as they are: canonical names, constrained values, torch's layouts. The program is emitted anew, so that
log p(x) is the same function up to rounding. Optimizer state does not cross: a converted run is not resumed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dgmppl.api.fitted import Fit
from dgmppl.api.settings import FitOptions
from dgmppl.api.storage import load
from dgmppl.errors import ArgumentError, RunError
from dgmppl.runs import checkpoints
from dgmppl.runs.checkpoints import Checkpoint
from dgmppl.runs.folder import RunFolder, write_whole
from dgmppl.runs.receipt import file_hash, machine, program_hash, versions

# What the two runs have in common, byte for byte: the spec as given, training reports, posterior draws and the picture.
_SHARED = ("spec.yaml", "spec.extends-*.yaml", "metrics.jsonl", "posterior.nc", "samples.png")


def convert(run: Path, backend: str, out: Path | None = None, *, trust_code: bool = False) -> RunFolder:
    """Write a finished run as one of another backend.

    Args:
        run: the run's folder; it stays as it is.
        backend: the backend to emit for.
        out: the new folder; `RUN-BACKEND` by default.
        trust_code: `python(...)` in the run's spec may import code of your own.

    Raises:
        RunError: there is no finished run, it is of this backend already, or the new folder holds something.
        UnsupportedError: the backend does not lower the model, with the line of the construct.
    """
    folder = RunFolder(run)
    facts = folder.read_json(folder.receipt)
    if facts.get("backend") == backend:
        raise ArgumentError(f"{run} is a run of {backend} already")
    target = RunFolder(out or run.with_name(f"{run.name}-{backend}"))
    if target.path.exists() and (not target.path.is_dir() or any(target.path.iterdir())):
        raise RunError(f"{target.path} exists; choose another folder with --out")
    fitted = load(run, backend, trust_code=trust_code)
    fitted.program.compiled.executable  # noqa: B018  (what this backend cannot print or import is refused here)
    with target.locked():
        _write(fitted, folder, target, facts)
    return target


def _write(fitted: Fit, folder: RunFolder, target: RunFolder, facts: dict[str, Any]) -> None:
    program = fitted.program
    program.keep(target, FitOptions())
    for pattern in _SHARED:
        for path in sorted(folder.path.glob(pattern)):
            write_whole(target.path / path.name, path.read_bytes())
    old = checkpoints.latest(folder.checkpoints)
    identity = {**old.metadata, "backend": program.backend}
    checkpoints.save(target.checkpoints, Checkpoint(old.step, old.parameters, metadata=identity))
    target.write_json(target.receipt, _receipt(fitted, folder, target, facts))


def _receipt(fitted: Fit, folder: RunFolder, target: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of the run, with those of the new program in place and the old ones under `converted`."""
    compiled = fitted.program.compiled
    hashes = facts.get("sha256", {})
    origin = {
        "path": str(folder.path),
        "backend": facts["backend"],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": facts.get("versions", {}),
        "machine": facts.get("machine", {}),
        "program": hashes.get("program"),
    }
    return {
        **facts,
        "backend": compiled.backend,
        "versions": {**versions(), **compiled.library.versions()},
        "machine": machine(),
        "sha256": {**hashes, "program": program_hash(compiled.source), "resolved": file_hash(target.resolved)},
        "converted": origin,
    }

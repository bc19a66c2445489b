"""What a run is: the facts that a resumed run must have in common with the one that it continues."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace

from dgmppl.api.inputs import of_part
from dgmppl.api.settings import FitOptions
from dgmppl.compiler import Compilation, spec_hash, with_defaults
from dgmppl.data import DataSet
from dgmppl.errors import RunError
from dgmppl.runs.receipt import data_hash, versions
from dgmppl.runs.trained import hashes
from dgmppl.spec.syntax import Setting, Spec


def resolved_spec(compiled: Compilation, options: FitOptions) -> Spec:
    """The spec with every default filled in, and what was asked of this fit in the place of what it says."""
    spec, settings = with_defaults(compiled), options.train(compiled.program)
    asked = {
        "steps": settings.steps if settings.epochs is None else None,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "precision": settings.precision,
    }
    kept = tuple(setting for setting in spec.train if setting.key not in asked)
    return replace(spec, train=(*kept, *(Setting(key, value) for key, value in asked.items() if value is not None)))


def facts(compiled: Compilation, options: FitOptions, data: DataSet) -> dict[str, str]:
    """The facts of a run, as a checkpoint's metadata hold them.

    Returns:
        `backend`; `spec`, the hash of the resolved spec without the length of training; `data`, the hash of the
        training rows; `trained`, the hashes of the finished runs in the model; and `machine`, on which bit-for-bit
        continuation depends besides.
    """
    resolved = resolved_spec(compiled, options)
    kept = tuple(setting for setting in resolved.train if setting.key not in ("steps", "epochs"))
    settings = options.train(compiled.program)
    machine = {
        **versions(), **compiled.library.versions(), "device": used_device(compiled, options),
        "threads": options.on(settings).threads, "compiled": options.compile,
    }  # fmt: skip
    return {
        "backend": compiled.backend,
        "spec": spec_hash(replace(resolved, train=kept)),
        "data": data_hash(of_part(compiled.program, data, data.train).arrays),
        "trained": json.dumps(hashes(compiled.program), sort_keys=True),
        "machine": json.dumps(machine, sort_keys=True),
    }


def used_device(compiled: Compilation, options: FitOptions) -> str:
    """The device that `auto` means here, or the one that was asked for."""
    return compiled.library.devices()[-1] if options.device == "auto" else options.device


def require_same(stored: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to continue a run of another model, of other data, or of another backend.

    Warns:
        UserWarning: versions, device, threads or compilation are others than before: the last digits may differ.

    Raises:
        RunError: saying what differs.
    """
    if stored.get("backend") != now["backend"]:
        raise RunError(
            f"the run was made with {stored.get('backend')}; resuming needs the same backend, not {now['backend']}"
        )
    if stored.get("spec") != now["spec"]:
        raise RunError(
            "the run in this folder is of another spec, seed or precision; choose another --out, or resume with its "
            "resolved.yaml"
        )
    if stored.get("data") != now["data"]:
        raise RunError("the run in this folder was trained on other data; choose another --out, or restore the data")
    if stored.get("trained", "{}") != now["trained"]:
        raise RunError("a finished run in this model has changed since; choose another --out, or restore that run")
    before, after = (json.loads(one.get("machine", "{}")) for one in (stored, now))
    changed = [f"{key} {before.get(key)} -> {value}" for key, value in after.items() if before.get(key) != value]
    if changed:
        warnings.warn(f"the run goes on, but not bit for bit: {', '.join(changed)}", stacklevel=2)

"""Checkpoints: parameters by canonical name and the training state, in one safetensors file each.

`NAME` is a parameter in constrained space, the moving average where training keeps one, so that any tool reads the
trained model from it; `@state.NAME` is what the trainer needs to continue bit for bit. The header's metadata hold the
step, what the run was, and a SHA-256 of all of it: a file that was cut off or changed by a single bit is noticed.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.runs.folder import write_whole
from dgmppl.runs.receipt import data_hash, text_hash

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
_STATE = "@state."
_DIGEST = "sha256"
_NAME = re.compile(r"step-(\d+)\.safetensors")
_KEPT = 2
_AGAIN = "fix: fit the run's spec.yaml again with another --out, or read the parameters with safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Parameters and training state after `step` steps.

    Attributes:
        step: steps taken.
        parameters: constrained values by canonical name.
        state: the trainer's state; empty for a model that is not trained further.
        metadata: text facts (backend, hashes of the resolved spec and of the data).
    """

    step: int
    parameters: Arrays
    state: Arrays = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint whole, then delete all but the newest ones.

    Raises:
        RunError: where it cannot be written; earlier checkpoints are untouched.
    """
    from safetensors.numpy import save as serialize

    arrays = {**checkpoint.parameters, **{f"{_STATE}{name}": value for name, value in checkpoint.state.items()}}
    # safetensors writes the buffer as it lies: a view or a transposed array would be stored wrongly.
    contiguous = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in arrays.items()}
    metadata = {**checkpoint.metadata, "step": str(checkpoint.step)}
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    write_whole(path, serialize(contiguous, {**metadata, _DIGEST: digest(contiguous, metadata)}))
    for old in _found(folder)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RunError: where it is missing, damaged, or no longer what was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = dict(stream.metadata() or {})
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError(f"there is no checkpoint {path}") from error
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from error
    written = metadata.pop(_DIGEST, None)
    if written is None:
        why = "it holds no SHA-256; either it is damaged, or an earlier version of dgmppl wrote it"
        raise RunError(f"the checkpoint {path} cannot be trusted: {why}; {_AGAIN}")
    if written != digest(arrays, metadata):
        raise RunError(f"the checkpoint {path} is damaged: its SHA-256 is not that of what was written")
    state = {name.removeprefix(_STATE): value for name, value in arrays.items() if name.startswith(_STATE)}
    parameters = {name: value for name, value in arrays.items() if not name.startswith(_STATE)}
    return Checkpoint(int(metadata.pop("step")), parameters, state, metadata)


def latest(folder: Path) -> Checkpoint:
    """The newest checkpoint that can be read; a damaged newest one falls back to the one before.

    Warns:
        UserWarning: a newer checkpoint is damaged; which, how, and from which step the one in its place is.

    Raises:
        RunError: there is none, or all are damaged.
    """
    failures: list[RunError] = []
    for path in reversed(_found(folder)):
        try:
            found = load(path)
        except RunError as error:
            failures.append(error)
            continue
        for failure in failures:
            warnings.warn(f"{failure}; the one of step {found.step} is used in its place", stacklevel=2)
        return found
    raise failures[0] if failures else RunError(f"{folder} holds no checkpoint")


def exist(folder: Path) -> bool:
    """Whether there is a checkpoint, damaged or not."""
    return bool(_found(folder))


def digest(arrays: Arrays, metadata: Mapping[str, str]) -> str:
    """SHA-256 over the arrays (names, element types, shapes, values) and the facts, independent of their order."""
    return text_hash(json.dumps(dict(metadata), sort_keys=True) + data_hash(arrays))


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    numbered = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]

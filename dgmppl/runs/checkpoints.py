"""Checkpoints: parameters by canonical name and the training state, in one safetensors file each.

`NAME` is a parameter in constrained space, the moving average where training keeps one, so that any tool reads the
trained model from it; `@state.NAME` is what the trainer needs to continue bit for bit. The header's metadata hold the
step and the program's hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.runs.folder import write_whole

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
_STATE = "@state."
_NAME = re.compile(r"step-(\d+)\.safetensors")
_KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Parameters and training state after `step` steps.

    Attributes:
        step: steps taken.
        parameters: constrained values by canonical name.
        state: the trainer's state; empty for a model that is not trained further.
        metadata: text facts (backend, hash of the resolved spec).
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
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    write_whole(path, serialize(contiguous, {**checkpoint.metadata, "step": str(checkpoint.step)}))
    for old in _found(folder)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RunError: where it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = dict(stream.metadata() or {})
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError(f"there is no checkpoint {path}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from error
    state = {name.removeprefix(_STATE): value for name, value in arrays.items() if name.startswith(_STATE)}
    parameters = {name: value for name, value in arrays.items() if not name.startswith(_STATE)}
    return Checkpoint(int(metadata.pop("step", "0")), parameters, state, metadata)


def latest(folder: Path) -> Checkpoint:
    """The newest checkpoint that can be read; a damaged newest one falls back to the one before.

    Raises:
        RunError: there is none, or all are damaged.
    """
    failure: RunError | None = None
    for path in reversed(_found(folder)):
        try:
            return load(path)
        except RunError as error:
            failure = failure or error
    raise failure or RunError(f"{folder} holds no checkpoint")


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    numbered = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]

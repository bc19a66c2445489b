"""From what a user asks of a fit (device, precision, steps) to the settings that backends take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmppl.backend import Array, Device
from dgmppl.data import Batches
from dgmppl.errors import ArgumentError, RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.options import ENGINES
from dgmppl.ir.program import Program
from dgmppl.ir.settings import Train
from dgmppl.objectives.derivation import Derivation
from dgmppl.runs.training import CHECKPOINT_SECONDS

if TYPE_CHECKING:
    from dgmppl.api.fitted import Fit

PRECISIONS = ("float32", "float64", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a fit runs, beyond what the spec says.

    Attributes:
        seed: of initial values, batches and noise; None for the spec's own.
        steps: instead of the spec's steps or epochs.
        device: `auto`, `cpu`, `cuda`.
        precision: instead of the spec's.
        threads: CPU threads; None for the library's own choice.
        progress: draw a bar.
        resume: go on from the folder's newest checkpoint.
        checkpoint_seconds: time between two checkpoints.
        data_bytes: memory of the device that training rows may take; None for half of what is free.
    """

    seed: int | None = None
    steps: int | None = None
    device: str = "auto"
    precision: str | None = None
    threads: int | None = None
    progress: bool = False
    resume: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    data_bytes: int | None = None

    def __post_init__(self) -> None:
        _require_known(self.device, self.precision, self.threads)
        if self.steps is not None and self.steps < 1:
            raise ArgumentError(f"a fit takes at least one step, not {self.steps}")
        if self.data_bytes is not None and self.data_bytes < 0:
            raise ArgumentError(f"training rows cannot take {self.data_bytes} bytes")

    def train(self, program: Program) -> Train:
        """The spec's training settings with these in their place."""
        changes: dict[str, object] = {}
        if self.steps is not None:
            changes |= {"steps": self.steps, "epochs": None}
        if self.seed is not None:
            changes["seed"] = self.seed
        if self.precision is not None:
            changes["precision"] = self.precision
        return replace(program.train, **changes)  # type: ignore[arg-type]

    def on(self, settings: Train) -> Device:
        """Where and how precisely to train."""
        return Device(self.device, settings.precision, self.threads, self.data_bytes)

    def answers_on(self, settings: Train) -> Device:
        """Where a fit is asked: where it was trained, but with nothing rounded to bfloat16."""
        return replace(self.on(settings), precision="float64" if settings.precision == "float64" else "float32")


def _require_known(device: str, precision: str | None, threads: int | None) -> None:
    """Refuse a device, a precision or a number of threads that cannot be."""
    for value, known in ((device, DEVICES), (precision or "float32", PRECISIONS)):
        if value not in known:
            raise ArgumentError(f"{value!r} is none of {', '.join(known)}")
    if threads is not None and threads < 1:
        raise ArgumentError(f"computing takes at least one thread, not {threads}")


def answering(fit: Fit, device: str, precision: str | None, threads: int | None) -> Fit:
    """See `Fit.to`."""
    _require_known(device, precision, threads)
    own = "float64" if any(value.dtype == np.float64 for value in fit.parameters.values()) else "float32"
    chosen = Device(device, precision or own, threads)
    fit.program.compiled.executable.on(chosen)
    if precision is None:
        return replace(fit, device=chosen)
    dtype = np.dtype(np.float64 if precision == "float64" else np.float32)
    draws = None if fit.draws is None else replace(fit.draws, posterior=_cast(fit.draws.posterior, dtype))
    return replace(fit, parameters=_cast(fit.parameters, dtype), draws=draws, device=chosen)


def _cast(values: Mapping[str, Array], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Real numbers in another width; others as they are."""
    return {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in values.items()}


def engine_of(derivation: Derivation) -> Call | None:
    """The inference engine of a posterior; None where players are trained by gradients."""
    return derivation.engine if isinstance(derivation.engine, Call) else None


def timed(engine: Call, steps: int | None) -> Call:
    """The engine with another number of steps.

    Raises:
        RunError: it has no such option.
    """
    if steps is None:
        return engine
    entry = ENGINES.get(engine.function)
    if entry is None or entry.argument("steps") is None:
        options = "" if entry is None else f"; it has {', '.join(argument.name for argument in entry.arguments)}"
        raise RunError(f"{engine.function} takes no number of steps{options}: --set 'infer={engine.function}(...)'")
    kept = tuple((name, value) for name, value in engine.keywords if name != "steps")
    return replace(engine, keywords=(*kept, ("steps", Literal(steps))))


def total_steps(settings: Train, batches: Batches, every: int) -> int:
    """All steps of a run: `epochs` passes over the rows, or `steps` updates of the player that moves every `every`."""
    if settings.epochs is not None:
        return batches.steps_for(settings.epochs)
    return (settings.steps or Train().steps or 1) * every

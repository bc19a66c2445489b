"""From what a user asks of a fit (device, precision, steps) to the settings that backends take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dgmppl.backend import Device
from dgmppl.data import Batches
from dgmppl.errors import ArgumentError, RunError
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.options import ENGINES
from dgmppl.ir.program import Program
from dgmppl.ir.settings import Train
from dgmppl.objectives.derivation import Derivation
from dgmppl.runs.training import CHECKPOINT_SECONDS

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
        compile: fuse the operations of a training step.
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
    compile: bool = False

    def __post_init__(self) -> None:
        require_known(self.device, self.precision, self.threads)
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
        return Device(self.device, settings.precision, self.threads, self.data_bytes, self.compile)

    def answers_on(self, settings: Train) -> Device:
        """Where a fit is asked: where it was trained, but with nothing rounded to bfloat16."""
        return replace(self.on(settings), precision="float64" if settings.precision == "float64" else "float32")


def require_known(device: str, precision: str | None, threads: int | None) -> None:
    """Refuse a device, a precision or a number of threads that cannot be."""
    for value, known in ((device, DEVICES), (precision or "float32", PRECISIONS)):
        if value not in known:
            raise ArgumentError(f"{value!r} is none of {', '.join(known)}")
    if threads is not None and threads < 1:
        raise ArgumentError(f"computing takes at least one thread, not {threads}")


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

"""Early stopping: training ends when the held-out loss has not improved for `patience` looks at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Literal

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_PREFIX = "early_stopping/"


@dataclass(slots=True)
class EarlyStopping:
    """`early_stopping(patience=, every=)`: where it stands.

    Attributes:
        loss: the held-out loss per datum (nats) at given parameters.
        every: steps between two looks.
        patience: looks without improvement after which training stops.
        best: the lowest held-out loss so far.
        best_step: the step at which it was.
        parameters: those of that step, which are the result of the training.
        waited: looks since then.
    """

    loss: Callable[[Arrays], float]
    every: int = 100
    patience: int = 10
    best: float = math.inf
    best_step: int = 0
    parameters: dict[str, NDArray[Any]] = field(default_factory=dict)
    waited: int = 0

    @property
    def over(self) -> bool:
        """Whether training stops."""
        return self.waited >= self.patience

    def look(self, step: int, parameters: Arrays) -> float:
        """Evaluate the held-out loss and keep the parameters if it is the lowest."""
        value = self.loss(parameters)
        if value < self.best:
            self.best, self.best_step, self.parameters, self.waited = value, step, dict(parameters), 0
        else:
            self.waited += 1
        return value

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint holds of it."""
        numbers = {
            "best": np.float64(self.best),
            "best_step": np.int64(self.best_step),
            "waited": np.int64(self.waited),
        }
        kept = {f"{_PREFIX}parameters/{name}": value for name, value in self.parameters.items()}
        return {**{f"{_PREFIX}{name}": np.asarray(value) for name, value in numbers.items()}, **kept}

    def restore(self, state: Arrays) -> None:
        """Go on from `state()`.

        Raises:
            RunError: the state is that of a run without early stopping.
        """
        own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
        missing = {"best", "best_step", "waited"} - own.keys()
        if missing:
            raise RunError(f"the checkpoint says nothing of early stopping: it lacks {', '.join(sorted(missing))}")
        self.best, self.best_step, self.waited = float(own["best"]), int(own["best_step"]), int(own["waited"])
        kept = "parameters/"
        self.parameters = {name.removeprefix(kept): value for name, value in own.items() if name.startswith(kept)}


def early_stopping(call: Call, loss: Callable[[Arrays], float]) -> EarlyStopping:
    """The early stopping that a spec's call asks for."""

    def setting(name: str, default: int) -> int:
        value = call.keyword(name)
        return int(value.value) if isinstance(value, Literal) and isinstance(value.value, int | float) else default

    return EarlyStopping(loss, every=setting("every", 100), patience=setting("patience", 10))

"""What benchmarks of training steps share: a compiled spec with its data, and the emitted program in its own loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgmppl.backend import Device
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.data import load
from dgmppl.ir.parameters import initial_values

Values = dict[str, np.ndarray]


class Ours:
    """The emitted program in its own training loop."""

    def __init__(self, compiled: Compilation, values: Values, data: np.ndarray, rows: np.ndarray) -> None:
        self.rows, self.losses = rows, np.zeros(0)
        self.trainer = compiled.executable.trainer(
            values, {"x": data}, compiled.program.train, steps=10**6, seed=0, device=Device("cpu", "float32", 1)
        )

    def __call__(self) -> None:
        self.losses = np.asarray(self.trainer.advance(self.rows)["loss"])


def prepared(spec: dict[str, Any], backend: str, steps: int) -> tuple[Compilation, Values, np.ndarray, np.ndarray]:
    """The compilation, start values, the data of `x`, and the rows of each step."""
    compiled = compile_spec(spec, backend=backend)
    data = np.asarray(load(compiled.spec.data, seed=0).train.arrays["x"], dtype=np.float64)
    rows = np.random.default_rng(0).integers(0, len(data), (steps, compiled.program.train.batch_size))
    return compiled, initial_values(compiled.module.parameters, 0), data, rows

"""What benchmarks of training steps share: a compiled spec with its data, and the emitted program in its own loop."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from dgmppl.backend import Device
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.data import load
from dgmppl.ir.parameters import initial_values

Values = dict[str, np.ndarray]


class Ours:
    """The emitted program in its own training loop."""

    def __init__(
        self, compiled: Compilation, values: Values, data: np.ndarray, rows: np.ndarray, *, fused: bool = False
    ) -> None:
        """Fused: by `torch.compile`, as `fit --compile` does."""
        self.rows, self.losses = rows, np.zeros(0)
        self.warm_up = warm_up(compiled, len(rows))
        device = Device("cpu", "float32", 1, compiled=fused)
        self.trainer = compiled.executable.trainer(
            values, {"x": data}, compiled.program.train, steps=10**6, seed=0, device=device
        )

    def __call__(self) -> None:
        self.losses = np.asarray(self.trainer.advance(self.rows)["loss"])


def warm_up(compiled: Compilation, steps: int) -> int:
    """Blocks of so many steps until a run has settled: in torch, until every player's step has been recorded."""
    if compiled.backend != "pyro":
        return 1
    from dgmppl_pyro.losses import WORTH

    return 1 + math.ceil((WORTH + 2) * max(every for _, _, every in compiled.module.players) / steps)


def torch_network(compiled: Compilation, values: Values) -> Any:
    """The network `net` of a program for Pyro, a module of its own at given weights."""
    import torch

    tree = compiled.executable._program.tree  # type: ignore[attr-defined]
    return copy.deepcopy(tree.load(values, torch.float32, torch.device("cpu"))["net"])


def prepared(spec: dict[str, Any], backend: str, steps: int) -> tuple[Compilation, Values, np.ndarray, np.ndarray]:
    """The compilation, start values, the data of `x`, and the rows of each step."""
    compiled = compile_spec(spec, backend=backend)
    data = np.asarray(load(compiled.spec.data, seed=0).train.arrays["x"], dtype=np.float64)
    rows = np.random.default_rng(0).integers(0, len(data), (steps, compiled.program.train.batch_size))
    return compiled, initial_values(compiled.module.parameters, 0), data, rows

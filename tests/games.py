"""What tests of games share: two small specs, and a player's loss on both backends at the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgmppl.compiler import Compilation
from tests.support import both, noise_for, start

Spec = dict[str, Any]

DIVERGENCES = (
    "js", "kl", "reverse_kl", "total_variation", "pearson", "hellinger", "alpha(0.3)", "alpha(2.5)", "wasserstein",
    "least_squares", "hinge",
)  # fmt: skip

SMALL: Spec = {
    "dgmppl": 1,
    "name": "small",
    "data": {"x": {"shape": [2], "support": "real"}},
    "networks": {"make": "mlp([4], activation=tanh)", "judge": "mlp([4], activation=tanh)"},
    "model": {"z": "Normal(0, 1, shape=3)", "x": "make(z)"},
    "critics": {"x": "judge(x)"},
}

VAE: Spec = {
    "dgmppl": 1,
    "name": "vae",
    "data": {"x": {"shape": [3], "support": "real"}},
    "networks": {"encode": "mlp([4])", "decode": "mlp([4])", "judge": "mlp([4])"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "Normal(decode(z), 0.5)"},
    "guide": {"z": "Normal(**encode(x))"},
}


def rows_of(compiled: Compilation, rows: int, seed: int = 0) -> dict[str, Any]:
    """Values of every column in its support."""
    generator = np.random.default_rng(seed)
    columns = compiled.program.columns.items()
    return {
        name: generator.integers(column.support.states, size=(rows, *column.shape))
        if column.support is not None and column.support.states
        else generator.normal(size=(rows, *column.shape))
        for name, column in columns
    }


def losses(spec: Any, player: str, values: Any = None, batch: Any = None, rows: int = 6) -> list[Any]:
    """(loss, gradient, report) of a player on each backend, at the same parameters, data and noise."""
    compiled = both(spec)
    values = start(compiled["pyro"]) if values is None else values
    batch = rows_of(compiled["pyro"], rows) if batch is None else batch
    return [
        one.executable.loss(player, values, batch, noise=noise_of(one, player, rows), gradient=True)
        for one in compiled.values()
    ]


def linear(values: Any, name: str, *inputs: Any) -> Any:
    """A network without hidden layers, on inputs that are joined."""
    joined = np.concatenate([np.reshape(part, (len(part), -1)) for part in inputs], -1)
    return joined @ values[f"{name}.layers.0.weight"].T + values[f"{name}.layers.0.bias"]


def noise_of(compiled: Compilation, player: str, rows: int = 6) -> dict[str, Any]:
    """The random numbers of a player's loss that `losses` gives it."""
    function = compiled.module.function(f"loss_{player}")
    assert function is not None
    return noise_for(function, rows)

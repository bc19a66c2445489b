"""Emitted programs as programs of their library, with parameters and data: what tests of them start from."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from pyro import poutine

from dgmppl.compiler import compile_spec
from dgmppl.data import load
from tests.conformance.libraries import tensors
from tests.support import SPECS, start

ROWS, WIDTH = 12, 5


def bits(width: int = WIDTH) -> dict[str, Any]:
    """A small amortized model of binary data, which are integers."""
    generator = np.random.default_rng(3)
    return {
        "dgmppl": 1,
        "name": "bits",
        "data": {"dots": {"values": generator.integers(0, 2, (ROWS, width)).tolist(), "support": "binary"}},
        "networks": {"up": "mlp([6], activation=tanh)", "down": "mlp([6], activation=tanh)"},
        "model": {"code": "Normal(0, 1, shape=2)", "dots": "Bernoulli(logits=up(code))"},
        "guide": {"code": "Normal(**down(dots))"},
    }


class Run:
    """A spec compiled for a backend, with its programs at some parameters and its data.

    Attributes:
        values: parameters, float64.
        batch: the columns as the spec declares them, integers as integers.
        model, guide: the emitted programs.
        data: the columns as arrays of the library.
    """

    def __init__(self, spec: Any, backend: str, *, drop: tuple[str, ...] = ()) -> None:
        self.compiled = compile_spec(spec, backend=backend)
        self.values = start(self.compiled, 1)
        columns = load(self.compiled.spec.data, seed=0).train.arrays
        self.batch = {name: np.asarray(column) for name, column in columns.items() if name not in drop}
        self.model = self.compiled.executable.library_model(self.values)
        self.guide = self.compiled.executable.library_guide(self.values)
        jaxed = backend == "numpyro"
        self.data: dict[str, Any] = {n: jnp.asarray(c) for n, c in self.batch.items()} if jaxed else tensors(self.batch)


def canonical_run(name: str, backend: str, *, drop: tuple[str, ...] = ()) -> Run:
    """A canonical spec, with its own data but for some columns."""
    return Run(SPECS / f"{name}.yaml", backend, drop=drop)


def sites_of(backend: str, program: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The sample sites of a run: name -> (value, summed log density after scales and masks)."""
    if backend == "pyro":
        trace = poutine.trace(program).get_trace(**data)
        trace.compute_log_prob()
        kept = {name: node for name, node in trace.nodes.items() if node["type"] == "sample"}
        return {
            name: (node["value"], float(node["log_prob_sum"].detach()))
            for name, node in kept.items()
            if type(node["fn"]).__name__ != "_Subsample"
        }
    with handlers.seed(rng_seed=0):
        found = handlers.trace(program).get_trace(**data)
    result = {}
    for name, node in found.items():
        if node["type"] == "sample":
            density = node["fn"].log_prob(node["value"])
            scaled = density if node["scale"] is None else density * node["scale"]
            result[name] = node["value"], float(jnp.sum(scaled))
    return result

"""Finished runs for tests: small models at parameters moved off their start, saved without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import dgmppl as dg
from dgmppl.api import saving
from dgmppl.compiler import Compilation
from tests.support import Values, start

Spec = dict[str, Any]
ROWS, CODES, PIXELS = 6, 5, 9

VAE: Spec = {
    "dgmppl": 1,
    "name": "vae",
    "data": {"x": {"shape": [PIXELS], "support": "binary"}},
    "networks": {"encoder": "mlp([7])", "decoder": "mlp([7])"},
    "model": {"z": f"Normal(0, 1, shape={CODES})", "x": "Bernoulli(logits=decoder(z))"},
    "guide": {"z": "Normal(**encoder(x))"},
}
# `permute` is drawn by the canonical name of its step, which is another one inside of another model.
FLOW: Spec = {
    "dgmppl": 1,
    "name": "flow",
    "data": {"w": {"shape": [CODES], "support": "real"}},
    "bijectors": {"flow": "[coupling(mlp([4]), affine()), permute(), coupling(mlp([4]), affine()), actnorm()]"},
    "model": {"e": f"Normal(0, 1, shape={CODES})", "w": "flow(e)"},
}
MIXTURE: Spec = {
    "dgmppl": 1,
    "name": "mixture",
    "data": {"w": {"shape": [CODES], "support": "real"}},
    "parameters": {
        "pi": "learned(simplex(3))",
        "mu": f"learned(normal(3, {CODES}))",
        "sigma": f"learned(positive(3, {CODES}))",
    },
    "model": {"k": "Categorical(probs=pi)", "w": "Normal(mu[k], sigma[k])"},
}
MADE: Spec = {
    "dgmppl": 1,
    "name": "made",
    "data": {"w": {"shape": [PIXELS], "support": "binary"}},
    "networks": {"net": "made([12])"},
    "model": {"w[i]": "Bernoulli(logits=net(w[:i]))"},
}


def arrays(seed: int = 0) -> Values:
    """Data for the models above."""
    generator = np.random.default_rng(seed)
    return {
        "x": generator.integers(0, 2, (ROWS, PIXELS)),
        "w": generator.standard_normal((ROWS, CODES)),
    }


def frozen_of(compiled: Compilation) -> Values:
    """The parameters that a program holds at the values of finished runs."""
    return {name: np.asarray(value) for name, value in compiled.program.frozen.items()}


def finish(spec: Spec, folder: Path, monkeypatch: Any, backend: str = "numpyro", seed: int = 0) -> dg.Fit:
    """A finished run in a folder, in float64; nothing is trained, drawn or scored."""
    monkeypatch.setattr(saving, "write_results", lambda *_, **__: None)
    monkeypatch.setattr(saving, "held_out", lambda *_: {"split": "none", "rows": 0, "metrics": [], "why": "a test"})
    data = arrays()
    if spec is MADE:
        data["w"] = data["x"]
    given = {name: data[name] for name in spec["data"] if name in data}
    program = dg.compile(spec, backend=backend, bindings=given)
    fit = program.at(start(program.compiled, seed=seed) | frozen_of(program.compiled))
    fit.save(folder)
    return fit

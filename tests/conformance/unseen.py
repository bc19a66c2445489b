"""What the modules on specs in the corners of exact likelihoods share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dgmppl.compiler import Compilation
from tests.support import BACKENDS, Values, noise_for

Spec = dict[str, Any]


def spec(data: Mapping[str, Any], model: Mapping[str, str], **sections: Any) -> Spec:
    """A spec of series and vectors: name -> shape, or (shape, support)."""
    columns = {
        name: {"shape": list(shape[0]), "support": shape[1]} if isinstance(shape, tuple) else {"shape": shape}
        for name, shape in data.items()
    }
    columns = {name: {"support": "real", **column} for name, column in columns.items()}
    return {"dgmppl": 1, "name": "unseen", "data": columns, "model": dict(model), **sections}


def results(compiled: Mapping[str, Compilation], name: str, values: Values, batch: Values) -> list[Any]:
    """A function's result on both backends in float64."""
    found = [compiled[backend].executable.call(name, values, batch) for backend in BACKENDS]
    return [result.get("value", result) for result in found]


def gradients_agree(compiled: Mapping[str, Compilation], values: Values, batch: Values) -> None:
    """Both backends' gradients are the same, and reach every parameter."""
    function = compiled["pyro"].module.function("loss_model")
    assert function is not None
    noise = noise_for(function, len(next(iter(batch.values()))))
    slopes = [
        compiled[name].executable.loss("model", values, batch, noise=noise, gradient=True)[1] for name in BACKENDS
    ]
    for name in values:
        np.testing.assert_allclose(slopes[0][name], slopes[1][name], rtol=1e-8, atol=1e-9)
        assert np.abs(slopes[0][name]).max() > 0, name

"""Both backends' integrators of differential equations, called alike on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from dgmppl_numpyro import odes as jax_odes
from dgmppl_pyro import odes as torch_odes

BACKENDS = ("pyro", "numpyro")
METHODS = [("pyro", "rk4"), ("pyro", "dopri5"), ("numpyro", "rk4"), ("numpyro", "dopri5"), ("numpyro", "tsit5")]
TOLERANCE = 1e-7
MATRIX = np.array([[-0.3, 1.2, 0.1], [-1.0, -0.2, 0.4], [0.0, 0.3, 0.5]])


def odes(backend: str) -> Any:
    return torch_odes if backend == "pyro" else jax_odes


def array(backend: str, x: Any) -> Any:
    return torch.as_tensor(np.asarray(x)) if backend == "pyro" else jnp.asarray(x)


def prepared(backend: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one backend as one of NumPy arrays; compiled once in JAX."""
    function = function if backend == "pyro" else jax.jit(function)

    def call(*arguments: Any) -> Any:
        results = function(*(array(backend, x) for x in arguments))
        several = isinstance(results, tuple)
        found = [np.asarray(x.detach() if backend == "pyro" else x) for x in (results if several else (results,))]
        return tuple(found) if several else found[0]

    return call


def run(backend: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The same, called once."""
    return prepared(backend, function)(*arguments)


def sloped(backend: str, function: Callable[[Any], Any]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The value and the gradient of a scalar function."""
    if backend == "numpyro":
        return prepared(backend, jax.value_and_grad(function))

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        leaf = torch.tensor(x, requires_grad=True)
        value = function(leaf)
        return value.detach().numpy(), torch.autograd.grad(value, leaf)[0].numpy()

    return call


def rng() -> np.random.Generator:
    return np.random.default_rng(3)

"""Functions of both backends' runtimes, called alike: on NumPy arrays, compiled where the backend is JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

Arrays = tuple[np.ndarray, ...]


def call(backend: str, modules: tuple[Any, Any], name: str, *arguments: Any) -> Any:
    """A function of one backend on NumPy arrays, returning NumPy arrays."""
    if backend == "pyro":
        result = getattr(modules[0], name)(*(None if x is None else torch.as_tensor(x) for x in arguments))
        return tuple(x.numpy() for x in result) if isinstance(result, tuple) else result.numpy()
    result = jax.jit(getattr(modules[1], name))(*(None if x is None else jnp.asarray(x) for x in arguments))
    return tuple(map(np.asarray, result)) if isinstance(result, tuple) else np.asarray(result)


def gradients(backend: str, modules: tuple[Any, Any], name: str, *arguments: np.ndarray) -> Arrays:
    """Of the sum of a function's values, in every argument."""
    if backend == "pyro":
        leaves = [torch.tensor(x, requires_grad=True) for x in arguments]
        return tuple(x.numpy() for x in torch.autograd.grad(getattr(modules[0], name)(*leaves).sum(), leaves))
    places = tuple(range(len(arguments)))
    slopes = jax.grad(lambda *leaves: getattr(modules[1], name)(*leaves).sum(), places)
    return tuple(map(np.asarray, jax.jit(slopes)(*map(jnp.asarray, arguments))))

"""Modules of the user's own."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray


class Module(eqx.Module):  # type: ignore[misc]
    """A user's module that maps one datum [*shape].. to [outputs], for any number of batch axes.

    Attributes:
        module: the user's own, its arrays alone.
        rest: what else it holds.
    """

    inputs: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    module: Any
    rest: Any = eqx.field(static=True)

    def __init__(
        self, path: str, inputs: tuple[tuple[int, ...], ...], outputs: int, key: Array, **options: Any
    ) -> None:
        """Args: where the class stands, `pkg.module:Name`; its inputs' shapes; how many outputs; its options."""
        self.inputs = inputs
        self.module, self.rest = eqx.partition(imported(path)(inputs, outputs, key=key, **options), eqx.is_array)

    def __call__(self, *arguments: Array) -> Array:
        """One [.., *shape] for each input -> [.., outputs]."""
        pairs = list(zip(arguments, self.inputs, strict=True))
        batch = jnp.broadcast_shapes(*(x.shape[: x.ndim - len(shape)] for x, shape in pairs))
        flat = (jnp.broadcast_to(x, (*batch, *shape)).reshape(-1, *shape) for x, shape in pairs)
        return jax.vmap(eqx.combine(self.module, self.rest))(*flat).reshape(*batch, -1)


def imported(path: str) -> Any:
    """What `pkg.module:Name` names."""
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def arrays(
    path: str, inputs: tuple[tuple[int, ...], ...], outputs: int, options: Mapping[str, Any], seed: int
) -> dict[str, tuple[NDArray[np.float64], bool]]:
    """The arrays with which a class starts, by name, and whether they are trained."""
    module = imported(path)(inputs, outputs, key=jax.random.key(np.uint32(seed % 2**32)), **options)
    paths, _ = jax.tree.flatten_with_path(eqx.filter(module, eqx.is_array))
    named = {jax.tree_util.keystr(place, simple=True, separator="."): value for place, value in paths}
    return {name: (np.asarray(value, np.float64), eqx.is_inexact_array(value)) for name, value in named.items()}

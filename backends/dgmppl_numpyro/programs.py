"""Parts of emitted `model` and `guide`: ordinary NumPyro programs."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpyro
from jax.tree_util import GetAttrKey, SequenceKey


def random_module(name: str, module: Any, prior: Any) -> Any:
    """The module with every array drawn from a prior, at sites named `name.layers.0.weight`."""
    arrays, static = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(arrays)
    drawn = [
        numpyro.sample(f"{name}.{canonical(path)}", prior.expand(leaf.shape).to_event(leaf.ndim))
        for path, leaf in leaves
    ]
    return eqx.combine(jax.tree_util.tree_unflatten(structure, drawn), static)


def canonical(path: tuple[Any, ...]) -> str:
    """A pytree path as a dotted name: `layers.0.weight`."""
    words = []
    for key in path:
        match key:
            case GetAttrKey(name=name):
                words.append(name)
            case SequenceKey(idx=index):
                words.append(str(index))
            case _:
                words.append(str(key.key))
    return ".".join(words)

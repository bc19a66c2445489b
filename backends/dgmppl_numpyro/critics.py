"""Critics whose slope is bounded: spectral normalization (Miyato, Kataoka, Koyama and Yoshida 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

# A direction of a zero matrix stays finite.
_TINY = 1e-12


def spectral(network: eqx.Module, directions: Mapping[str, Array]) -> tuple[Callable[..., Array], dict[str, Array]]:
    """The network with each weight divided by an estimate of its largest singular value, and the estimates' directions.

    One step of power iteration per call, without gradient: v = W^T u / |W^T u|, u = W v / |W v|, sigma = u^T W v, in
    which W [out, in * kernel] is differentiated (Miyato et al. 2018, appendix A).

    Args:
        network: the critic's.
        directions: u [out] of each weight [out, ...] by its name, from the call before.
    """
    scaled: Any = network
    turned: dict[str, Array] = {}
    for name, direction in directions.items():
        weight = _leaf(network, name)
        scale, turned[name] = _largest(weight.reshape(len(weight), -1), direction)
        scaled = eqx.tree_at(lambda tree, name=name: _leaf(tree, name), scaled, weight / scale)
    return scaled, turned


def _leaf(tree: Any, name: str) -> Any:
    """The array of a network at a dotted path."""
    for part in name.split("."):
        tree = tree[int(part)] if part.isdigit() else getattr(tree, part)
    return tree


def _largest(matrix: Array, left: Array) -> tuple[Array, Array]:
    """The estimate of the largest singular value, and the left singular vector that it was made with."""
    held = jax.lax.stop_gradient(matrix)
    right = _unit(held.mT @ jax.lax.stop_gradient(left))
    left = _unit(held @ right)
    return left @ (matrix @ right) + _TINY, left


def _unit(vector: Array) -> Array:
    return vector / (jnp.sqrt(jnp.square(vector).sum()) + _TINY)

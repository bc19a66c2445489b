"""Residual perceptrons: h + second(activation(first(norm(h)))), layer norms first (He et al. 2016)."""

from __future__ import annotations

import equinox as eqx
import jax
from jax import Array

from dgmppl_numpyro.activations import ACTIVATIONS
from dgmppl_numpyro.networks import LayerNorm, Linear


class ResidualBlock(eqx.Module):  # type: ignore[misc]
    """One block, [.., width] -> [.., width]."""

    activation: str = eqx.field(static=True)
    norm: LayerNorm
    first: Linear
    second: Linear

    def __init__(self, width: int, activation: str, key: Array) -> None:
        keys = jax.random.split(key)
        self.activation = activation
        self.norm = LayerNorm(width)
        self.first = Linear(width, width, keys[0])
        self.second = Linear(width, width, keys[1])

    def __call__(self, x: Array) -> Array:
        """[.., width] -> [.., width]."""
        return x + self.second(ACTIVATIONS[self.activation](self.first(self.norm(x))))


class ResidualMLP(eqx.Module):  # type: ignore[misc]
    """An affine map to `width`, blocks and a layer norm: [.., inputs] -> [.., width]."""

    first: Linear
    blocks: list[ResidualBlock]
    norm: LayerNorm

    def __init__(self, inputs: int, key: Array, *, layers: int, width: int, activation: str) -> None:
        keys = jax.random.split(key, layers + 1)
        self.first = Linear(inputs, width, keys[0])
        self.blocks = [ResidualBlock(width, activation, key) for key in keys[1:]]
        self.norm = LayerNorm(width)

    def __call__(self, x: Array) -> Array:
        """[.., inputs] -> [.., width]."""
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

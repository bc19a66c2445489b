"""Modules of a user's own: a gated layer, as torch and as equinox have it."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from torch import Tensor, nn

Shapes = tuple[tuple[int, ...], ...]


class TorchGate(nn.Module):
    """W sigmoid(V x), x all inputs flattened and joined."""

    def __init__(self, inputs: Shapes, outputs: int, width: int = 5) -> None:
        super().__init__()
        self.enter = nn.Linear(sum(map(math.prod, inputs)), width)
        self.leave = nn.Linear(width, outputs)

    def forward(self, *parts: Tensor) -> Tensor:
        return self.leave(torch.sigmoid(self.enter(torch.cat([part.flatten(1) for part in parts], -1))))


class JaxGate(eqx.Module):
    """The same for one datum; `activation` is a leaf that is no array."""

    enter: eqx.nn.Linear
    leave: eqx.nn.Linear
    activation: object

    def __init__(self, inputs: Shapes, outputs: int, width: int = 5, *, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.enter = eqx.nn.Linear(sum(map(math.prod, inputs)), width, key=first)
        self.leave = eqx.nn.Linear(width, outputs, key=second)
        self.activation = jax.nn.sigmoid

    def __call__(self, *parts: jax.Array) -> jax.Array:
        return self.leave(self.activation(self.enter(jnp.concatenate([part.reshape(-1) for part in parts]))))


class JaxOther(JaxGate):
    """Another shape of an array under the same name."""

    def __init__(self, inputs: Shapes, outputs: int, width: int = 5, *, key: jax.Array) -> None:
        super().__init__(inputs, outputs, width + 1, key=key)


NOT_A_MODULE = 3

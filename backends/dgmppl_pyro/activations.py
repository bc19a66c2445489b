"""Activations by their names in specs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmppl_pyro.operations import softplus


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), with the exact normal distribution function (Hendrycks and Gimpel 2016)."""
    return F.gelu(x, approximate="none")


def leaky_relu(x: Tensor) -> Tensor:
    """x where it is positive, else x / 100."""
    return F.leaky_relu(x, 0.01)


ACTIVATIONS = dict[str, Callable[[Tensor], Tensor]](
    relu=F.relu, tanh=torch.tanh, silu=F.silu, gelu=gelu, elu=F.elu,
    softplus=softplus, leaky_relu=leaky_relu, sigmoid=torch.sigmoid,
)  # fmt: skip

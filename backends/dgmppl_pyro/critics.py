"""Critics whose slope is bounded: spectral normalization (Miyato, Kataoka, Koyama and Yoshida 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

# A direction of a zero matrix stays finite.
_TINY = 1e-12


def spectral(network: nn.Module, directions: Mapping[str, Tensor]) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
    """The network with each weight divided by an estimate of its largest singular value, and the estimates' directions.

    One step of power iteration per call, without gradient: v = W^T u / |W^T u|, u = W v / |W v|, sigma = u^T W v, in
    which W [out, in * kernel] is differentiated (Miyato et al. 2018, appendix A).

    Args:
        network: the critic's.
        directions: u [out] of each weight [out, ...] by its name, from the call before.
    """
    weights = dict(network.named_parameters())
    scaled: dict[str, Tensor] = {}
    turned: dict[str, Tensor] = {}
    for name, direction in directions.items():
        scale, turned[name] = _largest(weights[name].flatten(1), direction)
        scaled[name] = weights[name] / scale
    return lambda *inputs: torch.func.functional_call(network, scaled, inputs), turned


def _largest(matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate of the largest singular value, and the left singular vector that it was made with."""
    held = matrix.detach()
    right = _unit(held.mT @ left.detach())
    left = _unit(held @ right)
    return left @ (matrix @ right) + _TINY, left


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum().sqrt() + _TINY)

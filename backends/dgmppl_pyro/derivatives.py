"""Derivatives of a density's logarithm (or of an energy, or a critic) by its argument."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Scalar = Callable[[Tensor], Tensor]


def gradient(function: Scalar, x: Tensor, rank: int) -> Tensor:
    """d f / d x at each of a batch of points, shaped like x; itself differentiable by parameters.

    Args:
        function: x [.., *event] -> [..]; no number depends on another event.
        x: the points.
        rank: axes of an event.
    """
    del rank
    kept = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        value = function(point).sum()
        if not value.requires_grad:
            return torch.zeros_like(x)
        (slope,) = torch.autograd.grad(value, point, create_graph=kept, materialize_grads=True)
    return slope


def directional(function: Scalar, x: Tensor, v: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """v . grad f and v^T Hessian v, one number per event (Song et al. 2020, Sliced score matching).

    v may have further axes on the left: several directions at each point.
    """
    x = x.expand(v.shape).contiguous()
    first, second = torch.func.jvp(torch.func.grad(lambda point: function(point).sum()), (x,), (v,))
    if rank == 0:
        return v * first, v * second
    axes = tuple(range(-rank, 0))
    return (v * first).sum(axes), (v * second).sum(axes)


def laplacian(function: Scalar, x: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """grad f, shaped like x, and the trace of the Hessian, one number per event: one pass per element."""
    size = x[(0,) * (x.ndim - rank)].numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *x.shape[x.ndim - rank :])

    def along(direction: Tensor) -> Tensor:
        return directional(function, x, direction.expand(x.shape), rank)[1]

    return gradient(function, x, rank), torch.func.vmap(along)(basis).sum(0)

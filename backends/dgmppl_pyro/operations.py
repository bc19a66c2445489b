"""Primitives of emitted functions that torch has no single call for.

Values are laid out `[batch..., *event]`; whatever is indexed counts from the right, so that more batch axes may stand
on the left. `like` is a tensor whose dtype and device new tensors take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix [.., i, j] times vector [.., j]: [.., i]."""
    if matrix.ndim == 2:
        return vector @ matrix.T
    return (matrix @ vector[..., None])[..., 0]


def vecmat(vector: Tensor, matrix: Tensor) -> Tensor:
    """Vector [.., i] times matrix [.., i, j]: [.., j]."""
    if matrix.ndim == 2:
        return vector @ matrix
    return (vector[..., None, :] @ matrix)[..., 0, :]


def dot(x: Tensor, y: Tensor) -> Tensor:
    """sum_i x_i y_i over the last axis."""
    return (x * y).sum(-1)


def diag(x: Tensor) -> Tensor:
    """Diagonal matrices [.., n, n] of vectors [.., n]."""
    return torch.diag_embed(x)


def broadcast(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The last axes broadcast to `shape`."""
    return x.expand(torch.broadcast_shapes(x.shape, shape))


def flatten(x: Tensor, rank: int) -> Tensor:
    """The last `rank` axes as one."""
    return x.reshape(*x.shape[: x.ndim - rank], math.prod(x.shape[x.ndim - rank :]))


def concatenate(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Parts joined along `axis` (negative), the axes left of it broadcast against each other."""
    batch = torch.broadcast_shapes(*(part.shape[:axis] for part in parts))
    return torch.cat([part.expand(batch + part.shape[axis:]) for part in parts], axis)


def stack(parts: Sequence[Tensor | float], axis: int) -> Tensor:
    """Parts broadcast against each other and joined along a new axis that becomes `axis` (negative)."""
    like = next(part for part in parts if isinstance(part, Tensor))
    arrays = [part if isinstance(part, Tensor) else like.new_full((), part) for part in parts]
    return torch.stack(torch.broadcast_tensors(*arrays), axis)


def stack_broadcast(parts: Sequence[Tensor]) -> Tensor:
    """Parts broadcast against each other, on a new last axis."""
    return torch.stack(torch.broadcast_tensors(*parts), -1)


def permute(x: Tensor, order: tuple[int, ...], axis: int) -> Tensor:
    """The elements along `axis` (negative) in another order."""
    return x.index_select(axis, torch.tensor(order, device=x.device))


def choose(x: Tensor, index: Tensor) -> Tensor:
    """x[..., index] by an integer for each of the axes left of the last: [.., K], [..] -> [..]."""
    shape = torch.broadcast_shapes(x.shape[:-1], index.shape)
    places = index.expand(shape)[..., None]
    return x.expand(*shape, x.shape[-1]).gather(-1, places)[..., 0]


def inverse(x: Tensor) -> Tensor:
    """The inverse of a positive definite matrix."""
    return torch.linalg.inv(x)


def take(table: Tensor, index: Tensor, rank: int) -> Tensor:
    """Elements of tables [batch.., n, *rest] at indices [batch..]: [batch.., *rest]; `rank` is 1 + the rank of rest."""
    places = index.long().reshape(index.shape + (1,) * rank)
    missing = places.ndim - table.ndim
    table = table.reshape((1,) * max(missing, 0) + table.shape)
    places = places.reshape((1,) * max(-missing, 0) + places.shape)
    return torch.take_along_dim(table, places, dim=-rank).squeeze(-rank)


def filled(x: Tensor, observed: Tensor, entries: Tensor) -> Tensor:
    """x where it is observed; its gaps take `entries` [M], one after the other in row-major order."""
    places = (~observed).flatten().cumsum(0).view(observed.shape) - 1
    return torch.where(observed, x, entries[places])


def one_hot(x: Tensor, size: int, like: Tensor) -> Tensor:
    """Indicator vectors [.., size] of integers."""
    return (x[..., None] == torch.arange(size, device=x.device)).to(like.dtype)


def arange(size: int, trailing: int, like: Tensor) -> Tensor:
    """0, ..., size - 1 followed by `trailing` axes of size one."""
    return torch.arange(size, device=like.device).reshape((size,) + (1,) * trailing)


def states(size: int, shape: tuple[int, ...], trailing: int, like: Tensor) -> Tensor:
    """All values of an event of `shape` whose elements take `size` values: [size ** n, 1 * trailing, *shape]."""
    count = math.prod(shape)
    powers = size ** torch.arange(count - 1, -1, -1, device=like.device)
    table = torch.arange(size**count, device=like.device)[:, None] // powers % size
    return table.reshape((size**count,) + (1,) * trailing + shape)


def joint_states(sizes: tuple[int, ...], trailing: int, like: Tensor) -> Tensor:
    """All values of elements that take `sizes` values each, the last fastest: [number, 1 * trailing, elements]."""
    table = torch.cartesian_prod(*(torch.arange(size, device=like.device) for size in sizes))
    return table.reshape((math.prod(sizes),) + (1,) * trailing + (len(sizes),))


def simplex_points(size: int, trailing: int, like: Tensor) -> Tensor:
    """The origin, then each unit vector: [size + 1, 1 * trailing, size]."""
    eye = torch.eye(size, dtype=like.dtype, device=like.device)
    return torch.cat([like.new_zeros(1, size), eye]).reshape((size + 1,) + (1,) * trailing + (size,))


class ScaledGradient(torch.autograd.Function):  # type: ignore[misc]
    """The identity whose cotangent is multiplied by a given factor."""

    @staticmethod
    def forward(context: Any, x: Tensor, scale: Tensor) -> Tensor:
        """x, broadcast against the factor."""
        context.save_for_backward(scale)
        context.shape = x.shape
        return x.expand(torch.broadcast_shapes(x.shape, scale.shape)).clone()

    @staticmethod
    def backward(context: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        """The cotangent times the factor."""
        (scale,) = context.saved_tensors
        return (cotangent * scale).sum_to_size(context.shape), None


def scale_gradient(x: Tensor, scale: Tensor) -> Tensor:
    """x; its cotangent is multiplied by `scale`, which gets none."""
    result: Tensor = ScaledGradient.apply(x, scale)
    return result


def logmeanexp(x: Tensor) -> Tensor:
    """log (1/K) sum_k exp(x_k) over the leftmost axis."""
    return torch.logsumexp(x, 0) - math.log(x.shape[0])


def leave_one_out(x: Tensor) -> Tensor:
    """x_k - mean_{j != k} x_j along the leftmost axis, K >= 2."""
    count = x.shape[0]
    return (x - x.mean(0)) * (count / (count - 1))


def vimco(x: Tensor) -> Tensor:
    """log (1/K) sum_j exp(y_j) with y_k = mean_{j != k} x_j and y_j = x_j elsewhere, one for each k; K >= 2.

    The baselines of Mnih and Rezende (2016): x are log-weights over the leftmost axis.
    """
    count = x.shape[0]
    others = (x.sum(0) - x) / (count - 1)
    eye = torch.eye(count, dtype=torch.bool, device=x.device).reshape((count, count) + (1,) * (x.ndim - 1))
    return torch.logsumexp(torch.where(eye, others[:, None], x[None]), 1) - math.log(count)


def linear_schedule(step: int | Tensor, start: float, end: float, steps: int) -> Any:
    """From `start` at step 0 linearly to `end` at `steps`, constant afterwards; a tensor where the step is one."""
    passed = step / steps
    return start + (end - start) * (passed.clamp(max=1.0) if isinstance(passed, Tensor) else min(passed, 1.0))


def clip(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """x forced into [low, high]."""
    return minimum(maximum(x, low), high)


def maximum(x: Tensor | float, y: Tensor | float) -> Tensor:
    """The larger of the two."""
    if isinstance(x, Tensor):
        return torch.maximum(x, y) if isinstance(y, Tensor) else x.clamp(min=y)
    assert isinstance(y, Tensor)
    return y.clamp(min=x)


def minimum(x: Tensor | float, y: Tensor | float) -> Tensor:
    """The smaller of the two."""
    if isinstance(x, Tensor):
        return torch.minimum(x, y) if isinstance(y, Tensor) else x.clamp(max=y)
    assert isinstance(y, Tensor)
    return y.clamp(max=x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), exact to rounding for every x: torch's own threshold of 20 is 2e-9 off."""
    return F.softplus(x, threshold=40.0)


def only_backward() -> bool:
    """Whether eager reverse-mode differentiation is all that may happen to an operation: a hand-written one may run."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def cholesky(matrix: Tensor) -> Tensor:
    """The lower triangular L with L L^T = matrix [.., n, n]; NaN where it is not positive definite to rounding."""
    root, failed = torch.linalg.cholesky_ex(matrix)
    return torch.where(failed[..., None, None] == 0, root, math.nan)


def rbf(x: Tensor, rank: int) -> Tensor:
    """exp(-|x_i - x_j|^2 / 2) [.., n, n] of points [.., n] (rank 1) or [.., n, d] (rank 2)."""
    points = x[..., None] if rank == 1 else x
    gaps = points[..., :, None, :] - points[..., None, :, :]
    return torch.exp(-0.5 * (gaps * gaps).sum(-1))


def precision_root(precision: Tensor) -> Tensor:
    """The lower Cholesky factor of a precision matrix's inverse."""
    upper = torch.linalg.cholesky(precision.flip((-2, -1))).flip((-2, -1)).mT
    identity = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(upper, identity, upper=False)


def checked(x: Tensor, support: str) -> Tensor:
    """x where it lies in the support, NaN elsewhere: the run's check of finite values then stops there."""
    return torch.where(INSIDE[support](x), x, math.nan)


# Sums and products of single precision are this far from what they stand for.
_CLOSE = 1e-4


def _rises(x: Tensor) -> Tensor:
    return (x.diff(dim=-1) > 0).all(-1)[..., None]


def _sums_to_one(x: Tensor) -> Tensor:
    return ((x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < _CLOSE))[..., None] if x.ndim else x == 1


def _is_factor(x: Tensor) -> Tensor:
    upper = (x.triu(1) == 0).flatten(-2).all(-1)
    return (upper & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1))[..., None, None]


def _has_unit_rows(x: Tensor) -> Tensor:
    return (((x**2).sum(-1) - 1).abs() < _CLOSE).all(-1)[..., None, None]


def _is_definite(x: Tensor) -> Tensor:
    even = ((x - x.mT).abs() <= _CLOSE * (1 + x.abs())).flatten(-2).all(-1)
    return (even & (torch.linalg.cholesky_ex(x).info == 0))[..., None, None]


def _is_orthogonal(x: Tensor) -> Tensor:
    return (
        ((x.mT @ x - torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)).abs() < _CLOSE)
        .flatten(-2)
        .all(-1)[..., None, None]
    )


INSIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "real": torch.isfinite,
    "positive": lambda x: x > 0,
    "nonnegative": lambda x: x >= 0,
    "unit": lambda x: (x >= 0) & (x <= 1),
    "circular": lambda x: x.abs() <= math.pi,
    "binary": lambda x: (x == 0) | (x == 1),
    "count": lambda x: (x >= 0) & (x == x.floor()),
    "integer": lambda x: x == x.floor(),
    "simplex": _sums_to_one,
    "ordered": _rises,
    "positive_ordered": lambda x: _rises(x) & (x[..., :1] > 0),
    "cholesky": _is_factor,
    "correlation_cholesky": lambda x: _is_factor(x) & _has_unit_rows(x),
    "positive_definite": _is_definite,
    "orthogonal": _is_orthogonal,
}

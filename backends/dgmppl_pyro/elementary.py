"""Functions of arrays or Python numbers, on which the densities are built."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

Real: TypeAlias = "Tensor | float"


def log(x: Real) -> Any:
    """Natural logarithm."""
    return torch.log(x) if isinstance(x, Tensor) else math.log(x)


def exp(x: Real) -> Any:
    """e^x."""
    return torch.exp(x) if isinstance(x, Tensor) else math.exp(x)


def lgamma(x: Real) -> Any:
    """log Gamma(x)."""
    return torch.lgamma(x) if isinstance(x, Tensor) else math.lgamma(x)


def digamma(x: Real) -> Any:
    """The derivative of log Gamma."""
    return torch.digamma(x) if isinstance(x, Tensor) else _of_number(torch.digamma, x)


def log_bessel(x: Real) -> Any:
    """log I_0(x), x >= 0."""
    return torch.log(torch.special.i0e(x)) + x if isinstance(x, Tensor) else _of_number(log_bessel, x)


def _of_number(function: Callable[[Tensor], Tensor], x: float) -> float:
    return float(function(torch.tensor(x, dtype=torch.float64)))


def log_beta(a: Real, b: Real) -> Real:
    """log B(a, b)."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def real_of(x: Real, like: Real) -> Tensor:
    """x as a real tensor of the dtype of `like`, where that is one."""
    if not isinstance(x, Tensor):
        assert isinstance(like, Tensor)
        return like.new_full((), x)
    if isinstance(like, Tensor):
        return x.to(like.dtype) if like.dtype.is_floating_point else x
    return x if x.dtype.is_floating_point else x.to(torch.get_default_dtype())


def real_pair(x: Real, y: Real) -> tuple[Tensor, Tensor]:
    """Both as real tensors of one dtype."""
    x = real_of(x, y)
    return x, real_of(y, x)


def xlogy(x: Real, y: Real, like: Real) -> Tensor:
    """x log y, 0 where x = 0; `like` is a tensor among them."""
    like = like if isinstance(like, Tensor) else x if isinstance(x, Tensor) else y
    return torch.xlogy(real_of(x, _real_like(like, y)), real_of(y, _real_like(like, x)))


def xlog1py(x: Real, y: Real, like: Real) -> Tensor:
    """x log(1 + y), 0 where x = 0; `like` is a tensor among them."""
    like = like if isinstance(like, Tensor) else x if isinstance(x, Tensor) else y
    return torch.special.xlog1py(real_of(x, _real_like(like, y)), real_of(y, _real_like(like, x)))


def _real_like(like: Real, other: Real) -> Real:
    """Whichever of the two is a real tensor."""
    return other if isinstance(other, Tensor) and other.dtype.is_floating_point else like


def log_choose(n: Real, k: Tensor, like: Tensor) -> Tensor:
    """log of the binomial coefficient n over k."""
    k = real_of(k, like)
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)


def log1mexp(x: Real, like: Tensor) -> Tensor:
    """log(1 - e^-x) for x > 0."""
    x = real_of(x, like)
    return torch.where(x < math.log(2.0), torch.log(-torch.expm1(-x)), torch.log1p(-torch.exp(-x)))


def log_softmax(logits: Tensor) -> Tensor:
    """logits - logsumexp(logits) over the last axis."""
    return torch.log_softmax(logits, -1)


def pick(table: Tensor, index: Tensor) -> Tensor:
    """table[..., index] along the last axis, batch axes broadcast."""
    index = index.long()
    if table.ndim == 1:
        return table[index]
    shape = torch.broadcast_shapes(table.shape[:-1], index.shape)
    table, index = table.expand(shape + table.shape[-1:]), index.expand(shape)
    return table.gather(-1, index[..., None]).squeeze(-1)


def identity(like: Tensor) -> Tensor:
    """The identity matrix whose size is the last axis of `like`."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def log_diagonal(root: Tensor) -> Tensor:
    """Sum of the logarithms of a triangular matrix's diagonal: half the log-determinant of L L^T."""
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def solve_lower(root: Tensor, x: Tensor) -> Tensor:
    """L^-1 x over the last axis."""
    return solve_lower_matrix(root, x[..., None])[..., 0]


def solve_lower_matrix(root: Tensor, x: Tensor) -> Tensor:
    """L^-1 X for matrices, batch axes broadcast."""
    return torch.linalg.solve_triangular(root, x, upper=False)

"""Parts of emitted networks."""

from __future__ import annotations

import torch
from torch import Tensor

from dgmppl_pyro.operations import diag, softplus


def positive(x: Tensor) -> Tensor:
    """softplus(x) + 1e-6: a head on the positive reals, away from zero."""
    return softplus(x) + 1e-6


def scale_tril(x: Tensor) -> Tensor:
    """A lower triangular matrix with a positive diagonal from any square one [.., n, n]."""
    diagonal = x.diagonal(dim1=-2, dim2=-1)
    return torch.tril(x, -1) + diag(positive(diagonal))

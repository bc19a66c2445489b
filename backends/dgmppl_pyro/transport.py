"""Pairing of two batches by optimal transport."""

from __future__ import annotations

import torch
from torch import Tensor

from dgmppl.backend import loaded_libraries_alone

with loaded_libraries_alone():
    import ot


def coupled(x: Tensor, y: Tensor) -> Tensor:
    """The rows of x in the order in which the plan of least squared distance pairs them with the rows of y.

    Between two batches of one size with equal weights some optimal plan is a permutation (Birkhoff); POT's network
    simplex finds one on the host.
    """
    with torch.no_grad():
        cost = torch.cdist(y.reshape(len(y), -1), x.expand(y.shape).reshape(len(y), -1)).square()
        plan = ot.emd([], [], cost.double().cpu().numpy())
    return x.expand(y.shape)[torch.from_numpy(plan.argmax(1)).to(x.device)]

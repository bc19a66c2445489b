"""Modules of the user's own."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Module(nn.Module):  # type: ignore[misc]
    """A user's module that maps batches [N, *shape].. to [N, outputs], for any number of batch axes.

    Attributes:
        module: the user's own.
    """

    def __init__(self, path: str, inputs: tuple[tuple[int, ...], ...], outputs: int, **options: Any) -> None:
        """Args: where the class stands, `pkg.module:Name`; its inputs' shapes; how many outputs; its options."""
        super().__init__()
        self.inputs = inputs
        self.module = imported(path)(inputs, outputs, **options)

    def forward(self, *arguments: Tensor) -> Tensor:
        """One [.., *shape] for each input -> [.., outputs]."""
        pairs = list(zip(arguments, self.inputs, strict=True))
        batch = torch.broadcast_shapes(*(x.shape[: x.ndim - len(shape)] for x, shape in pairs))
        flat = (x.expand(*batch, *shape).reshape(-1, *shape) for x, shape in pairs)
        return self.module(*flat).reshape(*batch, -1)


def imported(path: str) -> Any:
    """What `pkg.module:Name` names."""
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def arrays(
    path: str, inputs: tuple[tuple[int, ...], ...], outputs: int, options: Mapping[str, Any], seed: int
) -> dict[str, tuple[NDArray[np.float64], bool]]:
    """The arrays with which a class starts, by name, and whether they are trained; torch's own generator stays put."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = imported(path)(inputs, outputs, **options)
    learned = {name for name, _ in module.named_parameters()}
    state = module.state_dict().items()
    return {name: (value.detach().cpu().double().numpy(), name in learned) for name, value in state}

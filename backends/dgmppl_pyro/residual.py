"""Residual perceptrons: h + second(activation(first(norm(h)))), layer norms first (He et al. 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from dgmppl_pyro.activations import ACTIVATIONS


class ResidualBlock(nn.Module):  # type: ignore[misc]
    """One block, [.., width] -> [.., width]."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[.., width] -> [.., width]."""
        return x + self.second(self.activation(self.first(self.norm(x))))


class ResidualMLP(nn.Module):  # type: ignore[misc]
    """An affine map to `width`, blocks and a layer norm: [.., inputs] -> [.., width]."""

    def __init__(self, inputs: int, *, layers: int, width: int, activation: str) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList([ResidualBlock(width, activation) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """[.., inputs] -> [.., width]."""
        h = self.first(x)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

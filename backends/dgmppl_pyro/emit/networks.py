"""Networks as torch classes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.networks import NetworkPrinter


class TorchNetworks(NetworkPrinter):
    """Networks as `nn.Module` classes."""

    backend = "pyro"
    activations: ClassVar[Mapping[str, str]] = {
        "relu": "F.relu({})", "tanh": "torch.tanh({})", "silu": "F.silu({})",
        "gelu": 'F.gelu({}, approximate="none")', "elu": "F.elu({})", "softplus": "operations.softplus({})",
        "leaky_relu": "F.leaky_relu({}, 0.01)", "sigmoid": "torch.sigmoid({})",
    }  # fmt: skip
    heads: ClassVar[Mapping[str, str]] = {
        "real": "{}", "circular": "{}", "positive": "networks.positive({})", "nonnegative": "networks.positive({})",
        "unit": "torch.sigmoid({})", "simplex": "torch.softmax({}, -1)", "cholesky": "networks.scale_tril({})",
        "ordered": "constraints.ordered({})", "positive_ordered": "constraints.positive_ordered({})",
    }  # fmt: skip

    def head(self, name: str, widths: list[int], doc: str) -> list[str]:
        """The class's first lines: its name, docstring and layers."""
        pairs = list(pairwise(widths))
        layers = ", ".join(f"nn.Linear({a}, {b})" for a, b in pairs)
        return [
            f"class {name}(nn.Module):",
            *docstring(doc, 1),
            "",
            "    def __init__(self):",
            "        super().__init__()",
            *wrap(f"self.layers = nn.ModuleList([{layers}])", 2),
        ]

    def signature(self, arguments: list[str]) -> str:
        """The line that opens the method which applies the network."""
        return f"def forward(self, {', '.join(arguments)}):"

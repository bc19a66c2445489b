"""Networks as torch classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.networks import Layer, Method, NetworkPrinter


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
    constructors: ClassVar[Mapping[str, str]] = {"networks.Linear": "nn.Linear"}

    def opening(self, name: str, doc: str, parts: Mapping[str, Layer | tuple[Layer, ...]]) -> list[str]:
        """The class's first lines: its name, docstring and parts."""
        return [
            f"class {name}(nn.Module):",
            *docstring(doc, 1),
            "",
            "    def __init__(self):",
            "        super().__init__()",
            *(line for attribute, part in parts.items() for line in wrap(f"self.{attribute} = {self._part(part)}", 2)),
        ]

    def _part(self, part: Layer | tuple[Layer, ...]) -> str:
        if isinstance(part, Layer):
            return self.constructed(part)
        return f"nn.ModuleList([{', '.join(map(self.constructed, part))}])"

    def signature(self, method: Method) -> str:
        """The line that opens a method."""
        name = "forward" if method.name == "call" else method.name
        return f"def {name}({', '.join(('self', *method.arguments))}):"

"""Networks as equinox classes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.networks import NetworkPrinter


class EquinoxNetworks(NetworkPrinter):
    """Networks as equinox classes: pytrees of arrays with torch's names and layouts."""

    backend = "numpyro"
    activations: ClassVar[Mapping[str, str]] = {
        "relu": "jax.nn.relu({})", "tanh": "jnp.tanh({})", "silu": "jax.nn.silu({})",
        "gelu": "jax.nn.gelu({}, approximate=False)", "elu": "jax.nn.elu({})", "softplus": "operations.softplus({})",
        "leaky_relu": "jax.nn.leaky_relu({}, 0.01)", "sigmoid": "jax.nn.sigmoid({})",
    }  # fmt: skip
    heads: ClassVar[Mapping[str, str]] = {
        "real": "{}", "circular": "{}", "positive": "networks.positive({})", "nonnegative": "networks.positive({})",
        "unit": "jax.nn.sigmoid({})", "simplex": "jax.nn.softmax({}, -1)", "cholesky": "networks.scale_tril({})",
        "ordered": "constraints.ordered({})", "positive_ordered": "constraints.positive_ordered({})",
    }  # fmt: skip

    def head(self, name: str, widths: list[int], doc: str) -> list[str]:
        """The class's first lines: its name, docstring and layers."""
        pairs = list(pairwise(widths))
        layers = ", ".join(f"networks.Linear({a}, {b}, keys[{i}])" for i, (a, b) in enumerate(pairs))
        return [
            f"class {name}(eqx.Module):",
            *docstring(doc, 1),
            "",
            "    layers: list[networks.Linear]",
            "",
            "    def __init__(self, key=None):",
            f"        keys = jax.random.split(jax.random.key(0) if key is None else key, {len(pairs)})",
            *wrap(f"self.layers = [{layers}]", 2),
        ]

    def signature(self, arguments: list[str]) -> str:
        """The line that opens the method which applies the network."""
        return f"def __call__(self, {', '.join(arguments)}):"

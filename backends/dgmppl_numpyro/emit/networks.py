"""Networks as equinox classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl.ir.emission.networks import Layer, Method, NetworkPrinter


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

    def opening(self, name: str, doc: str, parts: Mapping[str, Layer | tuple[Layer, ...]]) -> list[str]:
        """The class's first lines: its name, docstring and parts."""
        layers = [layer for part in parts.values() for layer in ((part,) if isinstance(part, Layer) else part)]
        count = sum(layer.random for layer in layers)
        keys = (f"keys[{number}]" for number in range(count))
        texts = {attribute: self._part(part, keys) for attribute, part in parts.items()}
        return [
            f"class {name}(eqx.Module):",
            *docstring(doc, 1),
            "",
            *(f"    {attribute}: {_annotation(part)}" for attribute, part in parts.items()),
            "",
            "    def __init__(self, key=None):",
            f"        keys = jax.random.split(jax.random.key(0) if key is None else key, {count})",
            *(line for attribute, text in texts.items() for line in wrap(f"self.{attribute} = {text}", 2)),
        ]

    def _part(self, part: Layer | tuple[Layer, ...], keys: Iterator[str]) -> str:
        if isinstance(part, Layer):
            return self.constructed(part, next(keys) if part.random else "")
        return f"[{', '.join(self.constructed(layer, next(keys) if layer.random else '') for layer in part)}]"

    def signature(self, method: Method) -> str:
        """The line that opens a method."""
        name = "__call__" if method.name == "call" else method.name
        return f"def {name}({', '.join(('self', *method.arguments))}):"


def _annotation(part: Layer | tuple[Layer, ...]) -> str:
    if isinstance(part, Layer):
        return part.constructor
    kinds = {layer.constructor for layer in part}
    return f"list[{kinds.pop()}]" if len(kinds) == 1 else "list"

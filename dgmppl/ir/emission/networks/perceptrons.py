"""Classes of `linear` and `mlp`: inputs flattened and concatenated, then layers with an activation between them."""

from __future__ import annotations

from itertools import pairwise

from dgmppl.ir.emission.networks.core import (
    ClassBody,
    Layer,
    Method,
    NetworkPrinter,
    Printer,
    argument_names,
    entering,
    time_part,
)
from dgmppl.ir.networks import Network


def perceptron(network: Network, printer: NetworkPrinter) -> ClassBody:
    """y = W_n s(... s(W_1 x + b_1) ...) + b_n with the activation s."""
    widths = (network.in_features, *network.sizes("hidden"), network.out_features)
    layers = tuple(Layer("networks.Linear", pair) for pair in pairwise(widths))
    lines, value = entering(network)
    for number in range(len(layers) - 1):
        lines.append(f"h = {printer.activation(network, f'self.layers[{number}]({value})')}")
        value = "h"
    more, heads = printer.outputs(network, f"self.layers[{len(layers) - 1}]({value})")
    call = Method("call", tuple(argument_names(network)), (*lines, *more, f"return {', '.join(heads)}"))
    return ClassBody({**time_part(network), "layers": layers}, (call,))


PRINTERS: dict[str, Printer] = {"linear": perceptron, "mlp": perceptron}

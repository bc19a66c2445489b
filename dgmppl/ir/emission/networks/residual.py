"""The class of `residual`."""

from __future__ import annotations

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


def residual(network: Network, printer: NetworkPrinter) -> ClassBody:
    """Inputs flattened and joined, the body, one linear layer."""
    options = {
        "layers": network.size("layers"),
        "width": network.size("width"),
        "activation": network.options["activation"],
    }
    body = Layer("residual.ResidualMLP", (network.in_features,), options=options)
    last = Layer("networks.Linear", (network.size("width"), network.out_features))
    lines, value = entering(network)
    more, heads = printer.outputs(network, f"self.last(self.body({value}))")
    call = Method("call", tuple(argument_names(network)), (*lines, *more, f"return {', '.join(heads)}"))
    return ClassBody({**time_part(network), "body": body, "last": last}, (call,))


PRINTERS: dict[str, Printer] = {"residual": residual}

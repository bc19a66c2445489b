"""Classes of recurrent networks."""

from __future__ import annotations

from dgmppl.ir.emission.networks.attention import core, elements
from dgmppl.ir.emission.networks.causal import causal_class
from dgmppl.ir.emission.networks.core import ClassBody, Layer, NetworkPrinter, Printer
from dgmppl.ir.emission.networks.sequences import sequence_class
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.causal import causal_signature
from dgmppl.ir.networks.recurrent import sequence_signature


def gru(network: Network, printer: NetworkPrinter) -> ClassBody:
    """States along a sequence, or along the elements of an event; the state is the cache then."""
    width = {"width": network.size("width")}
    if network.causal:
        body = Layer("recurrent.CausalGRU", options={**width, **elements(causal_signature(network))})
        return causal_class(network, printer, core(network, body))
    _, inputs, _ = sequence_signature(network)
    options = {**width, "direction": network.options["direction"]}
    return sequence_class(network, printer, Layer("recurrent.GRU", (inputs,), options=options))


PRINTERS: dict[str, Printer] = {"gru": gru}

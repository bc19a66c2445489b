"""Classes of transformers."""

from __future__ import annotations

from dgmppl.ir.emission.networks.causal import Core, causal_class
from dgmppl.ir.emission.networks.core import ClassBody, Layer, NetworkPrinter, Printer
from dgmppl.ir.emission.networks.sequences import sequence_class
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.causal import CausalSignature, causal_signature
from dgmppl.ir.networks.recurrent import sequence_signature


def transformer(network: Network, printer: NetworkPrinter) -> ClassBody:
    """Every step reads every other."""
    length, inputs, _ = sequence_signature(network)
    return sequence_class(network, printer, Layer("attention.Transformer", (length, inputs), options=_sizes(network)))


def causal_transformer(network: Network, printer: NetworkPrinter) -> ClassBody:
    """Every element reads those before it; their keys and values are the cache."""
    net = causal_signature(network)
    options = {**_sizes(network), **elements(net)}
    body = Layer("attention.CausalTransformer", (net.elements,), options=options)
    return causal_class(network, printer, core(network, body))


def _sizes(network: Network) -> dict[str, object]:
    return {name: network.size(name) for name in ("layers", "heads", "width")}


def elements(net: CausalSignature) -> dict[str, object]:
    """What the body of a causal network is told of the elements and of the context."""
    states = {} if net.states is None else {"states": net.states}
    return {**states, **({"context": net.context} if net.context else {})}


def core(network: Network, body: Layer) -> Core:
    """A body that makes features [.., D, width] and keeps a cache of its own, and one linear layer behind it."""
    net = causal_signature(network)
    given = ", c" if net.context else ""
    return Core(
        parts={"body": body, "last": Layer("networks.Linear", (network.size("width"), net.outputs))},
        like="self.last.weight",
        call=(f"h = self.last(self.body(x{given}))",),
        caches={"seen": f"self.body.start(batch{given})"},
        step=("seen, h = self.body.step(seen, i, previous)", "h = self.last(h)"),
    )


PRINTERS: dict[str, Printer] = {"transformer": transformer, "causal_transformer": causal_transformer}

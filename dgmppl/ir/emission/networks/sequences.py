"""Classes of networks over sequences: `transformer`, and `gru` outside of factorizations."""

from __future__ import annotations

from dgmppl.ir.emission.networks.core import ClassBody, Layer, Method, NetworkPrinter, argument_names, flat, joined
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.recurrent import sequence_signature


def sequence_class(network: Network, printer: NetworkPrinter, body: Layer) -> ClassBody:
    """Steps [.., T, F] through `body` and one linear layer; every head is [.., T, *rest]."""
    length, _, outputs = sequence_signature(network)
    names = argument_names(network)
    value = joined([_steps(name, len(kind.shape)) for name, kind in zip(names, network.inputs, strict=True)])
    more, heads = printer.outputs(network, f"self.last(self.body({value}))", (length,))
    parts = {"body": body, "last": Layer("networks.Linear", (network.size("width"), outputs))}
    return ClassBody(parts, (Method("call", tuple(names), (*more, f"return {', '.join(heads)}")),))


def _steps(name: str, rank: int) -> str:
    """A sequence [T, ...] with everything behind its leading axis made one axis."""
    return flat(name, rank - 1)

"""The class of a user's own module."""

from __future__ import annotations

from dgmppl.ir.emission.networks.core import ClassBody, Layer, Method, NetworkPrinter, argument_names
from dgmppl.ir.emission.values import unsupported
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.registered import OWN


def own_class(network: Network, printer: NetworkPrinter) -> ClassBody:
    """The inputs in their own shapes through the user's module.

    Raises:
        UnsupportedError: the kind has no class for this backend.
    """
    own = OWN[network.kind]
    if printer.backend not in own.paths:
        what = f"the kind of network {own.name!r}, which has no class for it"
        raise unsupported(what, network.span, printer.backend)
    shapes, names = tuple(part.shape for part in network.inputs), argument_names(network)
    arguments = (own.paths[printer.backend], shapes, network.out_features)
    body = Layer("registered.Module", arguments, options=own.given(network))
    more, heads = printer.outputs(network, f"self.body({', '.join(names)})")
    return ClassBody({"body": body}, (Method("call", tuple(names), (*more, f"return {', '.join(heads)}")),))

"""The class of `unet`."""

from __future__ import annotations

from dgmppl.ir.emission.networks.convolutional import channels_first, channels_last
from dgmppl.ir.emission.networks.core import (
    ClassBody,
    Layer,
    Method,
    NetworkPrinter,
    Printer,
    argument_names,
    beside_the_first,
    time_part,
)
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.unets import axes_of, feature_map, given_features, groups_of, returned_map


def unet(network: Network, printer: NetworkPrinter) -> ClassBody:
    """The map through the body, with the other inputs flattened and joined; its channels are the heads' in order."""
    names, axes, layout = argument_names(network), axes_of(network), network.options["layout"]
    image, result = network.inputs[0].shape, returned_map(network)
    body = Layer("unets.UNet", (axes, feature_map(network, image)[0], result[0]), options=_options(network))
    arguments = (channels_first(names[0], len(image), layout, axes), beside_the_first(network))
    value = f"self.body({', '.join(filter(None, arguments))})"
    if layout == "channels_first":
        more, heads = printer.outputs(network, f"operations.flatten({value}, {axes + 1})")
    else:
        more, heads = printer.outputs(network, channels_last(value, axes), result[1:])
    call = Method("call", tuple(names), (*more, f"return {', '.join(heads)}"))
    return ClassBody({**time_part(network), "body": body}, (call,))


def _options(network: Network) -> dict[str, object]:
    return {
        "given": given_features(network),
        "widths": network.sizes("channels"),
        "blocks": network.size("blocks"),
        "groups": groups_of(network),
        "heads": network.options["heads"] or 0,
        "activation": network.options["activation"],
    }


PRINTERS: dict[str, Printer] = {"unet": unet}

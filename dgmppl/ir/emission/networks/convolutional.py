"""Classes of convolutional networks."""

from __future__ import annotations

from dgmppl.ir.emission.networks.attention import core, elements
from dgmppl.ir.emission.networks.causal import causal_class
from dgmppl.ir.emission.networks.core import (
    ClassBody,
    Layer,
    Method,
    NetworkPrinter,
    Printer,
    argument_names,
    entering,
    flat,
    joined,
)
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.causal import causal_signature
from dgmppl.ir.networks.convolutional import decoded_image, encoded_features, image_of


def conv_encoder(network: Network, printer: NetworkPrinter) -> ClassBody:
    """The image through the body; its features and the other inputs, flattened, through one linear layer."""
    names, image = argument_names(network), network.inputs[0].shape
    others = [flat(name, len(kind.shape)) for name, kind in zip(names[1:], network.inputs[1:], strict=True)]
    features = f"self.body({channels_first(names[0], len(image), network.options['layout'])})"
    channels, *_ = image_of(image, network.options["layout"])
    units = encoded_features(network) + network.in_features - network.inputs[0].size
    parts = {
        "body": Layer("convolutions.Encoder", (channels,), options=_options(network)),
        "last": Layer("networks.Linear", (units, network.out_features)),
    }
    more, heads = printer.outputs(network, f"self.last({joined([features, *others])})")
    return ClassBody(parts, (Method("call", tuple(names), (*more, f"return {', '.join(heads)}")),))


def conv_decoder(network: Network, printer: NetworkPrinter) -> ClassBody:
    """The inputs, flattened and joined, to one image, whose channels are those of the heads in order."""
    image = decoded_image(network)
    body = Layer("convolutions.Decoder", (network.in_features, image), options=_options(network))
    lines, value = entering(network)
    if network.options["layout"] == "channels_first":
        lines.append(f"h = operations.flatten(self.body({value}), 3)")
        more, heads = printer.outputs(network, "h")
    else:
        lines.append(f"h = {channels_last(f'self.body({value})')}")
        more, heads = printer.outputs(network, "h", image[1:])
    call = Method("call", tuple(argument_names(network)), (*lines, *more, f"return {', '.join(heads)}"))
    return ClassBody({"body": body}, (call,))


def causal_conv(network: Network, printer: NetworkPrinter) -> ClassBody:
    """Masked convolutions; their inputs at the elements so far are the cache."""
    options: dict[str, object] = {name: network.size(name) for name in ("layers", "width", "kernel")}
    options |= {name: network.options[name] for name in ("gated", "activation")}
    options |= elements(causal_signature(network))
    body = Layer("convolutions.CausalConv", (network.inputs[0].shape,), options=options)
    return causal_class(network, printer, core(network, body))


def _options(network: Network) -> dict[str, object]:
    names = ("kernel", "groups", "activation")
    return {"widths": network.sizes("channels"), **{name: network.options[name] for name in names}}


def channels_first(name: str, rank: int, layout: object, axes: int = 2) -> str:
    """An image, or a map with so many axes, with its channels in front; one that has none gets one."""
    if rank == axes:
        return f"{name}[..., None, {', '.join(':' * axes)}]"
    if layout != "channels_last":
        return name
    return name + "".join(f".swapaxes({-place}, {-place - 1})" for place in range(1, axes + 1))


def channels_last(value: str, axes: int = 2) -> str:
    """A map with its channels behind its axes."""
    return value + "".join(f".swapaxes({-place - 1}, {-place})" for place in range(axes, 0, -1))


PRINTERS: dict[str, Printer] = {
    "conv_encoder": conv_encoder,
    "conv_decoder": conv_decoder,
    "causal_conv": causal_conv,
}

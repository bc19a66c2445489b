"""Convolutions: encoders of images, decoders to images, and causal ones over the elements of an event."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from dgmppl.ir.networks.causal import ORDER, causal_signature, check_causal
from dgmppl.ir.networks.core import ACTIVATION, OUT, PRIOR, Misfit, Network, NetworkKind, Option, linear, uniform
from dgmppl.ir.networks.embedding import norm, normal
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.types import Shape

Image = tuple[int, int, int]


def image_of(shape: Shape, layout: object) -> Image:
    """(C, H, W) of an image [H, W], [C, H, W], or [H, W, C] with `layout=channels_last`."""
    if len(shape) == 2:
        return (1, *shape)
    if layout == "channels_last":
        return (shape[2], shape[0], shape[1])
    return shape  # type: ignore[return-value]


def halved(side: int, kernel: int) -> int:
    """The side of a feature map behind a convolution of stride 2 with (kernel - 1) // 2 zeros around its input."""
    return (side + 2 * ((kernel - 1) // 2) - kernel) // 2 + 1


def most_layers(sides: Sequence[int], kernel: int) -> int:
    """How often an image can be halved before it is one pixel, or nothing; at least once."""
    count = 0
    while max(sides) > 1 and min(sides := [halved(side, kernel) for side in sides]) > 0:
        count += 1
    return max(count, 1)


def encoded_features(network: Network) -> int:
    """How many numbers the last feature maps of an encoder hold."""
    kernel, widths = network.size("kernel"), network.sizes("channels")
    _, height, width = image_of(network.inputs[0].shape, network.options["layout"])
    for _ in widths:
        height, width = halved(height, kernel), halved(width, kernel)
    return widths[-1] * height * width


def decoded_image(network: Network) -> Image:
    """(C, H, W) of everything that a decoder returns: its heads' channels one after the other."""
    images = [image_of(head.shape, network.options["layout"]) for head in network.heads]
    return (sum(image[0] for image in images), *images[0][1:])


def _norms(network: Network, widths: Sequence[int]) -> tuple[ParameterSpec, ...]:
    if network.options["groups"] is None:
        return ()
    prefix = f"{network.name}.body.norms"
    return tuple(
        part for number, width in enumerate(widths) for part in norm(f"{prefix}.{number}", network.name, width)
    )


def _encoder(network: Network) -> tuple[ParameterSpec, ...]:
    name, kernel, widths = network.name, network.size("kernel"), network.sizes("channels")
    channels, *_ = image_of(network.inputs[0].shape, network.options["layout"])
    layers = (
        part
        for number, (before, after) in enumerate(pairwise((channels, *widths)))
        for part in (
            uniform(f"{name}.body.layers.{number}.weight", name, (after, before, kernel, kernel), before * kernel**2),
            uniform(f"{name}.body.layers.{number}.bias", name, (after,), before * kernel**2),
        )
    )
    others = network.in_features - network.inputs[0].size
    last = linear(f"{name}.last", name, encoded_features(network) + others, network.out_features)
    return (*layers, *_norms(network, widths), *last)


def _decoder(network: Network) -> tuple[ParameterSpec, ...]:
    name, kernel, widths = network.name, network.size("kernel"), network.sizes("channels")
    channels, *sides = decoded_image(network)
    smallest = [-(-side // 2 ** len(widths)) for side in sides]
    layers = (
        part
        for number, (before, after) in enumerate(pairwise((*widths, channels)))
        for part in (
            uniform(f"{name}.body.layers.{number}.weight", name, (before, after, kernel, kernel), after * kernel**2),
            uniform(f"{name}.body.layers.{number}.bias", name, (after,), after * kernel**2),
        )
    )
    first = linear(f"{name}.body.first", name, network.in_features, widths[0] * math.prod(smallest))
    return (*first, *_norms(network, widths), *layers)


def window(rank: int, kernel: int) -> Shape:
    """The window of a masked convolution: the last elements of a line; the rows above a pixel and its own."""
    return (kernel,) if rank == 1 else (kernel // 2 + 1, kernel)


def _masked(
    prefix: str, group: str, inputs: int, outputs: int, network: Network, strict: bool
) -> tuple[ParameterSpec, ...]:
    kernel, rank = network.size("kernel"), len(network.inputs[0].shape)
    seen = kernel if rank == 1 else kernel // 2 * kernel + kernel // 2 + (not strict)
    weight = uniform(f"{prefix}.weight", group, (outputs, inputs, *window(rank, kernel)), inputs * seen)
    return (weight, uniform(f"{prefix}.bias", group, (outputs,), inputs * seen))


def _causal(network: Network) -> tuple[ParameterSpec, ...]:
    net, name, width = causal_signature(network), network.name, network.size("width")
    prefix, gated = f"{name}.body", bool(network.options["gated"])
    table = () if net.states is None else (normal(f"{prefix}.embed.weight", name, (net.states, width)),)
    context = linear(f"{prefix}.context", name, net.context, width) if net.context else ()
    blocks = (
        part
        for number in range(network.size("layers") - 1)
        for part in (
            *_masked(f"{prefix}.blocks.{number}.conv", name, width, width * (1 + gated), network, False),
            *(linear(f"{prefix}.blocks.{number}.mix", name, width, width) if gated else ()),
        )
    )
    first = _masked(f"{prefix}.first", name, 1 if net.states is None else width, width, network, True)
    return (*table, *context, *first, *blocks, *linear(f"{name}.last", name, width, net.outputs))


# ---- what does not fit -----------------------------------------------------------------------------------------------


def _check_encoder(network: Network) -> Iterator[Misfit]:
    shape = network.inputs[0].shape if network.inputs else ()
    if len(shape) not in {2, 3}:
        yield _no_image(network, f"encodes images, and its {'first ' * (len(network.inputs) > 1)}input is none", shape)
        return
    yield from _check_options(network, image_of(shape, network.options["layout"]), network.size("kernel"))


def _check_decoder(network: Network) -> Iterator[Misfit]:
    odd = next((head.shape for head in network.heads if len(head.shape) not in {2, 3}), None)
    if odd is not None:
        yield _no_image(network, "decodes images, and is asked for something else", odd)
        return
    images = {image_of(head.shape, network.options["layout"])[1:] for head in network.heads}
    if len(images) > 1:
        yield Misfit(
            f"{network.name!r} is asked for images of several sizes", "heads of one height and width",
            " and ".join(str(list(sides)) for sides in sorted(images)), "declare one network for each",
            code="network-input",
        )  # fmt: skip
    elif images:
        yield from _check_options(network, decoded_image(network), 3)
    if network.size("kernel") < 2:
        yield Misfit(
            f"the transposed convolutions of {network.name!r} have gaps between their windows",
            "a kernel of 2 or more, the stride being 2", "1", "write `kernel=4`",
        )  # fmt: skip


def _no_image(network: Network, what: str, shape: Shape) -> Misfit:
    return Misfit(
        f"{network.name!r} {what}", "[H, W] or [C, H, W], or [H, W, C] with `layout=channels_last`", str(list(shape)),
        "leave out `flatten()`, or use `mlp` for vectors", code="network-input",
    )  # fmt: skip


def _check_options(network: Network, image: Image, halving: int) -> Iterator[Misfit]:
    kernel, widths, groups = network.size("kernel"), network.sizes("channels"), network.options["groups"]
    side = min(image[1:])
    if kernel > side:
        yield Misfit(
            f"the kernel of {network.name!r} is larger than the image of {image[1]} x {image[2]}", f"at most {side}",
            str(kernel), f"write `kernel={min(3, side)}`",
        )  # fmt: skip
    most = most_layers(image[1:], halving)
    if len(widths) > most:
        yield Misfit(
            f"{network.name!r} halves an image of {image[1]} x {image[2]} more often than it can be halved",
            f"at most {most} entries in `channels`", str(len(widths)), f"write `channels={list(widths[:most])}`",
        )  # fmt: skip
    uneven = [width for width in widths if isinstance(groups, int) and width % groups]
    if uneven:
        yield Misfit(
            f"the channels of {network.name!r} do not form {groups} groups of one size",
            f"multiples of {groups}", ", ".join(map(str, uneven)), "change `channels` or `groups`",
        )  # fmt: skip


def _check_causal(network: Network) -> Iterator[Misfit]:
    shape = network.inputs[0].shape if network.inputs else ()
    kernel = network.size("kernel")
    if len(shape) not in {1, 2}:
        yield Misfit(
            f"{network.name!r} goes over a line or an image, and the event is neither", "[D] or [H, W]",
            str(list(shape)), "`flatten()` the data, or use `made` or `causal_transformer`",
            code="network-input",
        )  # fmt: skip
        return
    if not isinstance(network.options["order"], str):
        yield Misfit(
            f"the windows of {network.name!r} hold neighbours, which a listed order tears apart",
            "order=raster or order=reverse", "a list", "leave out `order=`, or use `made` or `causal_transformer`",
            code="network-order",
        )  # fmt: skip
    else:
        yield from check_causal(network)
    if len(shape) == 2 and (kernel % 2 == 0 or kernel < 3):
        yield Misfit(
            f"a pixel is the middle of its window, and the kernel of {network.name!r} has none to its sides",
            "an odd kernel from 3 on", str(kernel), f"write `kernel={max(3, kernel + 1)}`",
        )  # fmt: skip


_KERNEL = Option("kernel", 4, "height and width of the windows; the stride is 2")
_GROUPS = Option("groups", None, "groups of the group normalization before each activation; None for none")
LAYOUT = Option(
    "layout", "channels_first", "channels_first: [C, H, W]; channels_last: [H, W, C]; [H, W] has no channels"
)

KINDS = (
    NetworkKind(
        "conv_encoder",
        (Option("channels", (32, 64), "channels behind each convolution"), _KERNEL, ACTIVATION, _GROUPS, LAYOUT, OUT,
         PRIOR), _encoder, check=_check_encoder, doc="convolutions of stride 2 over an image, then an affine map",
    ),
    NetworkKind(
        "conv_decoder",
        (Option("channels", (64, 32), "channels before each convolution"), _KERNEL, ACTIVATION, _GROUPS, LAYOUT, OUT,
         PRIOR), _decoder, check=_check_decoder, doc="an affine map, then transposed convolutions of stride 2",
    ),
    NetworkKind(
        "causal_conv",
        (Option("layers", 5, "convolutions"), Option("width", 32, "channels"), Option("kernel", 3, "kernel size"),
         Option("gated", False, "tanh(a) sigmoid(b) in the blocks instead of the activation"), ACTIVATION, ORDER),
        _causal, causal=True, check=_check_causal, doc="masked convolutions (van den Oord et al. 2016)",
    ),
)  # fmt: skip

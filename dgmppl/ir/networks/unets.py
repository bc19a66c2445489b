"""U-Nets over lines and images: residual blocks, halved and doubled sides, the features of each side kept across.

Ho et al. (2020), appendix B, after Ronneberger et al. (2015). With widths w_0 .. w_L and n blocks a level:

    down: h = first(x); at level l: n blocks w_l -> w_l, each result kept; a convolution of stride 2, w_l -> w_(l + 1)
    middle: a block, attention where there are heads, a block
    up: at level l: n blocks 2 w_l -> w_l on (h, kept); each pixel repeated and a convolution, w_l -> w_(l - 1)

What else is given (a time, conditions) is added to every block's features, as many numbers as the last width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

from dgmppl.ir.networks.attention import attention_layers, shared_by_heads
from dgmppl.ir.networks.convolutional import LAYOUT
from dgmppl.ir.networks.core import ACTIVATION, OUT, PRIOR, TIME, Misfit, Network, NetworkKind, Option, linear, uniform
from dgmppl.ir.networks.embedding import check_time, norm, time_layers
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.types import Shape

# Side of the windows of every convolution but the pixelwise ones.
KERNEL = 3


def axes_of(network: Network) -> int:
    """How many axes it goes over: 1 for lines, 2 for images."""
    given = network.options["dimensions"]
    if isinstance(given, int):
        return given
    return 1 if network.inputs and len(network.inputs[0].shape) == 1 else 2


def feature_map(network: Network, shape: Shape) -> Shape:
    """(C, *sides) of a line [L] or [C, L], or of an image [H, W] or [C, H, W]; channels are last with that layout."""
    if len(shape) == axes_of(network):
        return (1, *shape)
    return (shape[-1], *shape[:-1]) if network.options["layout"] == "channels_last" else shape


def returned_map(network: Network) -> Shape:
    """(C, *sides) of everything that it returns: its heads' channels one after the other."""
    maps = [feature_map(network, head.shape) for head in network.heads]
    return (sum(part[0] for part in maps), *maps[0][1:])


def given_features(network: Network) -> int:
    """How many numbers it is given besides what it goes over, a time as its embedding."""
    return network.in_features - network.inputs[0].size


def _convolution(prefix: str, group: str, shape: tuple[int, int], window: Shape) -> tuple[ParameterSpec, ...]:
    """Weight [out, in, *window] and bias [out] of a convolution from `shape[0]` to `shape[1]` channels."""
    inputs, outputs = shape
    fan_in = inputs * math.prod(window)
    return (
        uniform(f"{prefix}.weight", group, (outputs, inputs, *window), fan_in),
        uniform(f"{prefix}.bias", group, (outputs,), fan_in),
    )


def _block(network: Network, prefix: str, inputs: int, outputs: int) -> tuple[ParameterSpec, ...]:
    group, axes, prefix = network.name, axes_of(network), f"{network.name}.body.{prefix}"
    window, given = (KERNEL,) * axes, given_features(network)
    return (
        *norm(f"{prefix}.norm1", group, inputs),
        *_convolution(f"{prefix}.first", group, (inputs, outputs), window),
        *(linear(f"{prefix}.given", group, network.sizes("channels")[-1], outputs) if given else ()),
        *norm(f"{prefix}.norm2", group, outputs),
        *_convolution(f"{prefix}.second", group, (outputs, outputs), window),
        *(_convolution(f"{prefix}.skip", group, (inputs, outputs), (1,) * axes) if inputs != outputs else ()),
    )


def _unet(network: Network) -> tuple[ParameterSpec, ...]:
    name, widths, window = network.name, network.sizes("channels"), (KERNEL,) * axes_of(network)
    prefix, given, outputs = f"{name}.body", given_features(network), returned_map(network)[0]
    every = [width for width in widths for _ in range(network.size("blocks"))]
    down = (_block(network, f"down.{place}", width, width) for place, width in enumerate(every))
    up = (_block(network, f"up.{place}", 2 * width, width) for place, width in enumerate(reversed(every)))
    return (
        *time_layers(network),
        *(linear(f"{prefix}.enter", name, given, widths[-1]) if given else ()),
        *_convolution(f"{prefix}.first", name, (feature_map(network, network.inputs[0].shape)[0], widths[0]), window),
        *chain.from_iterable(down),
        *_resized(network, f"{prefix}.shrink", [*pairwise(widths)]),
        *_block(network, "before", widths[-1], widths[-1]),
        *(_mixing(f"{prefix}.mixing", name, widths[-1]) if network.options["heads"] else ()),
        *_block(network, "after", widths[-1], widths[-1]),
        *chain.from_iterable(up),
        *_resized(network, f"{prefix}.grow", [*pairwise(reversed(widths))]),
        *norm(f"{prefix}.norm", name, widths[0]),
        *_convolution(f"{prefix}.last", name, (widths[0], outputs), window),
    )


def _resized(network: Network, prefix: str, widths: Sequence[tuple[int, int]]) -> tuple[ParameterSpec, ...]:
    """The convolutions between two levels each."""
    window = (KERNEL,) * axes_of(network)
    layers = (_convolution(f"{prefix}.{place}", network.name, pair, window) for place, pair in enumerate(widths))
    return tuple(chain.from_iterable(layers))


def _mixing(prefix: str, group: str, width: int) -> tuple[ParameterSpec, ...]:
    return (*norm(f"{prefix}.norm", group, width), *attention_layers(f"{prefix}.attention", group, width))


# ---- what does not fit -----------------------------------------------------------------------------------------------


def _check(network: Network) -> Iterator[Misfit]:
    shape, axes = network.inputs[0].shape if network.inputs else (), axes_of(network)
    if len(shape) not in {axes, axes + 1}:
        line, image = "[L] or [C, L]", "[H, W] or [C, H, W]"
        yield Misfit(
            f"{network.name!r} goes over {'lines' if axes == 1 else 'images'}, and its first input is none",
            f"{line if axes == 1 else image}, channels last with `layout=channels_last`", str(list(shape)),
            "leave out `flatten()`, or use `residual` for vectors", code="network-input",
        )  # fmt: skip
        return
    yield from _check_outputs(network)
    yield from _check_widths(network, feature_map(network, shape)[1:])
    yield from check_time(network)


def _check_outputs(network: Network) -> Iterator[Misfit]:
    """Every head is a map of the input's sides, with channels of its own."""
    axes, shape = axes_of(network), network.inputs[0].shape
    sides = feature_map(network, shape)[1:]
    for head in network.heads:
        fits = len(head.shape) in {axes, axes + 1} and feature_map(network, head.shape)[1:] == sides
        if not fits:
            yield Misfit(
                f"{network.name!r} returns a map of its input's sides, and is asked for something else",
                f"sides {list(sides)}, with channels or without", str(list(head.shape)),
                "use `conv_encoder` for vectors", code="network-input",
            )  # fmt: skip


def _check_widths(network: Network, sides: Shape) -> Iterator[Misfit]:
    name, widths, groups, heads = network.name, network.sizes("channels"), groups_of(network), _heads(network)
    most = min(_halvings(side) for side in sides)
    if len(widths) - 1 > most:
        yield Misfit(
            f"{name!r} halves sides of {' x '.join(map(str, sides))} {len(widths) - 1} times",
            f"at most {most + 1} entries in `channels`: a side is halved while it is even", str(len(widths)),
            f"write `channels={list(widths[: most + 1])}`", code="network-sides",
        )  # fmt: skip
    uneven = [width for width in widths if width % groups]
    if uneven:
        yield Misfit(
            f"the channels of {name!r} do not form {groups} groups of one size", f"multiples of {groups}",
            ", ".join(map(str, uneven)), "change `channels` or `groups`",
        )  # fmt: skip
    if heads and widths[-1] % heads:
        yield shared_by_heads(name, widths[-1], heads, "change `heads` or the last of `channels`")


def groups_of(network: Network) -> int:
    """How many groups of channels are normalized by themselves."""
    return network.size("groups") if network.options["groups"] else 1


def _heads(network: Network) -> int:
    return network.size("heads") if network.options["heads"] else 0


def _halvings(side: int) -> int:
    """How often a side can be halved: the twos among its factors."""
    return (side & -side).bit_length() - 1


KINDS = (
    NetworkKind(
        "unet",
        (Option("channels", (32, 64), "channels at each level, every side half that of the level before"),
         Option("blocks", 1, "residual blocks a level, on the way down and on the way up"),
         Option("groups", 8, "groups of the group normalizations; None for 1"),
         Option("heads", None, "attention heads at the lowest level; None for no attention"),
         Option("activation", "silu", ACTIVATION.doc), LAYOUT,
         Option("dimensions", None, "1 for lines, 2 for images; None: 1 for an input [L], else 2"), OUT, PRIOR, TIME),
        _unet, check=_check, doc="residual blocks down and up with skips between (Ronneberger et al. 2015)",
    ),
)  # fmt: skip

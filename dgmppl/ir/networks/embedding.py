"""Parts that several kinds share: layer norms, embedded times, and what a place sees of the element before it."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.networks.causal import causal_signature
from dgmppl.ir.networks.core import Misfit, Network, constant, linear
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.types import Shape


def normal(name: str, group: str, shape: Shape) -> ParameterSpec:
    """An array that starts standard normal, as torch draws embeddings."""
    return ParameterSpec(name, group, shape, Initializer("normal", 1.0))


def norm(prefix: str, group: str, width: int) -> tuple[ParameterSpec, ...]:
    """Scale and shift of a layer or group normalization: ones and zeros."""
    return (
        constant(f"{prefix}.weight", group, (width,), 1.0),
        constant(f"{prefix}.bias", group, (width,), 0.0),
    )


def time_width(network: Network) -> int | None:
    """The width of `time=embedding(width)`; None where time enters as the number it is."""
    match network.options.get("time"):
        case ("embedding", int(width)):
            return width
    return None


def time_layers(network: Network) -> tuple[ParameterSpec, ...]:
    """The two linear layers behind the sinusoidal features of an embedded time; none without one."""
    width, prefix = time_width(network), f"{network.name}.time"
    if width is None:
        return ()
    return (
        *linear(f"{prefix}.first", network.name, width, width),
        *linear(f"{prefix}.second", network.name, width, width),
    )


def check_time(network: Network) -> Iterator[Misfit]:
    """An embedding has as many sines as cosines, and what it embeds is the last input, one number."""
    width = time_width(network)
    if width is None:
        return
    if width % 2:
        yield Misfit(
            f"the time of {network.name!r} has an embedding of odd width", "an even width: half sines, half cosines",
            str(width), f"write `time=embedding({width + 1})`",
        )  # fmt: skip
    if network.inputs and network.inputs[-1].shape not in {(), (width,)}:
        yield Misfit(
            f"the last input of {network.name!r} is no time", "a number in [0, 1]",
            f"shape {list(network.inputs[-1].shape)}", "pass the time last, or leave out `time=`",
            code="network-input",
        )  # fmt: skip


def embedded(prefix: str, group: str, states: int | None, width: int) -> tuple[ParameterSpec, ...]:
    """A table of vectors for integers of so many states, one linear layer for other numbers."""
    if states is None:
        return linear(f"{prefix}.linear", group, 1, width)
    return (normal(f"{prefix}.weight", group, (states, width)),)


def shifted(network: Network, prefix: str, width: int) -> tuple[ParameterSpec, ...]:
    """The vector of the element before, the start vector, and the affine map of the context."""
    net = causal_signature(network)
    context = linear(f"{prefix}.context", network.name, net.context, width) if net.context else ()
    first = normal(f"{prefix}.first", network.name, (width,))
    return (*embedded(f"{prefix}.embed", network.name, net.states, width), first, *context)

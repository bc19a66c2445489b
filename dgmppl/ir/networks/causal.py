"""Causal networks: output i of x[i]: D(net(x[:i], c)) reads only the elements visited before the i-th.

The event x has D elements, visited in an order: row by row (`raster`), backwards (`reverse`), or as a list says (its
k-th entry is the element visited k-th, counted in raster order). Everything here and in the runtimes counts positions
in that order; heads have the shape of x first, then what one element needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from dgmppl.ir.networks.core import ACTIVATION, HIDDEN, Misfit, Network, NetworkKind, Option, linear
from dgmppl.ir.parameters import ParameterSpec
from dgmppl.ir.types import Shape, TensorType

ORDER = Option("order", "raster", "order of the elements: raster, reverse or a list")


@dataclass(frozen=True, slots=True)
class CausalSignature:
    """A causal network's signature, element by element.

    Attributes:
        event: the shape of x.
        elements: D, how many elements it has.
        states: n where an element is one of 0, ..., n - 1 and enters as an indicator vector; None where it enters as
            the number it is.
        context: width of the other inputs as they enter, flattened and concatenated.
        outputs: K, how many numbers of the last layer belong to one element: unit i K + k is the k-th of element i.
    """

    event: Shape
    elements: int
    states: int | None
    context: int
    outputs: int

    @property
    def features(self) -> int:
        """How many numbers one element is to the first layer."""
        return self.states or 1


def causal_signature(network: Network) -> CausalSignature:
    """The signature of a causal network whose uses have fixed its inputs and heads."""
    x, *context = network.inputs
    width = sum(part.size * (element_states(part) or 1) for part in context)
    return CausalSignature(x.shape, x.size, element_states(x), width, network.out_features // x.size)


def element_states(kind: TensorType) -> int | None:
    """n where each element of an input is one of 0, ..., n - 1 and enters a causal network as an indicator vector."""
    return kind.support.size if kind.support.kind == "integer" else None


def visiting_order(network: Network) -> tuple[int, ...] | None:
    """The raster index of the element visited k-th, for every k; None where the order is the raster order."""
    match network.options.get("order"):
        case "reverse":
            return tuple(range(network.inputs[0].size - 1, -1, -1))
        case tuple():
            return network.sizes("order")
    return None


def check_causal(network: Network) -> Iterator[Misfit]:
    """Every head has the shape of x first, and a listed order names every element of x once."""
    x = network.inputs[0]
    for head in network.heads:
        if head.shape[: len(x.shape)] != x.shape:
            yield Misfit(
                f"{network.name!r} is causal: it says something of every element of its first input",
                f"outputs whose shape begins with {list(x.shape)}", f"{head.name} {list(head.shape)}",
                "use `mlp` for any other function of x",
            )  # fmt: skip
    order = visiting_order(network)
    if order is not None and len(order) != x.size:
        yield Misfit(
            f"the order of {network.name!r} is a list of {len(order)}, and its first input has {x.size} elements",
            f"every number from 0 to {x.size - 1} once", f"{len(order)} numbers",
            "list the elements in raster order, or write `order=reverse`", code="network-order",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MaskedLayer:
    """One layer of a masked network.

    Units have degrees: an input is seen by the outputs of its own degree and above. Unit k of n spreads over a range
    of degrees evenly: first + floor(k (stop - first) / n). Context comes first among the inputs and is seen by all.

    Attributes:
        inputs, outputs: how many units, without the context.
        seen, degrees: ranges (first, stop) of the inputs' and the outputs' degrees.
        context: how many inputs hold context.
    """

    inputs: int
    outputs: int
    seen: tuple[int, int]
    degrees: tuple[int, int]
    context: int


def masked_layers(network: Network) -> tuple[MaskedLayer, ...]:
    """The layers of a `made`.

    A hidden unit of degree d sees the elements at positions below d, an output of element i the hidden units of degree
    up to i; hence the inputs of the element at position j have degree j + 1. Degree 0 sees the context alone, so there
    is such a unit only where there is context (and for D = 1, where nothing else is left). The context enters the first
    layer and the last: element 0 reads it directly too, however few units of degree 0 there are.
    """
    net = causal_signature(network)
    hidden = (0 if net.context or net.elements == 1 else 1, net.elements if net.elements > 1 else 1)
    widths = network.sizes("hidden")
    units = [
        (net.elements * net.features, (1, net.elements + 1)),
        *((width, hidden) for width in widths),
        (net.elements * net.outputs, (0, net.elements)),
    ]
    last = len(units) - 2
    return tuple(
        MaskedLayer(before, after, seen, degrees, net.context if number in {0, last} else 0)
        for number, ((before, seen), (after, degrees)) in enumerate(pairwise(units))
    )


def _made(network: Network) -> tuple[ParameterSpec, ...]:
    return tuple(
        parameter
        for number, layer in enumerate(masked_layers(network))
        for parameter in linear(
            f"{network.name}.layers.{number}", network.name, layer.context + layer.inputs, layer.outputs
        )
    )


KINDS = (
    NetworkKind(
        "made", (HIDDEN, ACTIVATION, ORDER), _made, causal=True, check=check_causal,
        doc="masked MLP (Germain et al. 2015)",
    ),
)  # fmt: skip

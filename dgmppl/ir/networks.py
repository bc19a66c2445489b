"""Networks: the closed table of kinds, and a network's signature once its uses have fixed it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.types import Shape, Support, TensorType
from dgmppl.source import Span

OptionValue: TypeAlias = "bool | int | float | str | tuple[OptionValue, ...] | None"


@dataclass(frozen=True, slots=True)
class Head:
    """One output of a network.

    Attributes:
        name: the distribution's parameter that it is, or `out`.
        shape: of one datum's output.
        support: what the output is constrained to (positive: softplus + 1e-6; simplex: softmax; real: as it is).
    """

    name: str
    shape: Shape
    support: Support

    @property
    def width(self) -> int:
        """How many units of the last linear layer belong to it."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Network:
    """A named function with parameters, a group of its own.

    Attributes:
        name: its name, hence the prefix of its parameters.
        kind: a key of `NETWORKS`.
        options: every option of the kind, defaults filled in.
        inputs: the types of its inputs in order (causal nets: the first is read causally, the rest is context).
        heads: the outputs, in order, one last linear layer for all of them.
        prior: the prior over each weight, as a call's text in the IR (`Normal(0, 1)`), or None.
        span: the declaration's place.
    """

    name: str
    kind: str
    options: Mapping[str, OptionValue]
    inputs: tuple[TensorType, ...] = ()
    heads: tuple[Head, ...] = ()
    prior: object | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def in_features(self) -> int:
        """Width after the inputs are flattened and concatenated."""
        return sum(part.size for part in self.inputs)

    @property
    def out_features(self) -> int:
        """Width of the last linear layer."""
        return sum(head.width for head in self.heads)

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Its parameters under their canonical names, in torch's layouts."""
        return NETWORKS[self.kind].layout(self)


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a network kind, bijector or sampler: name, default (REQUIRED if there is none), what it means."""

    name: str
    default: OptionValue | object
    doc: str


REQUIRED = object()


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """One kind of network.

    Attributes:
        name: as written in specs.
        options: its options; the positional ones first, in order.
        causal: it may stand in a factorization.
        sequence: it maps a sequence to a sequence of the same length (leading axis).
        layout: its parameters, from its signature.
        doc: one line.
    """

    name: str
    options: tuple[Option, ...]
    layout: Callable[[Network], tuple[ParameterSpec, ...]]
    causal: bool = False
    sequence: bool = False
    doc: str = ""


def linear(prefix: str, group: str, inputs: int, outputs: int, *, bias: bool = True) -> tuple[ParameterSpec, ...]:
    """Weight [out, in] and bias [out] of a linear layer, both uniform in +-1/sqrt(in) as torch draws them."""
    start = Initializer("uniform", 1.0 / math.sqrt(max(inputs, 1)))
    weight = ParameterSpec(f"{prefix}.weight", group, (outputs, inputs), start)
    return (weight, ParameterSpec(f"{prefix}.bias", group, (outputs,), start)) if bias else (weight,)


def _perceptron(network: Network) -> tuple[ParameterSpec, ...]:
    hidden = network.options.get("hidden", ())
    assert isinstance(hidden, tuple)
    widths = [network.in_features, *(int(width) for width in hidden if isinstance(width, int)), network.out_features]
    layers = [
        linear(f"{network.name}.layers.{number}", network.name, before, after)
        for number, (before, after) in enumerate(pairwise(widths))
    ]
    return tuple(parameter for layer in layers for parameter in layer)


def _not_lowered(network: Network) -> tuple[ParameterSpec, ...]:
    """Kinds whose layers are laid out together with their lowering."""
    del network
    return ()


_OUT = Option("out", None, "width or shape of the output where nothing else determines it")
_PRIOR = Option("prior", None, "prior over every weight and bias")
_TIME = Option("time", None, "how time enters: `embedding(width)`, or None to append it")
_ACTIVATION = Option("activation", "relu", "relu, tanh, silu, gelu, elu, softplus, leaky_relu or sigmoid")
_LOW = Option("order", "raster", "order of the elements: raster, reverse or a list")

ACTIVATIONS = ("relu", "tanh", "silu", "gelu", "elu", "softplus", "leaky_relu", "sigmoid")

NETWORKS: dict[str, NetworkKind] = {
    kind.name: kind
    for kind in (
        NetworkKind("linear", (_OUT, _PRIOR), _perceptron, doc="one affine map"),
        NetworkKind(
            "mlp", (Option("hidden", REQUIRED, "hidden widths"), _ACTIVATION, _OUT, _PRIOR, _TIME), _perceptron,
            doc="fully connected layers with an activation between them",
        ),
        NetworkKind(
            "made", (Option("hidden", REQUIRED, "hidden widths"), _ACTIVATION, _LOW), _not_lowered,
            causal=True, doc="masked MLP (Germain et al. 2015)",
        ),
        NetworkKind(
            "causal_conv",
            (Option("layers", 5, "convolutions"), Option("width", 32, "channels"), Option("kernel", 3, "kernel size"),
             _ACTIVATION, _LOW), _not_lowered, causal=True, doc="masked convolutions (van den Oord et al. 2016)",
        ),
        NetworkKind(
            "causal_transformer",
            (Option("layers", 4, "blocks"), Option("heads", 4, "attention heads"), Option("width", 128, "model width"),
             _LOW), _not_lowered, causal=True, doc="pre-norm transformer with a causal mask",
        ),
        NetworkKind(
            "gru",
            (Option("width", REQUIRED, "state width"), Option("direction", "forward", "forward or backward"), _OUT),
            _not_lowered, causal=True, sequence=True, doc="gated recurrent unit over the leading axis",
        ),
    )
}  # fmt: skip

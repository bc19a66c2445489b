"""Networks: what a kind declares, and a network's signature once its uses have fixed it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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
        causal: it is used in a factorization, so that its first input is read causally.
        span: the declaration's place.
    """

    name: str
    kind: str
    options: Mapping[str, OptionValue]
    inputs: tuple[TensorType, ...] = ()
    heads: tuple[Head, ...] = ()
    prior: object | None = None
    causal: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def in_features(self) -> int:
        """Width after the inputs are flattened and concatenated, a last one that is embedded as its embedding."""
        sizes = [part.size for part in self.inputs]
        match self.options.get("time"):
            case ("embedding", int(width)):
                sizes[-1:] = [width]
        return sum(sizes)

    @property
    def out_features(self) -> int:
        """Width of the last linear layer."""
        return sum(head.width for head in self.heads)

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Its parameters under their canonical names, in torch's layouts."""
        return NETWORKS[self.kind].layout(self)

    def sizes(self, option: str) -> tuple[int, ...]:
        """An option that is a list of whole numbers; empty where the kind has no such option."""
        values = self.options.get(option)
        return tuple(value for value in values if isinstance(value, int)) if isinstance(values, tuple) else ()

    def size(self, option: str) -> int:
        """An option that is a whole number."""
        value = self.options[option]
        assert isinstance(value, int)
        return value


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a network kind, bijector or sampler: name, default (REQUIRED if there is none), what it means."""

    name: str
    default: OptionValue | object
    doc: str


REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Misfit:
    """A signature that a kind does not have, or options that do not go with it, in the words of a diagnostic."""

    message: str
    expected: str
    found: str
    fix: str
    code: str = "network-options"


def _fits(network: Network) -> Iterable[Misfit]:
    del network
    return ()


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """One kind of network.

    Attributes:
        name: as written in specs.
        options: its options; the positional ones first, in order.
        layout: its parameters, from its signature; the last linear layer's weight and bias come last.
        causal: it may stand in a factorization.
        sequence: it maps a sequence to a sequence of the same length (leading axis).
        check: what of its options does not go with its signature, or with each other.
        doc: one line.
    """

    name: str
    options: tuple[Option, ...]
    layout: Callable[[Network], tuple[ParameterSpec, ...]]
    causal: bool = False
    sequence: bool = False
    check: Callable[[Network], Iterable[Misfit]] = _fits
    doc: str = ""


NETWORKS: dict[str, NetworkKind] = {}
"""Every kind by its name: the package fills it from the `KINDS` of its modules."""

ACTIVATIONS = ("relu", "tanh", "silu", "gelu", "elu", "softplus", "leaky_relu", "sigmoid")

OUT = Option("out", None, "width or shape of the output where nothing else determines it")
PRIOR = Option("prior", None, "prior over every weight and bias")
TIME = Option("time", None, "how time enters: `embedding(width)`, or None to append it")
ACTIVATION = Option("activation", "relu", "relu, tanh, silu, gelu, elu, softplus, leaky_relu or sigmoid")
HIDDEN = Option("hidden", REQUIRED, "hidden widths")


def uniform(name: str, group: str, shape: Shape, fan_in: int) -> ParameterSpec:
    """An array that starts uniform in +-1/sqrt(fan_in), as torch draws those of linear layers and convolutions."""
    return ParameterSpec(name, group, shape, Initializer("uniform", 1.0 / math.sqrt(max(fan_in, 1))))


def constant(name: str, group: str, shape: Shape, value: float) -> ParameterSpec:
    """An array that starts at one value: the scale and shift of a normalization, a gate that starts closed."""
    return ParameterSpec(name, group, shape, Initializer("constant", value))


def linear(prefix: str, group: str, inputs: int, outputs: int, *, bias: bool = True) -> tuple[ParameterSpec, ...]:
    """Weight [out, in] and bias [out] of a linear layer, both uniform in +-1/sqrt(in) as torch draws them."""
    weight = uniform(f"{prefix}.weight", group, (outputs, inputs), inputs)
    return (weight, uniform(f"{prefix}.bias", group, (outputs,), inputs)) if bias else (weight,)

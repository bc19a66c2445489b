"""Network classes: what both backends share is everything but a class's head and the names of its library."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from dgmppl.ir.emission.layout import annotated, docstring
from dgmppl.ir.emission.names import identifier
from dgmppl.ir.emission.values import unsupported
from dgmppl.ir.networks import NETWORKS, REQUIRED, Head, Network, Option
from dgmppl.ir.networks.embedding import time_width
from dgmppl.ir.types import Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of a network: an object of a runtime class, `networks.Linear(64, 32)`.

    Attributes:
        constructor: the class, as emitted text names it: `MODULE.CLASS` of the runtime package.
        arguments: what the constructor takes, in order: numbers, words, and tuples of them.
        random: whether it has parameters that start at random; then it takes a key too where the library has keys,
            behind its arguments.
        options: what it takes by name.
    """

    constructor: str
    arguments: tuple[object, ...] = ()
    random: bool = True
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a network's class.

    Attributes:
        name: `call` applies the network; any other name is the method's own.
        arguments: names, a default behind its name (`batch=()`).
        lines: logical lines, the last of them a `return`.
        doc: one line; "" for none.
    """

    name: str
    arguments: tuple[str, ...]
    lines: tuple[str, ...]
    doc: str = ""


@dataclass(frozen=True, slots=True)
class ClassBody:
    """A network's class: its parts by attribute (a tuple is a list of layers), and its methods."""

    parts: Mapping[str, Layer | tuple[Layer, ...]]
    methods: tuple[Method, ...]


class NetworkPrinter(ABC):
    """Networks as classes.

    Attributes:
        backend: its name, for messages.
        activations: activation -> template of `{}`.
        heads: support kind -> template of `{}` that maps reals into it.
        constructors: runtime class -> the library's own class, where that is the same thing.
    """

    backend: ClassVar[str]
    activations: ClassVar[Mapping[str, str]]
    heads: ClassVar[Mapping[str, str]]
    constructors: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def opening(self, name: str, doc: str, parts: Mapping[str, Layer | tuple[Layer, ...]]) -> list[str]:
        """The class's first lines: its name, docstring and parts."""

    @abstractmethod
    def signature(self, method: Method) -> str:
        """The line that opens a method."""

    def lines(self, network: Network, name: str) -> list[str]:
        """A network's class, called `name`.

        Raises:
            UnsupportedError: a kind, an option or a head that is not emitted yet.
        """
        if network.kind not in PRINTERS:
            raise unsupported(f"networks of kind {network.kind!r} ({network.name})", network.span, self.backend)
        body = PRINTERS[network.kind](network, self)
        lines = self.opening(name, describe(network), body.parts)
        for method in body.methods:
            lines += ["", f"    {self.signature(method)}", *(docstring(method.doc, 2) if method.doc else [])]
            lines += [line for text in method.lines for line in annotated(text, "", 2)]
        return lines

    def constructed(self, layer: Layer, key: str = "") -> str:
        """The text that makes a layer."""
        named = [f"{name}={_literal(value)}" for name, value in layer.options.items()]
        arguments = [*map(_literal, layer.arguments), *([key] if key else []), *named]
        return f"{self.constructors.get(layer.constructor, layer.constructor)}({', '.join(arguments)})"

    def activation(self, network: Network, value: str) -> str:
        """The network's activation of a value."""
        name = str(network.options.get("activation", "relu"))
        if name not in self.activations:
            raise unsupported(f"the activation {name!r}", network.span, self.backend)
        return self.activations[name].format(value)

    def outputs(self, network: Network, last: str, event: Shape = ()) -> tuple[list[str], list[str]]:
        """The heads from the last linear layer.

        Args:
            network: the network.
            last: text of the layer's value [.., units].
            event: the axes that every head begins with and that stand left of the units already (causal networks).

        Returns:
            lines that compute, and the text of each head.
        """
        shapes = [head.shape[len(event) :] for head in network.heads]
        if len(shapes) == 1:
            (head,), (shape,) = network.heads, shapes
            if len(shape) == 1:
                return [], [self._constrained(network, head, last)]
            lines = [] if last == "h" else [f"h = {last}"]
            return lines, [self._constrained(network, head, _shaped(shape, "h"))]
        return self._several(network, shapes, last)

    def _several(self, network: Network, shapes: list[Shape], last: str) -> tuple[list[str], list[str]]:
        widths = [math.prod(shape) for shape in shapes]
        lines, names, start = [] if last == "h" else [f"h = {last}"], [], 0
        for head, shape, width in zip(network.heads, shapes, widths, strict=True):
            stop = start + width
            part = f"h[..., {_slice(start, stop, sum(widths))}]" if shape else f"h[..., {start}]"
            name = identifier(head.name)
            name = f"{name}_" if name == "h" or name in names else name
            if len(shape) > 1:
                lines.append(f"{name} = {part}")
                part = _shaped(shape, name)
            lines.append(f"{name} = {self._constrained(network, head, part)}")
            names.append(name)
            start = stop
        return lines, names

    def _constrained(self, network: Network, head: Head, text: str) -> str:
        kind = head.support.kind
        if kind == "interval" and head.support.low is not None and head.support.high is not None:
            low, width = head.support.low, head.support.high - head.support.low
            return f"{low} + {width} * {self.heads['unit'].format(text)}"
        if kind not in self.heads:
            raise unsupported(
                f"the head {head.name!r} of {network.name!r} on {head.support}", network.span, self.backend
            )
        return self.heads[kind].format(text)


Printer: TypeAlias = Callable[[Network, NetworkPrinter], ClassBody]

PRINTERS: dict[str, Printer] = {}
"""The class of each kind of network: the package fills it from the `PRINTERS` of its modules."""


def argument_names(network: Network) -> list[str]:
    """What a network's method calls its inputs: `x`, or `x1`, `x2` and so on."""
    count = len(network.inputs)
    return ["x"] if count == 1 else [f"x{number}" for number in range(1, count + 1)]


def flat(name: str, rank: int) -> str:
    """A value with its last `rank` axes made one."""
    if rank == 1:
        return name
    return f"{name}[..., None]" if rank == 0 else f"operations.flatten({name}, {rank})"


def joined(parts: list[str]) -> str:
    """Values joined along their last axis."""
    return parts[0] if len(parts) == 1 else f"operations.concatenate([{', '.join(parts)}], -1)"


def time_part(network: Network) -> dict[str, Layer]:
    """The part that embeds the last input, with `time=embedding(width)`."""
    width = time_width(network)
    return {} if width is None else {"time": Layer("embedding.TimeEmbedding", (width,))}


def entering(network: Network) -> tuple[list[str], str]:
    """Every input flattened and joined with the others: lines that compute, and the text of the value.

    With `time=embedding(width)` the last input is a time, which enters as its embedding.
    """
    value = joined(_parts(network))
    return ([], value) if value == "x" else ([f"h = {value}"], "h")


def beside_the_first(network: Network) -> str:
    """Every input but the first, flattened and joined with the others, a time as its embedding; "" for none."""
    parts = _parts(network)[1:]
    return joined(parts) if parts else ""


def _parts(network: Network) -> list[str]:
    """Each input as a vector."""
    names = argument_names(network)
    parts = [flat(name, len(kind.shape)) for name, kind in zip(names, network.inputs, strict=True)]
    if time_width(network) is not None:
        parts[-1] = f"self.time({names[-1]})"
    return parts


def describe(network: Network) -> str:
    """A class's docstring: inputs, outputs, and the kind as a spec writes it."""
    inputs = ", ".join(str(list(part.shape)) for part in network.inputs)
    outputs = ", ".join(f"{head.name} {list(head.shape)}" for head in network.heads)
    written = [text for option in NETWORKS[network.kind].options if (text := _written(network, option))]
    kind = f"{network.kind}({', '.join(written)})" if written else network.kind
    activation = network.options.get("activation") if network.options.get("hidden", True) else None
    return f"{inputs} -> {outputs}; {kind}{f', {activation}' if activation else ''}."


def _written(network: Network, option: Option) -> str:
    """An option as a spec writes it; "" for those that the class's code shows better."""
    value = network.options.get(option.name)
    if option.default is REQUIRED:
        return str(list(value)) if isinstance(value, tuple) else str(value)
    plain = isinstance(value, int | float | str) and option.name not in {"activation", "out", "prior"}
    return f"{option.name}={value}" if plain else ""


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _slice(start: int, stop: int, end: int) -> str:
    return f"{start or ''}:{'' if stop == end else stop}"


def _shaped(shape: Shape, name: str) -> str:
    if not shape:
        return f"{name}.squeeze(-1)"
    return name if len(shape) == 1 else f"{name}.reshape(*{name}.shape[:-1], {', '.join(map(str, shape))})"

"""Network classes: what both backends share is everything but the class's head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.layout import annotated
from dgmppl.ir.emission.names import identifier
from dgmppl.ir.emission.values import unsupported
from dgmppl.ir.networks import Head, Network

_KINDS = frozenset({"linear", "mlp"})


class NetworkPrinter(ABC):
    """Networks as classes.

    Attributes:
        backend: its name, for messages.
        activations: activation -> template of `{}`.
        heads: support kind -> template of `{}` that maps reals into it.
    """

    backend: ClassVar[str]
    activations: ClassVar[Mapping[str, str]]
    heads: ClassVar[Mapping[str, str]]

    @abstractmethod
    def head(self, name: str, widths: list[int], doc: str) -> list[str]:
        """The class's first lines: its name, docstring and layers."""

    @abstractmethod
    def signature(self, arguments: list[str]) -> str:
        """The line that opens the method which applies the network."""

    def lines(self, network: Network, name: str) -> list[str]:
        """A network's class, called `name`.

        Raises:
            UnsupportedError: a kind, an option or a head that is not emitted yet.
        """
        if network.kind not in _KINDS:
            raise unsupported(f"networks of kind {network.kind!r} ({network.name})", network.span, self.backend)
        if network.options.get("time") is not None:
            raise unsupported(f"the option `time` of the network {network.name!r}", network.span, self.backend)
        hidden = network.options.get("hidden", ())
        assert isinstance(hidden, tuple)
        inner = [int(width) for width in hidden if isinstance(width, int)]
        widths = [network.in_features, *inner, network.out_features]
        return [*self.head(name, widths, self._doc(network)), "", *self._apply(network, len(inner))]

    def _doc(self, network: Network) -> str:
        inputs = ", ".join(str(list(part.shape)) for part in network.inputs)
        outputs = ", ".join(f"{head.name} {list(head.shape)}" for head in network.heads)
        hidden = network.options.get("hidden")
        text = f"{network.kind}({list(hidden)})" if isinstance(hidden, tuple) else network.kind
        activation = network.options.get("activation")
        return f"{inputs} -> {outputs}; {text}{f', {activation}' if activation and hidden else ''}."

    def _apply(self, network: Network, hidden: int) -> list[str]:
        count = len(network.inputs)
        arguments = ["x"] if count == 1 else [f"x{number}" for number in range(1, count + 1)]
        body = []
        value = self._joined(network, arguments)
        if count > 1 or value != "x":
            body.append(f"h = {value}")
            value = "h"
        activation = str(network.options.get("activation", "relu"))
        if hidden and activation not in self.activations:
            raise unsupported(f"the activation {activation!r}", network.span, self.backend)
        for number in range(hidden):
            body.append(f"h = {self.activations[activation].format(f'self.layers[{number}]({value})')}")
            value = "h"
        body += self._outputs(network, f"self.layers[{hidden}]({value})")
        return [f"    {self.signature(arguments)}", *(line for text in body for line in annotated(text, "", 2))]

    def _joined(self, network: Network, arguments: list[str]) -> str:
        parts = [_flat(name, len(kind.shape)) for name, kind in zip(arguments, network.inputs, strict=True)]
        return parts[0] if len(parts) == 1 else f"operations.concatenate([{', '.join(parts)}], -1)"

    def _outputs(self, network: Network, last: str) -> list[str]:
        if len(network.heads) == 1:
            (head,) = network.heads
            if len(head.shape) == 1:
                return [f"return {self._constrained(network, head, last)}"]
            return [f"h = {last}", f"return {self._constrained(network, head, _shaped(head, 'h'))}"]
        lines, names, start = [f"h = {last}"], [], 0
        for head in network.heads:
            stop = start + head.width
            part = f"h[..., {start}]" if not head.shape else f"h[..., {_slice(start, stop, network.out_features)}]"
            name = identifier(head.name)
            name = f"{name}_" if name == "h" or name in names else name
            if len(head.shape) > 1:
                lines.append(f"{name} = {part}")
                part = _shaped(head, name)
            lines.append(f"{name} = {self._constrained(network, head, part)}")
            names.append(name)
            start = stop
        return [*lines, f"return {', '.join(names)}"]

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


def _flat(name: str, rank: int) -> str:
    if rank == 1:
        return name
    return f"{name}[..., None]" if rank == 0 else f"operations.flatten({name}, {rank})"


def _slice(start: int, stop: int, end: int) -> str:
    return f"{start or ''}:{'' if stop == end else stop}"


def _shaped(head: Head, name: str) -> str:
    if not head.shape:
        return f"{name}[..., 0]"
    return f"{name}.reshape(*{name}.shape[:-1], {', '.join(map(str, head.shape))})"

"""Classes of causal networks: one pass over all elements, and one element at a time with a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from itertools import pairwise

from dgmppl.ir.emission.networks.core import ClassBody, Layer, Method, NetworkPrinter, Printer, flat, joined
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.causal import CausalSignature, causal_signature, element_states, masked_layers, visiting_order
from dgmppl.ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Core:
    """What one kind of causal network is, given elements in the order in which they are visited.

    Attributes:
        parts: layers by attribute.
        like: text of an array of the network's, for precision and device.
        call: lines that make `h` [.., D, K] from the elements `x` [.., D] and the context `c` [.., C].
        caches: name -> text of its start value, which may read `c` and the batch axes `batch`.
        step: lines that bring the caches up to element i - 1, whose value `previous` [..] is (to be ignored at i = 0),
            and make `h` [.., K], what belongs to element i.
        bare: K is 1, and `call` makes `h` [.., D] instead.
    """

    parts: Mapping[str, Layer | tuple[Layer, ...]]
    like: str
    call: tuple[str, ...]
    caches: Mapping[str, str]
    step: tuple[str, ...]
    bare: bool = False


def causal_class(network: Network, printer: NetworkPrinter, core: Core) -> ClassBody:
    """The class of a causal network: `call`, `start` and `step`.

    call(x, *context) -> heads: one pass over all elements.
    start(*context, batch=()) -> cache: nothing seen yet; its batch axes are `batch` and the context's, broadcast.
    step(cache, i, previous) -> (cache, heads of the i-th element visited), given the value of the one before.
    """
    order = visiting_order(network)
    ordering = {} if order is None else {"order": Layer("causal.Order", (order,), random=False)}
    methods = (_call(network, printer, core), _start(network, core), _step(network, printer, core))
    return ClassBody({**core.parts, **ordering}, methods)


def _call(network: Network, printer: NetworkPrinter, core: Core) -> Method:
    net, ordered = causal_signature(network), visiting_order(network) is not None
    value = flat("x", len(net.event))
    value = f"self.order.visit({value})" if ordered else value
    lines = [*([f"x = {value}"] if value != "x" else []), *_context(network, core.like), *core.call]
    lines += ["h = self.order.restore(h)"] if ordered else []
    if len(net.event) != 1:
        shape = net.event if core.bare else (*net.event, net.outputs)
        lines.append(f"h = h.reshape(*h.shape[:{-1 if core.bare else -2}], {', '.join(map(str, shape))})")
    # A bare `h` holds the one head, whose last axis is the event's own.
    more, heads = printer.outputs(network, "h", net.event[:-1] if core.bare else net.event)
    return Method("call", ("x", *_context_names(network)), (*lines, *more, f"return {', '.join(heads)}"))


def _start(network: Network, core: Core) -> Method:
    names = _context_names(network)
    lines = [*_context(network, core.like), *(["batch = causal.joint_batch(batch, c)"] if names else [])]
    entries = list(core.caches.values())
    doc = "The cache before the first element."
    return Method("start", (*names, "batch=()"), (*lines, f"return {', '.join(entries)}{_comma(entries)}"), doc)


def _step(network: Network, printer: NetworkPrinter, core: Core) -> Method:
    cache = f"{', '.join(core.caches)}{_comma(core.caches)}"
    more, heads = printer.outputs(network, "h", causal_signature(network).event)
    found = heads[0] if len(heads) == 1 else f"({', '.join(heads)})"
    lines = (f"{cache} = cache", *core.step, *more, f"return ({cache}), {found}")
    doc = "The cache, and what the network says of the i-th element visited, given the one before."
    return Method("step", ("cache", "i", "previous"), lines, doc)


def _comma(entries: Sized) -> str:
    return "," * (len(entries) == 1)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def features(net: CausalSignature, name: str, like: str) -> str:
    """Elements [..] as what they are to a layer, [.., F]: indicator vectors of integers, other values as numbers."""
    if net.states is None:
        return f"causal.number({name}, {like})[..., None]"
    return f"operations.one_hot({name}, {net.states}, {like})"


def _context_names(network: Network) -> list[str]:
    count = len(network.inputs) - 1
    return ["c"] if count == 1 else [f"c{number}" for number in range(1, count + 1)]


def _context(network: Network, like: str) -> list[str]:
    """Lines that make `c` [.., C] of all inputs behind the first."""
    parts = [
        _context_part(name, kind, like) for name, kind in zip(_context_names(network), network.inputs[1:], strict=True)
    ]
    return [f"c = {joined(parts)}"] if parts and parts != ["c"] else []


def _context_part(name: str, kind: TensorType, like: str) -> str:
    states = element_states(kind)
    if states is None:
        return flat(name, len(kind.shape))
    return flat(f"operations.one_hot({name}, {states}, {like})", len(kind.shape) + 1)


# ---- masked MLP ------------------------------------------------------------------------------------------------------


def made(network: Network, printer: NetworkPrinter) -> ClassBody:
    """h_l = s((W_l * M_l) h_(l-1) + b_l); units are sorted by degree, so that a step computes those of one degree."""
    layers = masked_layers(network)
    shown = tuple(
        Layer("causal.MaskedLinear", (part.inputs, part.outputs, part.seen, part.degrees, part.context))
        for part in layers
    )
    caches = {
        f"h{number}" if number else "x": f"self.layers[{number}].room(batch{', c' if part.context else ''})"
        for number, part in enumerate(layers)
    }
    bare = causal_signature(network).outputs == 1 and visiting_order(network) is None
    call = _made_call(network, printer, bare)
    core = Core({"layers": shown}, _LIKE, call, caches, _made_step(network, printer), bare)
    return causal_class(network, printer, core)


_LIKE = "self.layers[0].weight"


def _made_call(network: Network, printer: NetworkPrinter, bare: bool) -> tuple[str, ...]:
    net, layers = causal_signature(network), masked_layers(network)
    x = f"causal.number(x, {_LIKE})" if net.states is None else flat(features(net, "x", _LIKE), 2)
    lines, value = [f"x = {x}"], "x"
    for number, layer in enumerate(layers):
        entering = joined(["c", value]) if layer.context else value
        units = f"self.layers[{number}]({entering})"
        lines.append(f"h = {printer.activation(network, units) if number < len(layers) - 1 else units}")
        value = "h"
    return tuple(lines) if bare else (*lines, f"h = h.reshape(*h.shape[:-1], {net.elements}, {net.outputs})")


def _made_step(network: Network, printer: NetworkPrinter) -> tuple[str, ...]:
    layers = [f"layer{number}" for number in range(len(masked_layers(network)))]
    given = features(causal_signature(network), "previous", f"{layers[0]}.weight")
    lines = [f"{', '.join(layers)}{_comma(layers)} = self.layers", f"x = {layers[0]}.fill(x, {given}, i)"]
    value = "x"
    for number, (before, after) in enumerate(pairwise(layers), 1):
        units = printer.activation(network, f"{before}.units({value}, i)")
        value = f"h{number}"
        lines.append(f"{value} = {after}.fill({value}, {units}, i)")
    return (*lines, f"h = {layers[-1]}.units({value}, i)")


PRINTERS: dict[str, Printer] = {"made": made}

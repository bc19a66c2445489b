"""Bijector classes: a chain of runtime steps, laid out as the spec wrote it, and the classes of its conditioners."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar, TypeAlias

from dgmppl.ir.bijectors import Bijector, Step, ordering
from dgmppl.ir.emission.layout import wrap
from dgmppl.ir.emission.networks import NetworkPrinter
from dgmppl.ir.emission.values import unsupported
from dgmppl.ir.networks import Network, visiting_order
from dgmppl.ir.types import Shape

_SLOT = "\0"


@dataclass(frozen=True, slots=True)
class Branch:
    """Steps that stand in one list of the spec, by their places in it.

    Attributes:
        parts: steps, and branches of them, in the order of their places.
        inverted: the list runs backwards.
    """

    parts: tuple[Tree, ...]
    inverted: bool = False


Tree: TypeAlias = "Step | Branch"


@dataclass(frozen=True, slots=True)
class _Text:
    """A piece of text, with a slot for each order of elements that stands in it."""

    template: str
    orders: tuple[tuple[int, ...], ...] = ()

    def filled(self, orders: Sequence[str] | None = None) -> str:
        """The text, each slot filled with an order's own text or with one that is given."""
        words = iter(orders if orders is not None else [str(list(order)) for order in self.orders])
        head, *rest = self.template.split(_SLOT)
        return head + "".join(f"{next(words)}{part}" for part in rest)


class BijectorPrinter(ABC):
    """Bijectors as classes.

    Attributes:
        backend: its name, for messages.
        networks: the printer of conditioners.
        key: what a constructor with random start values takes last; "" where the library has no keys.
    """

    backend: ClassVar[str]
    networks: ClassVar[NetworkPrinter]
    key: ClassVar[str]

    @abstractmethod
    def opening(self, name: str, doc: str, orders: str, random: int) -> list[str]:
        """The class's first lines, up to the call of its base class.

        Args:
            name: the class.
            doc: its docstring.
            orders: the text of the table of orders that its steps read, or "".
            random: how many parts start at random.
        """

    def blocks(
        self, bijector: Bijector, name: str, taken: Collection[str], shared: Mapping[str, Network]
    ) -> Iterator[list[str]]:
        """The classes of a bijector's conditioners, one for all that have the same structure, then its own.

        Args:
            bijector: the bijector, its shapes inferred.
            name: its class.
            taken: names of other classes.
            shared: the program's networks.

        Raises:
            UnsupportedError: a step or a conditioner that is not emitted yet.
        """
        conditioners: list[tuple[Network, str]] = []
        for step in bijector.walk():
            if step.conditioner is not None and _class_of(step.conditioner, conditioners) is None:
                names = {*taken, *(known for _, known in conditioners)}
                wished = (f"{name}Conditioner{'' if number == 1 else number}" for number in count(1))
                conditioners.append((step.conditioner, next(wish for wish in wished if wish not in names)))
        for network, conditioner in conditioners:
            yield self.networks.lines(network, conditioner)
        yield self._chain(bijector, name, _Steps(self, conditioners, shared))

    def _chain(self, bijector: Bijector, name: str, steps: _Steps) -> list[str]:
        tree = arranged(bijector.steps, bijector.name)
        text, table = self._outermost(tree, steps)
        random = sum(step.conditioner is not None or step.kind == "planar" for step in bijector.walk())
        event = list(bijector.event or ())
        lines = self.opening(name, f"z {event} -> x {event}: {described(tree)}.", table, random)
        call = f"super().__init__({text})"
        return [*lines, *wrap(call, 2)]

    def _outermost(self, tree: Branch, steps: _Steps) -> tuple[str, str]:
        """The list of steps, and the table of orders that it reads where copies differ in nothing else."""
        parts = [steps.text(part) for part in tree.parts]
        each = len(parts[0].orders)
        if len(parts) < 2 or len({part.template for part in parts}) > 1 or not each:
            return steps.joined(parts).filled(), ""
        rows = [list(map(list, part.orders)) if each > 1 else list(part.orders[0]) for part in parts]
        slots = ["order"] if each == 1 else [f"order[{number}]" for number in range(each)]
        return f"[{parts[0].filled(slots)} for order in self.orders]", str(rows)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps of one bijector as text."""

    printer: BijectorPrinter
    conditioners: list[tuple[Network, str]]
    shared: Mapping[str, Network]

    def text(self, part: Tree) -> _Text:
        """A step as the object that it is, a list of steps as a list, or as a chain that runs backwards."""
        if isinstance(part, Branch):
            inner = self.joined([self.text(one) for one in part.parts])
            return replace(inner, template=f"bijectors.Chain({inner.template}).inverted()") if part.inverted else inner
        if part.kind not in _CONSTRUCTORS:
            raise unsupported(f"the bijector step `{part.kind}`", part.span, self.printer.backend)
        made = _CONSTRUCTORS[part.kind](part, self)
        return replace(made, template=f"{made.template}.inverted()") if part.inverted else made

    def joined(self, parts: list[_Text]) -> _Text:
        """A list; equal copies without orders of their own as a comprehension."""
        if len(parts) > 1 and len(set(parts)) == 1 and not parts[0].orders:
            return _Text(f"[{parts[0].template} for _ in range({len(parts)})]")
        text = ", ".join(part.template for part in parts)
        return _Text(f"[{text}]", tuple(order for part in parts for order in part.orders))

    def network(self, step: Step) -> str:
        """A step's conditioner: an object of its class, or the place of a shared one."""
        if step.conditioner is None:
            return f'bijectors.Shared("{step.network}")'
        return f"{_class_of(step.conditioner, self.conditioners)}({self.printer.key})"


def arranged(steps: Sequence[Step], prefix: str) -> Branch:
    """Steps in their order from base to data, as the lists in which the spec wrote them.

    Args:
        steps: the steps.
        prefix: the canonical name of what they belong to; a step's path goes on with its places.
    """
    placed = [(tuple(map(int, step.path.removeprefix(f"{prefix}.").split("."))), step) for step in steps]
    return _branch(placed, 0)


def _branch(placed: list[tuple[tuple[int, ...], Step]], depth: int) -> Branch:
    groups: dict[int, list[tuple[tuple[int, ...], Step]]] = {}
    for places, step in placed:
        groups.setdefault(places[depth], []).append((places, step))
    inverted = len(groups) > 1 and list(groups) == sorted(groups, reverse=True)
    if inverted:
        groups = {
            place: [(places, replace(step, inverted=not step.inverted)) for places, step in reversed(group)]
            for place, group in groups.items()
        }
    parts = tuple(
        group[0][1] if len(group[0][0]) == depth + 1 else _branch(group, depth + 1)
        for _, group in sorted(groups.items())
    )
    return Branch(parts, inverted)


def described(tree: Tree) -> str:
    """Steps as a spec writes them, copies counted."""
    if isinstance(tree, Branch):
        texts = [described(part) for part in tree.parts]
        same = len(texts) > 1 and len(set(texts)) == 1
        text = f"{len(texts)} x ({texts[0]})" if same else ", ".join(texts)
        return f"inverse([{text}])" if tree.inverted else text
    words = [_network(tree), "" if tree.element is None else described(tree.element)]
    words += [described(arranged(tree.steps, tree.path))] if tree.steps else []
    words += [f"{name}={value}" for name, value in tree.options.items() if value is not None and value != "density"]
    text = f"{tree.kind}({', '.join(word for word in words if word)})"
    return f"inverse({text})" if tree.inverted else text


def _network(step: Step) -> str:
    if step.conditioner is None:
        return step.network or ""
    hidden = step.conditioner.sizes("hidden")
    return f"{step.conditioner.kind}({list(hidden)})" if hidden else step.conditioner.kind


def _class_of(network: Network, known: list[tuple[Network, str]]) -> str | None:
    return next((name for other, name in known if replace(other, name=network.name) == network), None)


def _event(step: Step) -> Shape:
    return step.event or ()


def _shape(step: Step) -> str:
    event = _event(step)
    return str(event[0]) if len(event) == 1 else str(event)


def _element(step: Step) -> str:
    if step.kind == "spline":
        return f"bijectors.Spline({step.options['bins']}, {step.options['bound']})"
    return "bijectors.Affine()"


def _plain(name: str) -> Callable[[Step, _Steps], _Text]:
    return lambda step, _: _Text(f"bijectors.{name}({_shape(step)})")


def _spline(step: Step, steps: _Steps) -> _Text:
    del steps
    return _Text(f"bijectors.Elementwise({_element(step)}, {_shape(step)})")


def _ordered(name: str) -> Callable[[Step, _Steps], _Text]:
    def text(step: Step, steps: _Steps) -> _Text:
        del steps
        order = ordering(step.place, math.prod(_event(step)))
        event = "" if len(_event(step)) == 1 else f", {_event(step)}"
        return _Text(f"bijectors.{name}({_SLOT}{event})", (order,))

    return text


def _planar(step: Step, steps: _Steps) -> _Text:
    key = f", {steps.printer.key}" if steps.printer.key else ""
    return _Text(f"bijectors.Planar({_shape(step)}{key})")


def _multiscale(step: Step, steps: _Steps) -> _Text:
    inner = steps.joined([steps.text(part) for part in arranged(step.steps, step.path).parts])
    return replace(inner, template=f"bijectors.Multiscale({inner.template}, {_shape(step)})")


def _coupling(step: Step, steps: _Steps) -> _Text:
    assert step.element is not None
    return _Text(f"bijectors.Coupling({steps.network(step)}, {_element(step.element)}, {_shape(step)})")


def _autoregressive(step: Step, steps: _Steps) -> _Text:
    assert step.element is not None
    arguments = [steps.network(step), _element(step.element), _shape(step)]
    if step.options.get("direction") == "inverse":
        arguments.append('direction="inverse"')
    order = visiting_order(step.conditioner or steps.shared[str(step.network)])
    if order is not None:
        arguments.append(f"order={list(order)}")
    return _Text(f"bijectors.Autoregressive({', '.join(arguments)})")


def _ode(step: Step, steps: _Steps) -> _Text:
    options = step.options
    method, steps_between = options["solver"], options["steps"]
    arguments = [steps.network(step), _shape(step), f'"{method}"', options["rtol"], options["atol"], steps_between]
    return _Text(f'odes.Ode({", ".join(map(str, arguments))}, "{options["trace"]}")')


_CONSTRUCTORS: Mapping[str, Callable[[Step, _Steps], _Text]] = {
    "affine": _plain("Diagonal"),
    "actnorm": _plain("ActNorm"),
    "spline": _spline,
    "permute": _ordered("Permute"),
    "reverse": _plain("Reverse"),
    "lu_linear": _ordered("LULinear"),
    "planar": _planar,
    **{kind: _plain(kind.capitalize()) for kind in ("sigmoid", "logit", "softplus", "exp", "log", "tanh", "squeeze")},
    "multiscale": _multiscale,
    "coupling": _coupling,
    "autoregressive": _autoregressive,
    "ode": _ode,
}

"""Directed graphs of a few dozen nodes: what lies above and below a node, components, orders, d-separation.

The whole front end needs no more than this, and importing a graph library would take longer than compiling a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import combinations
from typing import Generic, TypeVar

from dgmppl.errors import InternalError

Node = TypeVar("Node", bound=Hashable)


class Digraph(Generic[Node]):
    """A directed graph without parallel edges; nodes and edges keep the order in which they came."""

    def __init__(self, nodes: Iterable[Node] = (), edges: Iterable[tuple[Node, Node]] = ()) -> None:
        """A graph; the ends of edges are nodes too.

        Args:
            nodes: in order.
            edges: from parent to child.
        """
        self._children: dict[Node, dict[Node, None]] = {}
        self._parents: dict[Node, dict[Node, None]] = {}
        for node in nodes:
            self.add(node)
        for parent, child in edges:
            self.connect(parent, child)

    def __contains__(self, node: object) -> bool:
        return node in self._children

    def __iter__(self) -> Iterator[Node]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    @property
    def edges(self) -> tuple[tuple[Node, Node], ...]:
        """All edges, from parent to child."""
        return tuple((parent, child) for parent, children in self._children.items() for child in children)

    def add(self, node: Node) -> None:
        """Add a node that may be there already."""
        self._children.setdefault(node, {})
        self._parents.setdefault(node, {})

    def connect(self, parent: Node, child: Node) -> None:
        """Add an edge, and its ends."""
        self.add(parent)
        self.add(child)
        self._children[parent][child] = None
        self._parents[child][parent] = None

    def children(self, node: Node) -> tuple[Node, ...]:
        """Where a node's edges lead."""
        return tuple(self._children[node])

    def parents(self, node: Node) -> tuple[Node, ...]:
        """Where the edges into a node come from."""
        return tuple(self._parents[node])

    def descendants(self, node: Node) -> frozenset[Node]:
        """What can be reached from a node, itself left out."""
        return reached(self._children.__getitem__, node) - {node}

    def ancestors(self, node: Node) -> frozenset[Node]:
        """What a node can be reached from, itself left out."""
        return reached(self._parents.__getitem__, node) - {node}

    def components(self) -> tuple[frozenset[Node], ...]:
        """The sets of nodes that hang together, whatever the direction of the edges."""

        def beside(node: Node) -> tuple[Node, ...]:
            return (*self._children[node], *self._parents[node])

        return tuple(dict.fromkeys(reached(beside, node) for node in self))

    def cycles(self) -> tuple[frozenset[Node], ...]:
        """The sets of nodes that can be reached from each other; a node outside every cycle is a set of its own."""
        return tuple(dict.fromkeys((self.descendants(node) & self.ancestors(node)) | {node} for node in self))

    def sorted(self) -> tuple[Node, ...]:
        """Parents before children, and among those that are free the first one first.

        Raises:
            InternalError: there is a cycle.
        """
        placed: dict[Node, None] = {}
        while len(placed) < len(self):
            free = (node for node in self if node not in placed and self._parents[node].keys() <= placed.keys())
            node = next(free, None)
            if node is None:
                raise InternalError("a graph with a cycle has no order")
            placed[node] = None
        return tuple(placed)

    def separates(self, known: Iterable[Node], first: Iterable[Node], second: Iterable[Node]) -> bool:
        """Whether `known` d-separates two sets of nodes of an acyclic graph; the three sets are disjoint.

        By the moral graph of their ancestors (Lauritzen, Dawid, Larsen and Leimer 1990, proposition 3).
        """
        known, first, second = set(known), set(first), set(second)
        kept = set().union(*({node} | self.ancestors(node) for node in known | first | second))
        near: dict[Node, set[Node]] = {node: set() for node in kept}
        for node in kept:
            for one, other in combinations((node, *self._parents[node]), 2):
                near[one].add(other)
                near[other].add(one)
        return not any(reached(lambda here: near[here] - known, node) & second for node in first)


def reached(step: Callable[[Node], Iterable[Node]], start: Node) -> frozenset[Node]:
    """Every node that repeated steps lead to, the start included."""
    found, pending = {start}, [start]
    while pending:
        new = [node for node in step(pending.pop()) if node not in found]
        found.update(new)
        pending.extend(new)
    return frozenset(found)

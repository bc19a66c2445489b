"""Closures and orders over the few names of a program.

Questions of graph theory proper (d-separation, components) go to networkx, which is imported where they are asked: it
takes a fifth of the time of `dgmppl check`, and most specs never need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter


def reachable(starts: Iterable[str], neighbours: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """The nodes that some start leads to over any number of steps, the starts included."""
    found: set[str] = set()
    pending = list(starts)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(neighbours(name))
    return frozenset(found)


def parents_first(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """The keys, each after its parents; among those that may come next, the one that stands first in the mapping.

    Raises:
        graphlib.CycleError: there is no such order.
    """
    sorter = TopologicalSorter(parents)
    sorter.prepare()
    place = {name: position for position, name in enumerate(parents)}
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        name = min(ready, key=place.__getitem__)
        ready.remove(name)
        order.append(name)
        sorter.done(name)
    return order

"""How chains in time read each other, and how many steps of each a recursion over time has to remember."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from dgmppl.ir.analyses import deterministic, expressions, sources
from dgmppl.ir.densities import Density, Deterministic, MarkovChain
from dgmppl.ir.expressions import Expression, Index, Literal, Name, Operation, children, walk
from dgmppl.ir.program import Program, Site


def lag_of(item: Expression, index: str) -> int | None:
    """k where an index is `t - k`; None where it is no lag of a chain's index."""
    match item:
        case Name(id=found) if found == index:
            return 0
        case Operation(operator="-", operands=(Name(id=found), Literal(value=int() as lag))) if found == index:
            return lag
        case _:
            return None


def references(chain: MarkovChain) -> list[tuple[str, int]]:
    """(name, lag) of everything that the general step reads at some lag."""
    return [
        (node.value.id, lag)
        for expression in expressions(chain.transition)
        for node in walk(expression)
        if isinstance(node, Index) and isinstance(node.value, Name)
        if (lag := lag_of(node.items[0], chain.index)) is not None
    ]


def reach(chain: MarkovChain) -> int:
    """The first position at which everything that the general step reads exists: the largest lag."""
    return max((lag for _, lag in references(chain)), default=0)


def first_general(chain: MarkovChain) -> int:
    """The first position from which on the general step holds everywhere: after all steps with a line of their own."""
    return max(reach(chain), *(position + 1 for position, _ in chain.initial), 0)


def pointwise(site: Site | None, index: str) -> MarkovChain | None:
    """The chain whose steps are computed from the same step of others alone, `h[t]: g(z[t])`; None for any other."""
    match site:
        case Site(density=MarkovChain(transition=Deterministic(), lag=0, initial=()) as chain) if chain.index == index:
            return None if any(lag for _, lag in references(chain)) else chain
    return None


def lags(program: Program, density: Density, name: str, index: str) -> tuple[int, ...] | None:
    """How far back the steps of a chain read `name`: (0,) for `z[t]`, (0, 1) with `z[t-1]` too.

    Steps that are computed from the same step of other chains are looked through; in a chain's own starts, `z[0]` at
    position 1 is a lag of 1.

    Returns:
        The lags in increasing order, or None if some reference is no lag (`mean(z)`, `z[3]`).
    """
    chain = density if isinstance(density, MarkovChain) else None
    found = [_lags(program, part, name, index, None) for part in expressions(chain.transition if chain else density)]
    for position, start in chain.initial if chain else ():
        found += [_lags(program, part, name, index, position) for part in expressions(start)]
    known = [inside for inside in found if inside is not None]
    return tuple(sorted(set().union(*known))) if len(known) == len(found) else None


def _lags(program: Program, expression: Expression, name: str, index: str, position: int | None) -> set[int] | None:
    match expression:
        case Index(value=Name(id=found), items=(item, *rest)) if found == name:
            lag = _back(item, index, position)
            inside = [_lags(program, part, name, index, position) for part in rest]
            return None if lag is None or any(part != set() for part in inside) else {lag}
        case Index(value=Name(id=found), items=(item,)) if _back(item, index, position) == 0:
            chain = pointwise(program.by_name.get(found), index)
            if chain is not None:
                assert isinstance(chain.transition, Deterministic)
                return _lags(program, chain.transition.expression, name, index, None)
    match expression:
        case Name(id=found) if found == name:
            return None
        case Name(id=found) if found in program.by_name and deterministic(program.by_name[found]):
            return None if name in sources(program, frozenset({found})) else set()
        case _:
            parts = [_lags(program, part, name, index, position) for part in children(expression)]
            known = [part for part in parts if part is not None]
            return set().union(*known) if len(known) == len(parts) else None


def _back(item: Expression, index: str, position: int | None) -> int | None:
    """How many steps before the present one an index stands; None where that is not known or after it."""
    if position is None:
        return lag_of(item, index)
    match item:
        case Literal(value=int() as at) if 0 <= at <= position:
            return position - at
    return None


def depths(program: Program, names: Iterable[str], readers: Iterable[str]) -> Mapping[str, int] | None:
    """How many steps of each chain a state holds, from which the next state and what is read at a time follow.

    Args:
        program: the model.
        names: the chains that are eliminated together.
        readers: the sites that are conditioned on them.

    Returns:
        The number of steps by chain, or None where one of them is read otherwise than step by step.
    """
    chains = tuple(names)
    found = dict.fromkeys(chains, 1)
    for reader in (*chains, *readers):
        density = program.by_name[reader].density
        for name in chains:
            if not isinstance(density, MarkovChain):
                return None
            known = lags(program, density, name, density.index)
            if known is None:
                return None
            # A chain's own step comes after the state that it reads; what is read from is in the state.
            ahead = 0 if reader in found else 1
            found[name] = max(found[name], *(lag + ahead for lag in known), 0)
    return found


def joint_states(program: Program, remembered: Mapping[str, int]) -> int | None:
    """How many values the steps that a state holds take together; None where they are not finite."""
    count = 1
    for name, depth in remembered.items():
        typed = program.by_name[name].typed
        if typed.support.states is None:
            return None
        count *= typed.support.states ** (depth * math.prod(typed.shape[1:]))
    return count

"""Which integer data columns can be kept as real numbers: those whose integers only enter arithmetic.

Emitted functions cast a column where it enters arithmetic; a column that is stored as reals saves that at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

from dgmppl.ir.kernel import Function, LogProb, Op, Var

# Families whose log density takes 0/1 data as reals.
_REAL_FAMILIES = frozenset({"Bernoulli"})


def arithmetic(functions: Iterable[Function]) -> frozenset[str]:
    """The columns that every use in these functions casts to reals: none is an index."""
    uses: dict[str, bool] = {}
    for function in functions:
        for column, local in function.columns:
            nodes = [node for statement in function.body for node in _walk(statement)]
            every = sum(node == Var(local) for node in nodes)
            cast = sum(_casts(node, Var(local)) for node in nodes)
            uses[column] = uses.get(column, True) and every == cast
    return frozenset(column for column, real in uses.items() if real)


def _casts(node: object, variable: Var) -> bool:
    match node:
        case Op(name="cast", operands=(operand,)):
            return operand == variable and node.option("dtype") == "real"
        case LogProb(value=value, density=density):
            return value == variable and density.family in _REAL_FAMILIES
    return False


def _walk(node: object) -> Iterator[object]:
    """A statement or value and everything below it."""
    if isinstance(node, tuple):
        for part in node:
            yield from _walk(part)
    elif is_dataclass(node):
        yield node
        for field in fields(node):
            if field.name not in {"span", "type"}:
                yield from _walk(getattr(node, field.name))

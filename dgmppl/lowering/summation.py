"""Finite sums: variable elimination with one left axis per enumerated latent.

Axes are allotted so that the first latent to be eliminated is leftmost; each elimination is then a reduction over
axis 0 of the factors that contain the latent, and the others are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dgmppl.errors import InternalError
from dgmppl.ir.kernel import Op
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import NEVER, Lowered, combine, number, op, total
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import LogSum, Sum, Term
from dgmppl.objectives.capabilities import indicators


def bind_states(scope: Scope, site: Site) -> Lowered:
    """Binds a discrete site to all of its states, on a new axis left of all others."""
    kind = site.typed
    states = kind.support.states
    if states is None:
        raise InternalError(f"{site.name!r} has no finite support")
    length = indicators(site)
    value = _states(kind.shape, states, scope) if length is None else _states(kind.shape[:-1], length, scope)
    if length is not None:
        value = op("one_hot", value, size=length)
    dtype = Dtype.INTEGER if length is None else Dtype.REAL
    lowered = Lowered(value, kind.shape, True, dtype, frozenset({site.name}))
    bound = scope.assign(site.name, lowered)
    scope.bind(site.name, bound)
    scope.trailing += 1
    return bound


def _states(shape: Shape, size: int, scope: Scope) -> Op:
    """All values of a number, or of an array of numbers, below `size`: a new left axis."""
    if shape:
        return op("states", shape=shape, size=size, trailing=scope.trailing)
    return op("arange", size=size, trailing=scope.trailing)


def factors(scope: Scope, term: LogSum, lower: Callable[[Term], Lowered]) -> list[Lowered]:
    """Binds the latents of a sum, innermost last, and returns its factors with the axes that they vary over."""
    if term.elementwise or term.rule != "enumerate":
        site = scope.program.by_name[term.names[0]]
        raise unsupported(f"the rule {term.rule!r} at {site.name!r}", site.span)
    for name in reversed(term.names):
        bind_states(scope, scope.program.by_name[name])
    parts = term.body.terms if isinstance(term.body, Sum) else (term.body,)
    held = [_held(scope, name) for name in term.names if term.partly_observed and name in scope.program.columns]
    return [*(lower(part) for part in parts), *held]


def _held(scope: Scope, name: str) -> Lowered:
    """log of the indicator that a state is the one that the data hold; 0 in the rows that lack it."""
    states = lookup(scope, name)
    column = scope.column(name, scope.program.by_name[name].typed)
    same = combine("call", combine("eq", states, column), number(0.0), number(NEVER), function="where")
    return combine("call", scope.mask(name), same, number(0.0), function="where", dtype=Dtype.REAL)


def log_sum(scope: Scope, term: LogSum, lower: Callable[[Term], Lowered]) -> Lowered:
    """log sum over the latents of exp(sum of factors), by elimination in the order of `term.names`."""
    with scope.branch():
        parts = factors(scope, term, lower)
        for name in term.names:
            inside = [part for part in parts if name in part.axes]
            outside = [part for part in parts if name not in part.axes]
            joint = total(inside)
            summed = joint.with_value(op("reduce_leading", joint.value, function="logsumexp"))
            parts = [*outside, replace(summed, axes=summed.axes - {name})]
        return scope.assign("log_p", total(parts))

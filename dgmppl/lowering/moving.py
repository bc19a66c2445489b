"""Parameters whose bounds are expressions of other parameters: the bijection onto their support moves with these.

The compiled module has one function for each, `support_of_NAME`, from the values that its bounds read to the bijection;
whatever unpacks the parameter unpacks those first. The language wants names in generative order, so there is no cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.analyses import reads
from dgmppl.ir.densities import Deterministic, FlatPrior
from dgmppl.ir.ends import moves, moving_ends
from dgmppl.ir.expressions import Expression, Literal, Sequence, free_names, substitute
from dgmppl.ir.kernel import Function, Group, Return, Value
from dgmppl.ir.parameters import Initializer
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.groups import Always
from dgmppl.lowering.layout import Lowered, number, op, raise_rank
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.passes.constants import constant

# Event-shaped start values by parameter; all copies of a level start alike.
Starts = dict[str, NDArray[np.float64]]


def with_moving_bounds(program: Program, groups: Mapping[str, Group]) -> dict[str, Group]:
    """The groups, those of parameters with moving bounds with the function of these and a start inside them.

    Raises:
        UnsupportedError: bounds that read what is no parameter with a prior, or whose start values cannot be computed.
    """
    result, starts = dict(groups), Starts()
    for site in program.with_role(Role.PARAMETER):
        if site.name not in groups:
            continue
        (spec,) = groups[site.name].parameters
        starts[site.name] = np.full(site.typed.shape, spec.init.value)
        if moves(site) and not _given(program, site):
            function = _support_function(program, groups, site)
            starts[site.name] = np.broadcast_to(_middle(program, starts, site), site.typed.shape)
            init = Initializer("own", draw=Always(np.broadcast_to(starts[site.name], spec.shape).astype(np.float64)))
            result[site.name] = replace(groups[site.name], parameters=(replace(spec, init=init),), bounds=function)
    return result


def bounds(scope: Scope, site: Site) -> tuple[Lowered | None, Lowered | None]:
    """The two ends of a site's support, one for each element of its event; None where that side is open."""
    support = site.typed.support
    first, second = moving_ends(site)
    return _end(scope, site, support.low, first), _end(scope, site, support.high, second)


def moving_bounds(scope: Scope, site: Site) -> tuple[tuple[str, Value], ...]:
    """The ends `low` and `high` of the support of a site that is drawn, where they move; empty elsewhere."""
    if site.role is Role.OBSERVED or not moves(site):
        return ()
    return tuple((name, end.value) for name, end in zip(("low", "high"), bounds(scope, site), strict=True) if end)


def _end(scope: Scope, site: Site, fixed: float | None, moving: Expression | None) -> Lowered | None:
    if moving is not None:
        return raise_rank(as_real(lower_expression(scope, moving)), len(site.typed.shape))
    return None if fixed is None else number(fixed)


# ---- the function of the bounds -------------------------------------------------------------------------------------


def _support_function(program: Program, groups: Mapping[str, Group], site: Site) -> Function:
    """`support_of_NAME`: its arguments are the values that the bounds read themselves, and not what those read."""
    scope = Scope(program, {name: replace(group, bounds=None) for name, group in groups.items()})
    parents = _read(program, site)
    for name in parents:
        parent = program.by_name[name]
        batched = parent.level is not None
        scope.bind(name, replace(scope.parameter(parent), shape=parent.typed.shape, batched=batched))
    low, high = bounds(scope, site)
    if not parents and any(end is not None and end.rank for end in (low, high)):
        raise unsupported(f"the bounds of {site.name!r}, a list of numbers,", site.span)
    scope.statements.append(Return((_onto(low, high),)))
    doc = f"the bijection from the reals onto where {site.name} lies, given what its bounds read."
    return scope.function(f"support_of_{site.name.replace('.', '_')}", "bounds", doc)


def _onto(low: Lowered | None, high: Lowered | None) -> Value:
    match low, high:
        case Lowered(), Lowered():
            return op("between", low.value, high.value)
        case Lowered(), None:
            return op("above", low.value)
        case None, Lowered():
            return op("below", high.value)
    raise InternalError("bounds that move have an end")


def _names(program: Program, site: Site) -> frozenset[str]:
    """What a site's bounds read; computed values are looked through."""
    return frozenset[str]().union(*(reads(program, end) for end in moving_ends(site) if end is not None))


def _given(program: Program, site: Site) -> bool:
    """Whether bounds read data, and the density is zero outside of them: no bijection is needed then, or known."""
    data = any(program.by_name[name].role is Role.COVARIATE for name in _names(program, site))
    return data and not isinstance(site.density, FlatPrior)


def _read(program: Program, site: Site) -> tuple[str, ...]:
    """The parameters that a site's bounds read, in the program's order.

    Raises:
        UnsupportedError: another thing than a parameter with a prior is read.
    """
    names = _names(program, site)
    for name in sorted(names):
        role = program.by_name[name].role
        if role is not Role.PARAMETER:
            what = "is learned" if role is Role.LEARNED else "is data"
            raise unsupported(
                f"a bound of {site.name!r} that reads {name!r}, which {what},", site.span,
                "let bounds be numbers, or expressions of parameters with priors",
            )  # fmt: skip
    return tuple(other.name for other in program.sites if other.name in names)


# ---- start values ---------------------------------------------------------------------------------------------------


def _middle(program: Program, starts: Starts, site: Site) -> NDArray[np.float64]:
    """Where a parameter starts: in the middle of its bounds, or at distance one from the only one."""
    support = site.typed.support
    first, second = moving_ends(site)
    low = _end_at_start(program, starts, site, support.low, first)
    high = _end_at_start(program, starts, site, support.high, second)
    if low is None:
        assert high is not None
        return high - 1.0
    return low + 1.0 if high is None else (low + high) / 2.0


def _end_at_start(
    program: Program, starts: Starts, site: Site, fixed: float | None, moving: Expression | None
) -> NDArray[np.float64] | None:
    if moving is None:
        return None if fixed is None else np.asarray(fixed)
    value = constant(_written(program, starts, moving))
    if value is None:
        raise unsupported(f"a bound of {site.name!r} of which no start value is computed", site.span)
    return value


def _written(program: Program, starts: Starts, expression: Expression) -> Expression:
    """The expression with the start values of what it names written out."""
    bindings: dict[str, Expression] = {}
    for name in free_names(expression):
        density = program.by_name[name].density
        if isinstance(density, Deterministic):
            bindings[name] = _written(program, starts, density.expression)
        else:
            bindings[name] = _literal(starts[name])
    return substitute(expression, bindings)


def _literal(value: NDArray[np.float64]) -> Expression:
    """An array written out."""
    return Sequence(tuple(map(_literal, value))) if value.ndim else Literal(float(value))

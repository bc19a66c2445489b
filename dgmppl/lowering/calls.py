"""Calls of the closed table of functions -> values over batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation, Sequence
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.equations import path
from dgmppl.lowering.layout import Lowered, combine, flat, number, op, raise_rank, reshaped
from dgmppl.lowering.scope import Scope, unsupported

Lower: TypeAlias = Callable[[Expression], Lowered]
Structural: TypeAlias = Callable[[Call, Lower], Lowered]
Constant: TypeAlias = Callable[[Call], Lowered]


def as_real(value: Lowered) -> Lowered:
    """The value as real numbers, where a network or a product needs them."""
    if value.dtype is Dtype.REAL or value.literal is not None:
        return value
    return value.with_value(op("cast", value.value, dtype="real"), dtype=Dtype.REAL)


def literal_array(expression: Expression) -> NDArray[Any] | None:
    """The array that nested literal lists write out, or None."""
    match expression:
        case Literal(value=bool() | int() | float() as value):
            return np.asarray(value)
        case Operation(operator="neg", operands=(operand,)):
            inner = literal_array(operand)
            return None if inner is None else -inner
        case Sequence(items=items):
            rows = [row for row in map(literal_array, items) if row is not None]
            return np.stack(rows) if rows and len(rows) == len(items) else None
        case _:
            return None


def static_size(expression: Expression) -> int:
    """A literal whole number."""
    constant = literal_array(expression)
    if constant is None or constant.ndim:
        raise unsupported("a slice whose bounds are not literal", expression.span)
    return int(constant)


def matmul(left: Lowered, right: Lowered) -> Lowered:
    """The contraction of the left's last axis with the right's first (or next to last)."""
    left, right = as_real(left), as_real(right)
    names = {(1, 1): "dot", (2, 1): "matvec", (1, 2): "vecmat", (2, 2): "matmul"}
    if (left.rank, right.rank) not in names:
        raise InternalError(f"@ of ranks {left.rank} and {right.rank} passed the shape check")
    return Lowered(
        op(names[left.rank, right.rank], left.value, right.value),
        (*left.shape[:-1], *right.shape[1:]),
        left.batched or right.batched,
        Dtype.REAL,
        left.axes | right.axes,
    )


_BY_RULE = frozenset({"elementwise", "reduction", "cumulative"})


def lower_call(scope: Scope, expression: Call, lower: Lower) -> Lowered:
    """The batched value of a function of the closed table.

    Args:
        scope: the function under construction.
        expression: the call.
        lower: how its arguments are lowered.

    Raises:
        UnsupportedError: a function that is not lowered yet.
    """
    function = FUNCTIONS.get(expression.function)
    if function is None:
        raise unsupported(f"{expression.function}(...)", expression.span)
    if function.name == "observed":
        return _observed(scope, expression)
    if function.name in _CONSTANTS:
        return _CONSTANTS[function.name](expression)
    if function.name == "ode_solve":
        return path(scope, expression, lambda part: as_real(lower(part)))
    if function.name in _STRUCTURAL:
        return _STRUCTURAL[function.name](expression, lower)
    if function.rule not in _BY_RULE:  # first of all: its arguments need not be values
        raise unsupported(f"the function {function.name}", expression.span)
    arguments = [lower(argument) for argument in expression.arguments]
    match function.rule:
        case "elementwise":
            operands = arguments if function.name == "where" else [as_real(argument) for argument in arguments]
            dtype = None if function.name == "where" else Dtype.REAL
            return combine("call", *operands, function=function.name, dtype=dtype)
        case "reduction":
            return _reduction(expression, as_real(arguments[0]))
        case _:
            axis = _axis(expression, arguments[0].rank, default=-1)
            value = as_real(arguments[0])
            return value.with_value(op("cumulative", value.value, function=function.name, axis=axis))


def _axis(expression: Call, rank: int, default: int | None) -> int | None:
    """`axis=` counted from the right, so that batch axes on the left do not matter."""
    given = expression.keyword("axis")
    if given is None:
        return default
    axis = static_size(given)
    return axis - rank if axis >= 0 else axis


def _reduction(expression: Call, value: Lowered) -> Lowered:
    axis = _axis(expression, value.rank, default=None)
    axes = tuple(range(-value.rank, 0)) if axis is None else (axis,)
    if not axes:
        return value
    shape = tuple(size for place, size in enumerate(value.shape, -value.rank) if place not in axes)
    return value.with_value(op("reduce", value.value, function=expression.function, axes=axes), shape)


def _join(name: str, parts: list[Lowered], axis: int, shape: Shape) -> Lowered:
    dtype = Dtype.REAL if any(part.dtype is Dtype.REAL for part in parts) else parts[0].dtype
    if dtype is Dtype.REAL:
        parts = [as_real(part) for part in parts]
    values = tuple(part.value for part in parts)
    axes = frozenset().union(*(part.axes for part in parts))
    return Lowered(op(name, *values, axis=axis), shape, any(part.batched for part in parts), dtype, axes)


def stacked(parts: list[Lowered], axis: int) -> Lowered:
    """The parts along a new axis of the event."""
    rank = max(part.rank for part in parts)
    parts = [raise_rank(part, rank) for part in parts]
    shape = list(parts[0].shape)
    place = axis if axis >= 0 else axis + rank + 1
    shape.insert(place, len(parts))
    return _join("stack", parts, place - rank - 1, tuple(shape))


def _concat(expression: Call, lower: Lower) -> Lowered:
    parts = [lower(argument) for argument in expression.arguments]
    parts = [part if part.rank else flat(part) for part in parts]
    rank = parts[0].rank
    axis = _axis(expression, rank, default=-rank)
    assert axis is not None
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return _join("concat", parts, axis, tuple(shape))


def _sizes(expression: Call) -> Shape:
    shape: list[int] = []
    for argument in expression.arguments:
        constant = literal_array(argument)
        if constant is None:
            raise unsupported("a size that is not literal", argument.span)
        shape.extend(int(size) for size in constant.reshape(-1))
    return tuple(shape)


def _fill(value: float) -> Constant:
    def fill(expression: Call) -> Lowered:
        shape = _sizes(expression)
        return Lowered(op("fill", value=value, shape=shape), shape) if shape else number(value)

    return fill


def _eye(expression: Call) -> Lowered:
    (size,) = _sizes(expression)
    return Lowered(op("eye", size=size), (size, size))


def _arange(expression: Call) -> Lowered:
    (size,) = _sizes(expression)
    return Lowered(op("arange", size=size, trailing=0), (size,), False, Dtype.INTEGER)


def _one_hot(expression: Call, lower: Lower) -> Lowered:
    value = lower(expression.arguments[0])
    size_argument = expression.arguments[1] if len(expression.arguments) > 1 else expression.keyword("size")
    size = value.shape[-1] if size_argument is None else static_size(size_argument)
    return value.with_value(op("one_hot", value.value, size=size), (*value.shape, size), Dtype.REAL)


def _dot(expression: Call, lower: Lower) -> Lowered:
    left, right = (as_real(lower(argument)) for argument in expression.arguments)
    return matmul(left, right)


def _transpose(expression: Call, lower: Lower) -> Lowered:
    value = lower(expression.arguments[0])
    return value.with_value(op("transpose", value.value), (*value.shape[:-2], value.shape[-1], value.shape[-2]))


def _rbf(expression: Call, lower: Lower) -> Lowered:
    """A Gram matrix; inputs in units of the length scale, which may be one for each column."""
    inputs, lengthscale = (as_real(lower(argument)) for argument in expression.arguments)
    points = combine("div", inputs, lengthscale)
    count = points.shape[0]
    return points.with_value(op("rbf", points.value, rank=points.rank), (count, count))


def _diag(expression: Call, lower: Lower) -> Lowered:
    value = lower(expression.arguments[0])
    return value.with_value(op("diag", value.value), (*value.shape, value.shape[-1]))


def _reshape(expression: Call, lower: Lower) -> Lowered:
    value = lower(expression.arguments[0])
    wanted = list(_sizes(Call("shape", expression.arguments[1:])))
    if -1 in wanted:
        known = int(np.prod([size for size in wanted if size != -1]))
        wanted[wanted.index(-1)] = value.size // known
    return reshaped(value, tuple(wanted))


def _stack_call(expression: Call, lower: Lower) -> Lowered:
    given = expression.keyword("axis")
    return stacked([lower(argument) for argument in expression.arguments], 0 if given is None else static_size(given))


def _checked(expression: Call, lower: Lower) -> Lowered:
    value = lower(expression.arguments[0])
    support = expression.arguments[1]
    name = support.id if isinstance(support, Name) else support.function if isinstance(support, Call) else "real"
    if name == "interval":
        raise unsupported("an interval that is checked at run time", expression.span, "shift and scale it: `unit`")
    return value.with_value(replace(op("checked", value.value, support=name), span=expression.span))


def _observed(scope: Scope, expression: Call) -> Lowered:
    argument = expression.arguments[0]
    if not isinstance(argument, Name):
        raise InternalError("observed(...) of something that is no column")
    return as_real(scope.mask(argument.id))


_CONSTANTS: dict[str, Constant] = {"eye": _eye, "ones": _fill(1.0), "zeros": _fill(0.0), "arange": _arange}

_STRUCTURAL: dict[str, Structural] = {
    "dot": _dot,
    "concat": _concat,
    "stack": _stack_call,
    "reshape": _reshape,
    "transpose": _transpose,
    "diag": _diag,
    "rbf": _rbf,
    "one_hot": _one_hot,
    "checked": _checked,
}

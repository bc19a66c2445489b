"""Expressions over one datum -> values over batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Deterministic
from dgmppl.ir.expressions import (
    Apply,
    Call,
    Expression,
    Index,
    Literal,
    Mapping,
    Name,
    Operation,
    Sequence,
    Slice,
)
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.kernel import Assign, NetworkCall, Var
from dgmppl.ir.program import Role
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.layout import Lowered, combine, flat, number, op, raise_rank, reshaped
from dgmppl.lowering.scope import Scope, unsupported

_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow"}
_COMPARISON = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def lower_expression(scope: Scope, expression: Expression) -> Lowered:
    """The batched value of an expression.

    Raises:
        UnsupportedError: the expression calls something that is not lowered yet.
    """
    match expression:
        case Literal(value=value):
            if isinstance(value, bool | int | float):
                return number(value)
            raise InternalError(f"the literal {value!r} is no number")
        case Name(id=name):
            return lookup(scope, name)
        case Operation():
            return _operation(scope, expression)
        case Call():
            return _call(scope, expression)
        case Apply():
            return apply_network(scope, expression)
        case Index():
            return _index(scope, expression)
        case Sequence():
            return _sequence(scope, expression)
        case Slice() | Mapping():
            raise InternalError(f"{type(expression).__name__} is no value")


def lookup(scope: Scope, name: str) -> Lowered:
    """The value of a site, parameter or column; deterministic sites are computed on first use."""
    known = scope.value(name)
    if known is None:
        known = _resolve(scope, name)
        scope.bind(name, known)
    return known


def _resolve(scope: Scope, name: str) -> Lowered:
    site = scope.program.by_name.get(name) or scope.program.guide_by_name.get(name)
    if site is None:
        raise InternalError(f"{name!r} has no value here")
    if isinstance(site.density, Deterministic):
        return scope.assign(name, lower_expression(scope, site.density.expression))
    if name in scope.groups:
        return scope.parameter(site)
    if site.role in (Role.OBSERVED, Role.COVARIATE):
        return scope.column(name, site.typed)
    raise InternalError(f"the latent {name!r} was read before it was drawn")


def as_real(value: Lowered) -> Lowered:
    """The value as real numbers, where a network or a product needs them."""
    if value.dtype is Dtype.REAL or value.literal is not None:
        return value
    return value.with_value(op("cast", value.value, dtype="real"), dtype=Dtype.REAL)


def _operation(scope: Scope, expression: Operation) -> Lowered:
    operands = [lower_expression(scope, operand) for operand in expression.operands]
    match expression.operator:
        case "neg":
            literal = operands[0].literal
            if literal is not None:
                return number(-literal)
            return operands[0].with_value(op("neg", operands[0].value))
        case "@":
            return _matmul(operands[0], operands[1])
        case operator if operator in _ARITHMETIC:
            real = operator == "/" or any(operand.dtype is Dtype.REAL for operand in operands)
            operands = [as_real(operand) for operand in operands] if real else operands
            return combine(_ARITHMETIC[operator], *operands, dtype=Dtype.REAL if real else None)
        case operator:
            return combine(_COMPARISON[operator], *operands, dtype=Dtype.BOOLEAN)


def _matmul(left: Lowered, right: Lowered) -> Lowered:
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


def _sequence(scope: Scope, expression: Sequence) -> Lowered:
    """A list: a constant array where all of it is literal, else its items stacked."""
    constant = literal_array(expression)
    if constant is not None:
        dtype = Dtype.INTEGER if constant.dtype.kind == "i" else Dtype.REAL
        return Lowered(op("constant", values=_nested(constant)), constant.shape, False, dtype)
    return _stack([lower_expression(scope, item) for item in expression.items], 0)


def literal_array(expression: Expression) -> NDArray[Any] | None:
    """The array that nested literal lists write out, or None."""
    match expression:
        case Literal(value=bool() | int() | float() as value):
            return np.asarray(value)
        case Operation(operator="neg", operands=(operand,)):
            inner = literal_array(operand)
            return None if inner is None else -inner
        case Sequence(items=items):
            rows = [literal_array(item) for item in items]
            return None if any(row is None for row in rows) else np.asarray(rows)
        case _:
            return None


def _nested(array: NDArray[Any]) -> object:
    return tuple(map(_nested, array)) if array.ndim else array.item()


# ---- networks -------------------------------------------------------------------------------------------------------


def apply_network(scope: Scope, expression: Apply) -> Lowered:
    """A network's head; all heads of one call are computed once."""
    network = scope.program.networks[expression.network]
    if expression.causal:
        raise unsupported(f"the causal network {network.name!r}", expression.span or network.span)
    inputs = [as_real(lower_expression(scope, part)) for part in expression.inputs]
    key = (network.name, *(part.value for part in inputs))
    outputs = scope.cached_call(key)
    if outputs is None:
        batched = any(part.batched for part in inputs)
        axes = frozenset().union(*(part.axes for part in inputs)) if inputs else frozenset()
        call = NetworkCall(scope.use_group(network.name), tuple(part.value for part in inputs))
        heads = [Lowered(call, head.shape, batched, Dtype.REAL, axes) for head in network.heads]
        if len(heads) == 1:
            outputs = (scope.assign(f"{network.name}_{network.heads[0].name}".replace(".", "_"), heads[0]),)
        else:
            names = tuple(scope.fresh(f"{network.name}_{head.name}".replace(".", "_")) for head in network.heads)
            layout = ", ".join(scope.comment(head) for head in heads)
            scope.statements.append(Assign(names, call, layout))
            outputs = tuple(head.with_value(Var(name)) for head, name in zip(heads, names, strict=True))
        scope.remember_call(key, outputs)
    if expression.head is None:
        return outputs[0]
    position = [head.name for head in network.heads].index(expression.head)
    return outputs[position]


# A static index along one axis: a position, or (start, stop, step).
Position: TypeAlias = "int | tuple[int | None, int | None, int | None]"
_ALL: Position = (None, None, None)

# ---- indices --------------------------------------------------------------------------------------------------------


def _index(scope: Scope, expression: Index) -> Lowered:
    value = lower_expression(scope, expression.value)
    items = [_item(scope, item) for item in expression.items]
    fixed: list[Position] = [item for item in items if not isinstance(item, Lowered)]
    if len(fixed) == len(items):
        padded = [*fixed, *[_ALL] * (value.rank - len(items))]
        shape = _sliced(value.shape, padded)
        return value.with_value(op("index", value.value, items=tuple(padded), rank=value.rank), shape)
    for position, item in enumerate(items):
        if isinstance(item, Lowered):
            value = _take(value, item, position)
        else:
            raise unsupported(
                "an index that mixes positions and values", expression.span, "index in two steps: a[k][0]"
            )
    return value


def _item(scope: Scope, item: Expression) -> Lowered | Position:
    match item:
        case Slice(start=start, stop=stop, step=step):
            bounds = [None if part is None else _static(part) for part in (start, stop, step)]
            return bounds[0], bounds[1], bounds[2]
        case _:
            constant = literal_array(item)
            return int(constant) if constant is not None and constant.ndim == 0 else lower_expression(scope, item)


def _static(expression: Expression) -> int:
    constant = literal_array(expression)
    if constant is None or constant.ndim:
        raise unsupported("a slice whose bounds are not literal", expression.span)
    return int(constant)


def _sliced(shape: Shape, items: list[Position]) -> Shape:
    kept = [
        len(range(*slice(*item).indices(size)))
        for size, item in zip(shape, items, strict=True)
        if not isinstance(item, int)
    ]
    return tuple(kept)


def _take(table: Lowered, index: Lowered, position: int) -> Lowered:
    """`table[index]` along the event's axis `position`, whose place the index's own event takes."""
    if position or (table.batched and index.rank):
        raise unsupported("a gather along an inner axis", None, "transpose the table first")
    shape = (*index.shape, *table.shape[1:])
    axes = table.axes | index.axes
    if not table.batched:
        return Lowered(op("gather", table.value, index.value), shape, index.batched, table.dtype, axes)
    return Lowered(op("take", table.value, index.value, rank=table.rank), shape, True, table.dtype, axes)


# ---- functions ------------------------------------------------------------------------------------------------------


def _call(scope: Scope, expression: Call) -> Lowered:
    function = FUNCTIONS.get(expression.function)
    if function is None:
        raise unsupported(f"{expression.function}(...)", expression.span)
    special = _STRUCTURAL.get(function.name)
    if special is not None:
        return special(scope, expression)
    arguments = [lower_expression(scope, argument) for argument in expression.arguments]
    match function.rule:
        case "elementwise":
            operands = arguments if function.name == "where" else [as_real(argument) for argument in arguments]
            dtype = None if function.name == "where" else Dtype.REAL
            return combine("call", *operands, function=function.name, dtype=dtype)
        case "reduction":
            return _reduction(expression, as_real(arguments[0]))
        case "cumulative":
            axis = _axis(expression, arguments[0].rank, default=-1)
            value = as_real(arguments[0])
            return value.with_value(op("cumulative", value.value, function=function.name, axis=axis))
    raise unsupported(f"the function {function.name}", expression.span)


def _axis(expression: Call, rank: int, default: int | None) -> int | None:
    """`axis=` counted from the right, so that batch axes on the left do not matter."""
    given = expression.keyword("axis")
    if given is None:
        return default
    axis = _static(given)
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


def _stack(parts: list[Lowered], axis: int) -> Lowered:
    rank = max(part.rank for part in parts)
    parts = [raise_rank(part, rank) for part in parts]
    shape = list(parts[0].shape)
    place = axis if axis >= 0 else axis + rank + 1
    shape.insert(place, len(parts))
    return _join("stack", parts, place - rank - 1, tuple(shape))


def _concat(scope: Scope, expression: Call) -> Lowered:
    parts = [lower_expression(scope, argument) for argument in expression.arguments]
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


def _fill(value: float) -> Callable[[Scope, Call], Lowered]:
    def fill(scope: Scope, expression: Call) -> Lowered:
        del scope
        shape = _sizes(expression)
        return Lowered(op("fill", value=value, shape=shape), shape) if shape else number(value)

    return fill


def _eye(scope: Scope, expression: Call) -> Lowered:
    del scope
    (size,) = _sizes(expression)
    return Lowered(op("eye", size=size), (size, size))


def _arange(scope: Scope, expression: Call) -> Lowered:
    del scope
    (size,) = _sizes(expression)
    return Lowered(op("arange", size=size, trailing=0), (size,), False, Dtype.INTEGER)


def _one_hot(scope: Scope, expression: Call) -> Lowered:
    value = lower_expression(scope, expression.arguments[0])
    size_argument = expression.arguments[1] if len(expression.arguments) > 1 else expression.keyword("size")
    size = value.shape[-1] if size_argument is None else _static(size_argument)
    return value.with_value(op("one_hot", value.value, size=size), (*value.shape, size), Dtype.REAL)


def _dot(scope: Scope, expression: Call) -> Lowered:
    left, right = (as_real(lower_expression(scope, argument)) for argument in expression.arguments)
    return _matmul(left, right)


def _transpose(scope: Scope, expression: Call) -> Lowered:
    value = lower_expression(scope, expression.arguments[0])
    return value.with_value(op("transpose", value.value), (*value.shape[:-2], value.shape[-1], value.shape[-2]))


def _diag(scope: Scope, expression: Call) -> Lowered:
    value = lower_expression(scope, expression.arguments[0])
    return value.with_value(op("diag", value.value), (*value.shape, value.shape[-1]))


def _reshape(scope: Scope, expression: Call) -> Lowered:
    value = lower_expression(scope, expression.arguments[0])
    wanted = list(_sizes(Call("shape", expression.arguments[1:])))
    if -1 in wanted:
        known = int(np.prod([size for size in wanted if size != -1]))
        wanted[wanted.index(-1)] = value.size // known
    return reshaped(value, tuple(wanted))


def _stack_call(scope: Scope, expression: Call) -> Lowered:
    given = expression.keyword("axis")
    return _stack(
        [lower_expression(scope, argument) for argument in expression.arguments], 0 if given is None else _static(given)
    )


def _checked(scope: Scope, expression: Call) -> Lowered:
    value = lower_expression(scope, expression.arguments[0])
    support = expression.arguments[1]
    name = support.id if isinstance(support, Name) else support.function if isinstance(support, Call) else "real"
    place = str(expression.span) if expression.span else ""
    return value.with_value(op("checked", value.value, support=name, place=place))


def _observed(scope: Scope, expression: Call) -> Lowered:
    argument = expression.arguments[0]
    if not isinstance(argument, Name):
        raise InternalError("observed(...) of something that is no column")
    return as_real(scope.mask(argument.id))


_STRUCTURAL: dict[str, Callable[[Scope, Call], Lowered]] = {
    "dot": _dot,
    "concat": _concat,
    "stack": _stack_call,
    "reshape": _reshape,
    "transpose": _transpose,
    "diag": _diag,
    "one_hot": _one_hot,
    "eye": _eye,
    "ones": _fill(1.0),
    "zeros": _fill(0.0),
    "arange": _arange,
    "checked": _checked,
    "observed": _observed,
}

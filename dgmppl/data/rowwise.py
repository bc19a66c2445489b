"""Expression sources: the part of the expression language that acts on one row, computed for all rows at once.

An array is `[N, *event]`, or `[1, *event]` where it is the same in each row; axes in expressions count event axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.values import Values
from dgmppl.ir.expressions import Call, Expression, Index, Literal, Name, Node, Operation, Sequence, Slice, text
from dgmppl.source import nearest

Array: TypeAlias = npt.NDArray[Any]


class RowwiseError(Exception):
    """Why an expression cannot be computed row by row; the caller makes the diagnostic.

    Attributes:
        message: what is wrong.
        node: the part of the expression that is wrong.
        fix: what to do about it.
    """

    def __init__(self, message: str, node: Node, fix: str | None = None) -> None:
        super().__init__(message)
        self.message, self.node, self.fix = message, node, fix


def evaluate(expression: Expression, sources: Mapping[str, Values]) -> Array:
    """The expression's value in each row; a missing entry counts as zero.

    Args:
        expression: over the names of earlier sources.
        sources: their values after transforms.

    Returns:
        `[N, *event]`, or `[1, *event]` where it depends on no row-wise source; float64 or int64; not finite outside
        a function's domain.

    Raises:
        RowwiseError: for functions that are not row-wise, unknown names, and shapes that do not fit.
    """
    value = _evaluate(expression, sources)
    return value.astype(np.int64) if value.dtype.kind in "bui" else value.astype(np.float64)


def _evaluate(node: Expression, sources: Mapping[str, Values]) -> Array:
    match node:
        case Literal(value=bool() | int() | float() as value):
            return np.asarray([value])
        case Name(id=name):
            return _source(node, name, sources).wide
        case Operation(operator=operator, operands=operands):
            return _operate(node, operator, [_evaluate(part, sources) for part in operands])
        case Sequence(items=items):
            return _guarded(node, _stack, [_evaluate(item, sources) for item in items], {})
        case Index(value=value, items=items):
            return _index(node, _evaluate(value, sources), items)
        case Call():
            return _call(node, sources)
    raise RowwiseError(f"{text(node)} is not computed row by row", node)


def _source(node: Node, name: str, sources: Mapping[str, Values]) -> Values:
    if name not in sources:
        close = nearest(name, sources)
        raise RowwiseError(f"there is no earlier source `{name}`", node, f"did you mean `{close}`?" if close else None)
    return sources[name]


def _call(node: Call, sources: Mapping[str, Values]) -> Array:
    if node.function == "observed":
        if len(node.arguments) == 1 and isinstance(node.arguments[0], Name):
            return _source(node.arguments[0], node.arguments[0].id, sources).mask.astype(np.int64)
        raise RowwiseError("observed(b) takes the name of a source", node)
    function = FUNCTIONS.get(node.function)
    if function is None or node.splats:
        close = nearest(node.function, [*FUNCTIONS, "observed"])
        fix = f"did you mean {close}?" if close else f"one of {', '.join(sorted(FUNCTIONS))}, observed"
        raise RowwiseError(f"{node.function} is not a row-wise function", node, fix)
    settings = {key: _setting(value) for key, value in node.keywords}
    arguments = [_evaluate(argument, sources) for argument in node.arguments]
    return _guarded(node, function, arguments, settings)


def _setting(node: Expression) -> Any:
    """The value of a keyword such as `axis=0`."""
    match node:
        case Literal(value=value):
            return value
        case Operation(operator="neg", operands=(Literal(value=int(value)),)):
            return -value
        case Sequence(items=items):
            return tuple(_setting(item) for item in items)
    raise RowwiseError(f"{text(node)} is not a constant", node)


def _guarded(node: Node, function: Callable[..., Array], arguments: list[Array], settings: dict[str, Any]) -> Array:
    """Apply a function; what NumPy says of its arguments becomes a problem of the expression."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function(*arguments, **settings))
    except TypeError as error:
        raise RowwiseError("wrong number, names or kinds of arguments", node) from error
    except (ValueError, IndexError) as error:
        raise RowwiseError(f"the arguments do not fit: {error}", node) from error


def _aligned(arrays: list[Array]) -> list[Array]:
    """Events of different rank brought to one by leading event axes of size 1."""
    rank = max(array.ndim for array in arrays)
    return [array.reshape(array.shape[0], *(1,) * (rank - array.ndim), *array.shape[1:]) for array in arrays]


def _elementwise(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *arrays: function(*_aligned(list(arrays)))


def _need_axes(name: str, count: int, *arrays: Array) -> None:
    """Refuse events with fewer axes: NumPy would take the rows for one."""
    if any(array.ndim - 1 < count for array in arrays):
        raise ValueError(f"{name} needs events with at least {count} {'axis' if count == 1 else 'axes'}")


def _matmul(left: Array, right: Array) -> Array:
    """`@` of two events: vector or matrix on either side."""
    _need_axes("@", 1, left, right)
    a = left[:, None, :] if left.ndim == 2 else left
    b = right[:, :, None] if right.ndim == 2 else right
    product = np.matmul(a, b)
    product = product.squeeze(-1) if right.ndim == 2 else product
    return np.asarray(product.squeeze(1) if left.ndim == 2 else product)


_OPERATORS: dict[str, Callable[..., Array]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "neg": np.negative,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
    "**": lambda base, power: np.power(base.astype(np.float64), power),
}  # fmt: skip


def _operate(node: Operation, operator: str, operands: list[Array]) -> Array:
    if operator == "@":
        return _guarded(node, _matmul, operands, {})
    numbers = [operand.astype(np.int64) if operand.dtype == bool else operand for operand in operands]
    return _guarded(node, _elementwise(_OPERATORS[operator]), numbers, {})


def _index(node: Index, value: Array, items: tuple[Expression, ...]) -> Array:
    """`value[items]` on event axes; every item is constant."""
    positions: list[Any] = []
    for item in items:
        if isinstance(item, Slice):
            bounds = [None if part is None else _setting(part) for part in (item.start, item.stop, item.step)]
            positions.append(slice(*bounds))
        else:
            positions.append(_setting(item))
    return _guarded(node, lambda array: array[(slice(None), *positions)], [value], {})


def _axes(array: Array, axis: Any) -> tuple[int, ...]:
    """Event axes as array axes: all of them for None."""
    if axis is None:
        return tuple(range(1, array.ndim))
    chosen = axis if isinstance(axis, tuple) else (axis,)
    if any(item < -(array.ndim - 1) or item >= array.ndim - 1 for item in chosen):
        raise ValueError(f"axis {axis} of an event with {array.ndim - 1} axes")
    return tuple(item + 1 if item >= 0 else item for item in chosen)


def _reduction(function: Callable[..., Any]) -> Callable[..., Array]:
    def reduce(array: Array, axis: Any = None) -> Array:
        axes = _axes(array, axis)
        return np.asarray(function(array, axis=axes)) if axes else array

    return reduce


def _logsumexp(array: Array, axis: tuple[int, ...]) -> Array:
    top = array.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(array - top).sum(axis=axis)) + top.squeeze(axis))


def _rows(arrays: tuple[Array, ...]) -> list[Array]:
    """Arrays with as many rows as the longest."""
    rows = max(array.shape[0] for array in arrays)
    return [np.broadcast_to(array, (rows, *array.shape[1:])) for array in arrays]


def _stack(*arrays: Array, axis: int = 0) -> Array:
    return np.stack(_rows(arrays), axis=axis + 1 if axis >= 0 else axis)


def _concat(*arrays: Array, axis: int = 0) -> Array:
    lifted = tuple(array[:, None] if array.ndim == 1 else array for array in arrays)
    return np.concatenate(_rows(lifted), axis=axis + 1 if axis >= 0 else axis)


def _dot(left: Array, right: Array) -> Array:
    _need_axes("dot", 1, left, right)
    return np.asarray((left * right).sum(axis=-1))


def _transpose(array: Array) -> Array:
    _need_axes("transpose", 2, array)
    return np.swapaxes(array, -1, -2)


def _one_hot(array: Array, states: Array) -> Array:
    return np.asarray(array[..., None] == np.arange(int(states[0])))


def _reshape(array: Array, *sizes: Array) -> Array:
    return array.reshape(array.shape[0], *(int(size) for part in sizes for size in part.ravel()))


# The closed table of row-wise functions; a subset of the expression language's.
FUNCTIONS: dict[str, Callable[..., Array]] = {
    **{
        name: _elementwise(getattr(np, name))
        for name in ("exp", "log", "log1p", "expm1", "sqrt", "square", "abs", "tanh", "where", "clip")
    },
    **{name: _reduction(getattr(np, name)) for name in ("sum", "mean", "max", "min")},
    "concat": _concat,
    "cumsum": lambda array, axis=0: np.cumsum(array, axis=_axes(array, axis)[0]),
    "dot": _dot,
    "lgamma": _elementwise(np.vectorize(math.lgamma, otypes=[float])),
    "logit": _elementwise(lambda array: np.log(array) - np.log1p(-array)),
    "logsumexp": _reduction(_logsumexp),
    "one_hot": _one_hot,
    "relu": _elementwise(lambda array: np.maximum(array, 0)),
    "reshape": _reshape,
    "sigmoid": _elementwise(lambda array: 0.5 * (1.0 + np.tanh(0.5 * array))),
    "softplus": _elementwise(lambda array: np.logaddexp(0.0, array)),
    "stack": _stack,
    "transpose": _transpose,
}

"""Shape rules: the shape of an operator's or a function's result, from the shapes of its operands.

Shapes are those of one datum. A rule raises `ShapeError` with what does not fit; callers know the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dgmppl.ir.expressions import Call, Expression, Index, Literal, Operation, Slice
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.types import Shape
from dgmppl.passes.learned import as_number


class ShapeError(Exception):
    """Operands whose shapes do not fit; its text says which."""


class RaggedError(ShapeError):
    """A list whose items have different shapes.

    Attributes:
        position: of the first item that has another shape than item 0.
        expected: the shape of item 0.
        found: that of the odd one.
        whole: the list's shape if all its items were like item 0; inference goes on with it.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.position = next(position for position, shape in enumerate(shapes) if shape != shapes[0])
        self.expected, self.found = shapes[0], shapes[self.position]
        self.whole = (len(shapes), *self.expected)
        super().__init__(f"item {self.position + 1} of the list has another shape than item 1")


def show(shape: Shape) -> str:
    """A shape as it is written in specs and messages: `[8, 8]`, a scalar is `[]`."""
    return f"[{', '.join(map(str, shape))}]"


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The common shape of right-aligned shapes; an axis of size one stretches.

    Raises:
        ShapeError: two sizes differ and neither is one.
    """
    rank = max(map(len, shapes), default=0)
    result: list[int] = []
    for position in range(1, rank + 1):
        present = {shape[-position] for shape in shapes if len(shape) >= position} - {1}
        if len(present) > 1:
            raise ShapeError(f"shapes {' and '.join(map(show, shapes))} do not broadcast")
        result.append(next(iter(present), 1))
    return tuple(reversed(result))


def fits(shape: Shape, target: Shape) -> bool:
    """Whether a shape broadcasts to another without widening it."""
    try:
        return broadcast([shape, target]) == target
    except ShapeError:
        return False


def result_shape(node: Expression, shapes: Sequence[Shape]) -> Shape:
    """The shape of a node, given those of its children in the order of `children(node)`.

    Raises:
        ShapeError: the operands do not fit.
    """
    match node:
        case Operation(operator="@"):
            return matmul(shapes[0], shapes[1])
        case Operation():
            return broadcast(shapes)
        case ListExpression(items=items):
            return (len(items), *_item_shape(shapes))
        case Call(function=name):
            return call_shape(node, FUNCTIONS[name].rule, shapes[: len(node.arguments)])
    return ()


def _item_shape(shapes: Sequence[Shape]) -> Shape:
    """The shape that all items of a list have: nothing stretches where rows are written out."""
    if len(set(shapes)) > 1:
        raise RaggedError(shapes)
    return shapes[0] if shapes else ()


def matmul(left: Shape, right: Shape) -> Shape:
    """`[.., i, j] @ [j]`, `[i] @ [i, j]`, `[i, j] @ [j, k]`, `[i] @ [i]`."""
    if not left or not right:
        raise ShapeError(f"`@` needs vectors or matrices, and finds {show(left)} and {show(right)}")
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        raise ShapeError(f"`@` contracts {left[-1]} with {inner}: {show(left)} @ {show(right)}")
    batch = broadcast([left[:-2], right[:-2]])
    return (*batch, *(left[-2:-1] if len(left) > 1 else ()), *(right[-1:] if len(right) > 1 else ()))


def call_shape(call: Call, rule: str, shapes: Sequence[Shape]) -> Shape:
    """The shape of a function call."""
    match rule:
        case "elementwise":
            return broadcast(shapes)
        case "reduction":
            return _reduced(call, shapes[0])
        case "cumulative":
            return shapes[0]
    return _STRUCTURAL[call.function](call, shapes)


def axis_of(call: Call, rank: int, position: int | None = None) -> int | None:
    """The `axis=` of a call as a non-negative number; None where it is not given."""
    value = call.keyword("axis")
    if value is None and position is not None and len(call.arguments) > position:
        value = call.arguments[position]
    if value is None:
        return None
    number = as_number(value)
    if number is None or number != int(number) or not -rank <= number < rank:
        raise ShapeError(f"`{call.function}` has no such axis: its operand has {rank}")
    return int(number) % rank


def _reduced(call: Call, shape: Shape) -> Shape:
    axis = axis_of(call, len(shape), 1)
    return () if axis is None else (*shape[:axis], *shape[axis + 1 :])


def _dot(call: Call, shapes: Sequence[Shape]) -> Shape:
    left, right = shapes
    if not left or not right or left[-1] != right[-1]:
        raise ShapeError(f"`{call.function}` sums over the last axis of {show(left)} and {show(right)}")
    return broadcast([left, right])[:-1]


def _concat(call: Call, shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes))
    axis = axis_of(call, max(rank, 1)) or 0
    whole = [shape if shape else (1,) for shape in shapes]
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in whole}
    if len(rest) > 1 or len({len(shape) for shape in whole}) > 1:
        raise ShapeError(f"`concat` joins along axis {axis}, and finds {', '.join(map(show, shapes))}")
    return (*whole[0][:axis], sum(shape[axis] for shape in whole), *whole[0][axis + 1 :])


def _stack(call: Call, shapes: Sequence[Shape]) -> Shape:
    common = broadcast(shapes)
    axis = axis_of(call, len(common) + 1) or 0
    return (*common[:axis], len(shapes), *common[axis:])


def _reshape(call: Call, shapes: Sequence[Shape]) -> Shape:
    target = static_sizes(call.arguments[1:])
    if math.prod(target) != math.prod(shapes[0]):
        raise ShapeError(f"`reshape` to {show(target)} of {show(shapes[0])}, which has {math.prod(shapes[0])} elements")
    return target


def static_sizes(parts: Sequence[Expression]) -> Shape:
    """Sizes that are written out: `3, 4` or `[3, 4]`."""
    if len(parts) == 1 and isinstance(parts[0], ListExpression):
        parts = parts[0].items
    sizes = [part.value for part in parts if isinstance(part, Literal) and type(part.value) is int and part.value > 0]
    if len(sizes) != len(parts):
        raise ShapeError("sizes are whole numbers from 1 on, written out")
    return tuple(sizes)


def _transpose(call: Call, shapes: Sequence[Shape]) -> Shape:
    shape = shapes[0]
    if len(shape) < 2:
        raise ShapeError(f"`{call.function}` needs a matrix, and finds {show(shape)}")
    return (*shape[:-2], shape[-1], shape[-2])


def _one_hot(call: Call, shapes: Sequence[Shape]) -> Shape:
    size = call.arguments[1] if len(call.arguments) > 1 else call.keyword("size")
    if size is None:
        raise ShapeError("`one_hot` needs the number of classes: `one_hot(y, 10)`")
    return (*shapes[0], *static_sizes([size]))


def _filled(call: Call, shapes: Sequence[Shape]) -> Shape:
    del shapes
    return static_sizes(call.arguments)


def _diag(call: Call, shapes: Sequence[Shape]) -> Shape:
    if not shapes[0]:
        raise ShapeError(f"`{call.function}` needs a vector, and finds a scalar")
    return (*shapes[0], shapes[0][-1])


def _ode_solve(call: Call, shapes: Sequence[Shape]) -> Shape:
    del call
    if len(shapes) < 3 or len(shapes[2]) != 1:
        raise ShapeError("`ode_solve(rate, start, times)` needs a vector of times")
    return (shapes[2][0], *shapes[1])


def _gram(call: Call, shapes: Sequence[Shape]) -> Shape:
    if not shapes[0]:
        raise ShapeError(
            f"the kernel `{call.function}` needs the inputs of all points, [N] or [N, D]; write `whole: true`"
        )
    if len(shapes[0]) > 2 or shapes[1] not in {(), shapes[0][1:]}:
        inputs, scale = map(show, shapes)
        raise ShapeError(
            f"the kernel `{call.function}` takes inputs [N] or [N, D] and one length scale, or one for each of D;"
            f" it finds {inputs} and {scale}"
        )
    return (shapes[0][0], shapes[0][0])


_STRUCTURAL: dict[str, Callable[[Call, Sequence[Shape]], Shape]] = {
    "dot": _dot, "concat": _concat, "stack": _stack, "reshape": _reshape, "transpose": _transpose, "diag": _diag,
    "one_hot": _one_hot, "ones": _filled, "zeros": _filled, "eye": lambda call, shapes: _filled(call, shapes) * 2,
    "arange": _filled, "checked": lambda _, shapes: shapes[0], "observed": lambda _, shapes: shapes[0],
    "ode_solve": _ode_solve, "rbf": _gram,
}  # fmt: skip


def index_shape(node: Index, value: Shape, items: Sequence[Shape]) -> Shape:
    """The shape of `value[items]`: a number drops an axis, a slice keeps it, an integer value gathers along it."""
    if len(node.items) > len(value):
        raise ShapeError(f"{len(node.items)} indices into {show(value)}")
    for item, size in zip(node.items, value, strict=False):
        states = None if item.type is None else item.type.support.states
        if states is not None and states > size and as_number(item) is None:
            raise ShapeError(f"an index of {states} values into an axis of {size}")
    result: list[int] = []
    for item, size, gathered in zip(node.items, value, items, strict=False):
        number = as_number(item)
        if isinstance(item, Slice):
            if item.step is not None and _bound(item.step) == 0:
                raise ShapeError("the step of a slice is 0")
            result.append(len(range(*slice(*map(_bound, (item.start, item.stop, item.step))).indices(size))))
        elif number is not None:
            if not -size <= number < size:
                raise ShapeError(f"index {int(number)} is outside of an axis of {size}")
        else:
            result.extend(gathered)
    return (*result, *value[len(node.items) :])


def _bound(part: Expression | None) -> int | None:
    number = None if part is None else as_number(part)
    if part is not None and (number is None or number != int(number)):
        raise ShapeError("the bounds of a slice are whole numbers, written out")
    return None if number is None else int(number)

"""Shapes of expressions while they are being solved: unknown is None, and what is expected is handed down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgmppl.ir.expressions import Apply, Call, Expression, Index, Literal, Mapping, Name, Operation, Sequence, Slice
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.program import IndexKind
from dgmppl.ir.types import Shape
from dgmppl.passes.shapes import RaggedError, ShapeError, broadcast, index_shape, result_shape
from dgmppl.passes.terms import lag

if TYPE_CHECKING:
    from dgmppl.passes.solve import Solution


class Upward:
    """Reads shapes off expressions and notes what they determine; mismatches are left to the typing pass.

    Attributes:
        index: the chain's index where the expression stands inside a step.
        local: shapes of a local function's arguments while its body is read.
    """

    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.index: str | None = None
        self.local: dict[str, Shape | None] = {}

    def shape(self, expression: Expression, expected: Shape | None) -> Shape | None:
        """The shape of an expression where it is known; `expected` is what stands around it asks for."""
        try:
            return self._shape(expression, expected)
        except RaggedError as ragged:
            return ragged.whole
        except ShapeError:
            return expected

    def _shape(self, node: Expression, expected: Shape | None) -> Shape | None:
        match node:
            case Literal() | Slice() | Mapping():
                return ()
            case Name():
                return self._name(node, expected)
            case Apply():
                return self._apply(node, expected)
            case Index():
                return self._index(node)
            case Operation(operator="@", operands=(left, right)):
                return self._matmul(node, left, right, expected)
            case Operation(operands=operands):
                return self._broadcast(node, operands, expected)
            case Sequence(items=items):
                return self._whole(node, [self.shape(item, None) for item in items])
            case Call():
                return self._call(node, expected)

    def _name(self, name: Name, expected: Shape | None) -> Shape | None:
        if name.id == self.index:
            return ()
        if name.id in self.local:
            return self.local[name.id]
        known = self.solution.shapes.get(name.id)
        if known is None and expected is not None and self.solution.can_take(name.id):
            self.solution.set(name.id, expected)
        return known

    def _apply(self, node: Apply, expected: Shape | None) -> Shape | None:
        inputs = [self.shape(part, None) for part in node.inputs]
        heads, key = self.solution.heads, (node.network, node.head)
        if key not in heads:
            own = own_shape(self.solution, node, inputs[0] if inputs else None)
            found = expected if own is None else own
            if found is not None:
                heads[key], self.solution.changed = found, True
        return heads.get(key)

    def _index(self, node: Index) -> Shape | None:
        solution = self.solution
        if isinstance(node.value, Name) and len(node.items) == 1:
            name = node.value.id
            if self.index is not None and lag(node.items[0], self.index) is not None:
                shape = solution.shapes.get(name)
                return solution.elements.get(name) if shape is None else shape[1:]
            if reads_level(solution, node):
                return solution.shapes.get(name)
        value = self.shape(node.value, None)
        items = [self.shape(item, None) for item in node.items]
        if value is None or any(item is None for item in items):
            return None
        return index_shape(node, value, [item for item in items if item is not None])

    def _matmul(self, node: Operation, left: Expression, right: Expression, expected: Shape | None) -> Shape | None:
        first, second = self.shape(left, None), self.shape(right, None)
        if first is not None and second is None and expected is not None:
            columns = () if len(expected) < len(first) else expected[-1:]
            second = self.shape(right, (first[-1], *columns)) if first else None
        elif second is not None and first is None and expected is not None and second:
            inner = second[-2] if len(second) > 1 else second[0]
            rows = expected[:-1] if len(second) > 1 else expected
            first = self.shape(left, (*rows, inner))
        return self._whole(node, [first, second])

    def _broadcast(self, node: Expression, parts: tuple[Expression, ...], expected: Shape | None) -> Shape | None:
        shapes = [self.shape(part, expected) for part in parts]
        known = [shape for shape in shapes if shape is not None]
        if self.solution.adopting and expected is None and known and len(known) < len(shapes) and broadcast(known):
            shapes = [self.shape(part, broadcast(known)) for part in parts]
        return self._whole(node, shapes)

    def _whole(self, node: Expression, shapes: list[Shape | None]) -> Shape | None:
        known = [shape for shape in shapes if shape is not None]
        return result_shape(node, known) if len(known) == len(shapes) else None

    def _call(self, call: Call, expected: Shape | None) -> Shape | None:
        name = call.function
        if name in self.solution.program.bijectors:
            return self.shape(call.arguments[0], expected)
        if name == "ode_solve":
            return self._ode(call)
        rule = FUNCTIONS[name].rule
        for _, value in call.keywords:
            self.shape(value, None)
        if rule in {"elementwise", "cumulative"}:
            return self._broadcast(call, call.arguments, expected)
        if name in {"checked", "observed"}:
            return self.shape(call.arguments[0], expected)
        if name == "dot" and len(call.arguments) == 2:
            first, second = (self.shape(part, None) for part in call.arguments)
            return self._whole(call, [self.shape(call.arguments[0], second), self.shape(call.arguments[1], first)])
        return self._whole(call, [self.shape(part, None) for part in call.arguments])

    def _ode(self, call: Call) -> Shape | None:
        rate, start, *times = call.arguments
        shape = self.shape(start, None)
        if isinstance(rate, Name) and rate.id in self.solution.program.functions:
            arguments, body = self.solution.program.functions[rate.id]
            outer, self.local = self.local, {**self.local, arguments[0]: shape}
            self.local.update(dict.fromkeys(arguments[1:], ()))
            self.shape(body, shape)
            self.local = outer
        return self._whole(call, [(), shape, *(self.shape(part, None) for part in times)])


def reads_level(solution: Solution, node: Index) -> bool:
    """Whether `a[c]` picks the copy of a level, rather than an element."""
    if not (isinstance(node.value, Name) and len(node.items) == 1 and isinstance(node.items[0], Name)):
        return False
    name, item = node.value.id, node.items[0].id
    site, column = solution.program.by_name.get(name), solution.program.columns.get(name)
    levelled = site is not None and site.index is IndexKind.LEVEL and site.level == item
    return levelled or (column is not None and column.per == item)


def own_shape(solution: Solution, node: Apply, first: Shape | None) -> Shape | None:
    """The output shape that a network's own options fix: `out=`, or a recurrent network's states."""
    network = solution.program.networks[node.network]
    kind, out = NETWORKS[network.kind], network.options.get("out")
    own: Shape | None = None
    match out:
        case int():
            own = (out,)
        case tuple():
            own = tuple(size for size in out if isinstance(size, int))
    if kind.sequence and not node.causal and node.head is None:
        width = network.options.get("width")
        if own is None and isinstance(width, int):
            own = (width,)
        return (first[0], *own) if own is not None and first else None
    return own

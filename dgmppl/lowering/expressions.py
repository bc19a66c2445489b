"""Expressions over one datum -> values over batches."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, TypeAlias

from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.chains import lag_of, pointwise
from dgmppl.ir.densities import Density, Deterministic, MarkovChain
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
from dgmppl.ir.kernel import Assign, NetworkCall, Var
from dgmppl.ir.networks import Network
from dgmppl.ir.program import Role, Site
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.calls import as_real, literal_array, lower_call, matmul, stacked, static_size
from dgmppl.lowering.layout import Lowered, as_array, combine, number, op
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
            return lower_call(scope, expression, lambda part: lower_expression(scope, part))
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
    if known is not None:
        return known
    clock = scope.clock
    if clock is not None:
        if name == clock.index:
            return clock.position(scope)
        with scope.within(clock.outside):
            whole = lookup(scope, name)
        return clock.ambient(scope, whole)
    known = _resolve(scope, name)
    scope.bind(name, known)
    return known


def _resolve(scope: Scope, name: str) -> Lowered:
    site = scope.program.by_name.get(name) or scope.program.guide_by_name.get(name)
    if site is None:
        raise InternalError(f"{name!r} has no value here")
    if name in scope.groups:
        return scope.parameter(site)
    if site.role in (Role.OBSERVED, Role.COVARIATE):
        return scope.column(name, site.typed)
    return value_of(site.law, scope, site)


@singledispatch
def value_of(density: Density, scope: Scope, site: Site) -> Lowered:
    """The value of a site that is computed from others.

    Raises:
        InternalError: it is drawn, and it was read before that.
    """
    raise InternalError(f"the latent {site.name!r} was read before it was drawn")


@value_of.register
def _value(density: Deterministic, scope: Scope, site: Site) -> Lowered:
    value = lower_expression(scope, density.expression)
    return value if value.literal is not None else scope.assign(site.name, value)


def _operation(scope: Scope, expression: Operation) -> Lowered:
    operands = [lower_expression(scope, operand) for operand in expression.operands]
    match expression.operator:
        case "neg":
            literal = operands[0].literal
            if literal is not None:
                return number(-literal)
            return operands[0].with_value(op("neg", operands[0].value))
        case "@":
            return matmul(operands[0], operands[1])
        case operator if operator in _ARITHMETIC:
            real = operator == "/" or any(operand.dtype is Dtype.REAL for operand in operands)
            operands = [as_real(operand) for operand in operands] if real else operands
            return combine(_ARITHMETIC[operator], *operands, dtype=Dtype.REAL if real else None)
        case operator:
            return combine(_COMPARISON[operator], *operands, dtype=Dtype.BOOLEAN)


def _sequence(scope: Scope, expression: Sequence) -> Lowered:
    """A list: a constant array where all of it is literal, else its items stacked."""
    constant = literal_array(expression)
    if constant is not None:
        dtype = Dtype.INTEGER if constant.dtype.kind == "i" else Dtype.REAL
        return Lowered(op("constant", values=_nested(constant)), constant.shape, False, dtype)
    return stacked([lower_expression(scope, item) for item in expression.items], 0)


def _nested(array: NDArray[Any]) -> object:
    return tuple(map(_nested, array)) if array.ndim else array.item()


# ---- networks -------------------------------------------------------------------------------------------------------


def apply_network(scope: Scope, expression: Apply) -> Lowered:
    """A network's head; all heads of one call are computed once."""
    network = scope.program.networks[expression.network]
    if expression.causal and scope.element is not None:
        return _head(network, scope.element(scope, expression), expression.head)
    inputs = network_inputs(scope, expression)
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
    return _head(network, outputs, expression.head)


def network_inputs(scope: Scope, expression: Apply) -> list[Lowered]:
    """The inputs of a call; what is read causally keeps its integers, which the network embeds."""
    values = [as_array(lower_expression(scope, part)) for part in expression.inputs]
    first = 1 if expression.causal else 0
    return [*values[:first], *map(as_real, values[first:])]


def _head(network: Network, outputs: tuple[Lowered, ...], head: str | None) -> Lowered:
    return outputs[0] if head is None else outputs[[known.name for known in network.heads].index(head)]


# A static index along one axis: a position, or (start, stop, step).
Position: TypeAlias = "int | tuple[int | None, int | None, int | None]"
_ALL: Position = (None, None, None)

# ---- indices --------------------------------------------------------------------------------------------------------


def _index(scope: Scope, expression: Index) -> Lowered:
    step = _step(scope, expression)
    if step is not None and len(expression.items) == 1:
        return step
    value = lower_expression(scope, expression.value) if step is None else step
    items = [_item(scope, item) for item in expression.items[0 if step is None else 1 :]]
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


def _step(scope: Scope, expression: Index) -> Lowered | None:
    """A lag of a chain or of a series, `z[t-1]`, where the present place has a clock; None for any other index."""
    clock = scope.clock
    if clock is None or not isinstance(expression.value, Name):
        return None
    lag = clock.lag(expression.items[0])
    if lag is None:
        return None
    name = expression.value.id
    known = clock.known(name, lag)
    if known is not None:
        return known
    site = scope.program.by_name.get(name)
    chain = pointwise(site, clock.index) if lag == 0 else None
    if chain is not None:
        return value_of_step(scope, name, chain)
    if lag_of(expression.items[0], clock.index) is None:
        return None
    with scope.within(clock.outside):
        whole = lookup(scope, name)
    return clock.at(scope, whole, lag)


def value_of_step(scope: Scope, name: str, chain: MarkovChain) -> Lowered:
    """The present step of a deterministic chain without memory."""
    assert isinstance(chain.transition, Deterministic)
    return scope.assign(name, lower_expression(scope, chain.transition.expression))


def _item(scope: Scope, item: Expression) -> Lowered | Position:
    match item:
        case Slice(start=start, stop=stop, step=step):
            bounds = [None if part is None else static_size(part) for part in (start, stop, step)]
            return bounds[0], bounds[1], bounds[2]
        case _:
            constant = literal_array(item)
            return int(constant) if constant is not None and constant.ndim == 0 else lower_expression(scope, item)


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

"""Supports: in which set an expression's values provably lie, and whether that set lies in another.

The proof is by intervals, by the structure of a few sets (simplexes, triangular factors), and by the value where an
expression is constant. It is sound and far from complete; `checked(e, positive)` says what it cannot see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dgmppl.ir.data import Column
from dgmppl.ir.expressions import Apply, Call, Expression, Index, Literal, Name, Operation
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.ir.types import BINARY, COUNT, REAL, UNIT, Dtype, Support, integer
from dgmppl.passes.bounds import INF, Bounds, bounds_of, evidence
from dgmppl.passes.combinators import as_support
from dgmppl.passes.constants import constant, constant_in


class Proof:
    """Intervals of typed expressions.

    Attributes:
        columns: covariates, whose values count as evidence.
    """

    def __init__(self, columns: Mapping[str, Column], covariates: frozenset[str]) -> None:
        self.columns = columns
        self.covariates = covariates

    def bounds(self, node: Expression) -> Bounds:
        """The interval in which every element of a typed expression lies."""
        match node:
            case Literal(value=bool(value) | int(value) | float(value)):
                return Bounds(float(value), float(value))
            case Name(id=name) if name in self.covariates:
                return evidence(self.columns[name])
            case Name() | Apply():
                return Bounds() if node.type is None else bounds_of(node.type.support)
            case Index(value=value):
                return self.bounds(value)
            case ListExpression(items=items):
                return _hull([self.bounds(item) for item in items])
            case Operation(operator=operator, operands=operands):
                return self._operation(operator, operands)
            case Call():
                return self._call(node)
        return Bounds()

    def _operation(self, operator: str, operands: Sequence[Expression]) -> Bounds:
        parts = [self.bounds(operand) for operand in operands]
        if operator == "*" and operands[0] == operands[1]:
            return _square(parts[0])
        rule = _OPERATORS.get(operator)
        if rule is not None:
            return rule(*parts)
        return Bounds(0, 1) if operator in {"<", "<=", ">", ">=", "==", "!="} else Bounds()

    def _call(self, call: Call) -> Bounds:
        name = call.function
        if name == "checked" and len(call.arguments) == 2:
            asserted = as_support(call.arguments[1])
            return Bounds() if asserted is None else bounds_of(asserted[0])
        tensors = [self.bounds(part) for part in call.arguments]
        rule = _CALLS.get(name)
        return Bounds() if rule is None or not tensors else rule(tensors)

    def lies_in(self, node: Expression, target: Support) -> bool:
        """Whether every value of a typed expression provably lies in a support."""
        if target.kind == "real":
            return True
        support = node.type.support if node.type is not None else REAL
        value = constant(node)
        if value is not None and not constant_in(value, REAL):
            return False
        if support.within(target):
            return True
        if value is not None:
            return constant_in(value, target)
        found = self.bounds(node)
        match target.kind:
            case "positive":
                return found.positive
            case "nonnegative":
                return found.low >= 0
            case "unit":
                return found.low >= 0 and found.high <= 1
            case "interval":
                wanted = bounds_of(target)
                return wanted.low <= found.low and found.high <= wanted.high
            case "count":
                return found.low >= 0 and node.type is not None and node.type.dtype is not Dtype.REAL
        return False


def _hull(parts: Sequence[Bounds]) -> Bounds:
    if not parts:
        return Bounds()
    low = min(part.low for part in parts)
    return Bounds(low, max(part.high for part in parts), above=all(part.above or part.low > low for part in parts))


def _add(left: Bounds, right: Bounds) -> Bounds:
    return Bounds(left.low + right.low, left.high + right.high, above=left.above or right.above)


def _negate(part: Bounds) -> Bounds:
    return Bounds(-part.high, -part.low)


def _product(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b


def _multiply(left: Bounds, right: Bounds) -> Bounds:
    ends = [_product(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Bounds(min(ends), max(ends), above=left.positive and right.positive)


def _divide(left: Bounds, right: Bounds) -> Bounds:
    if not right.positive:
        return Bounds()
    inverse = Bounds(0.0 if right.high == INF else 1 / right.high, INF if right.low == 0 else 1 / right.low, above=True)
    return _multiply(left, inverse)


def _square(part: Bounds) -> Bounds:
    # A float's own product overflows to infinity; its power would raise.
    ends = (part.low * part.low, part.high * part.high)
    if part.low >= 0:
        return Bounds(ends[0], ends[1], part.above)
    return Bounds(0.0 if part.high >= 0 else ends[1], max(ends))


def _power(base: Bounds, exponent: Bounds) -> Bounds:
    if exponent.low == exponent.high and exponent.low == 2:
        return _square(base)
    if exponent.low == exponent.high and exponent.low > 0 and exponent.low % 2 == 0:
        return Bounds(0)
    if base.positive:
        return Bounds(0, INF, above=True)
    return Bounds(0) if base.low >= 0 and exponent.low >= 0 else Bounds()


_OPERATORS: dict[str, Callable[..., Bounds]] = {
    "+": _add, "-": lambda left, right: _add(left, _negate(right)), "*": _multiply, "/": _divide, "neg": _negate,
    "**": _power, "@": lambda left, right: Bounds(0) if left.low >= 0 and right.low >= 0 else Bounds(),
}  # fmt: skip


def _monotone(
    function: Callable[[float], float], low: float = -INF, high: float = INF
) -> Callable[[Sequence[Bounds]], Bounds]:
    """The image under a strictly increasing function whose limits `low` and `high` are not reached."""

    def at(value: float) -> float:
        if value in (-INF, INF):
            return low if value < 0 else high
        try:
            return function(value)
        except (ValueError, OverflowError):
            return low if value <= 0 else high

    return lambda parts: Bounds(at(parts[0].low), at(parts[0].high), above=parts[0].low == -INF or parts[0].above)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _root(parts: Sequence[Bounds]) -> Bounds:
    part = parts[0]
    return Bounds(math.sqrt(max(part.low, 0.0)), math.sqrt(max(part.high, 0.0)), part.positive)


def _rectified(parts: Sequence[Bounds]) -> Bounds:
    part = parts[0]
    return Bounds(max(part.low, 0.0), max(part.high, 0.0), part.positive)


def _absolute(parts: Sequence[Bounds]) -> Bounds:
    part = parts[0]
    return part if part.low >= 0 else Bounds(0.0 if part.high >= 0 else -part.high, max(-part.low, part.high))


def _clip(parts: Sequence[Bounds]) -> Bounds:
    if len(parts) != 3:
        return Bounds()
    x, low, high = parts
    return Bounds(min(max(x.low, low.low), high.low), max(min(x.high, high.high), low.high))


def _sum(parts: Sequence[Bounds]) -> Bounds:
    return Bounds(0, INF, parts[0].positive) if parts[0].low >= 0 else Bounds()


def _fixed(low: float, high: float, above: bool = False) -> Callable[[Sequence[Bounds]], Bounds]:
    return lambda _: Bounds(low, high, above)


_CALLS: dict[str, Callable[[Sequence[Bounds]], Bounds]] = {
    "exp": _monotone(math.exp, 0.0), "expm1": _monotone(math.expm1, -1.0), "log": _monotone(math.log),
    "log1p": _monotone(math.log1p), "sqrt": _root, "sigmoid": _monotone(_sigmoid, 0.0, 1.0),
    "softplus": _monotone(_softplus, 0.0), "tanh": _monotone(math.tanh, -1.0, 1.0),
    "erf": _monotone(math.erf, -1.0, 1.0),
    "relu": _rectified, "square": lambda parts: _square(parts[0]), "abs": _absolute,
    "sin": _fixed(-1, 1), "cos": _fixed(-1, 1), "sign": _fixed(-1, 1), "clip": _clip,
    "maximum": lambda parts: Bounds(
        max(p.low for p in parts), max(p.high for p in parts), any(p.positive for p in parts)
    ),
    "minimum": lambda parts: Bounds(min(p.low for p in parts), min(p.high for p in parts), all(p.above for p in parts)),
    "where": lambda parts: _hull(parts[1:]), "softmax": _fixed(0, 1, True), "log_softmax": _fixed(-INF, 0),
    "sum": _sum, "cumsum": _sum, "prod": _sum,
    "dot": lambda parts: Bounds(0) if all(p.low >= 0 for p in parts) else Bounds(),
    "mean": lambda parts: parts[0], "max": lambda parts: parts[0], "min": lambda parts: parts[0],
    "concat": _hull, "stack": _hull, "reshape": lambda parts: parts[0], "transpose": lambda parts: parts[0],
    "diag": lambda parts: Bounds(min(0.0, parts[0].low), max(0.0, parts[0].high)), "one_hot": _fixed(0, 1),
    "eye": _fixed(0, 1), "ones": _fixed(1, 1), "zeros": _fixed(0, 0), "arange": _fixed(0, INF),
    "observed": _fixed(0, 1),
    "rbf": _fixed(0, 1, True),
}  # fmt: skip


# ---- sets with structure -----------------------------------------------------------------------------------------

_TRIANGULAR = ("cholesky", "correlation_cholesky")


def structured(node: Expression, proof: Proof) -> Support | None:
    """The support of a typed node where it is more than an interval: simplexes, factors, integers; None elsewhere."""
    match node:
        case Name() | Apply():
            return None if node.type is None else node.type.support
        case Index(value=value, items=items) if value.type is not None:
            kept = len(items) < len(value.type.shape) or not value.type.shape
            vector = value.type.support.kind in {"simplex", "ordered", "positive_ordered"}
            return value.type.support if kept or not vector else None
        case Call(function="softmax") if node.type is not None:
            last = node.keyword("axis") is None and len(node.arguments) == 1
            return Support("simplex", size=node.type.shape[-1]) if last and node.type.shape else None
        case Call(function="checked", arguments=(_, asserted)):
            read = as_support(asserted)
            return None if read is None else read[0]
        case Call(function="eye"):
            return Support("correlation_cholesky")
        case Call(function="diag", arguments=(vector_,)) if proof.bounds(vector_).positive:
            return Support("cholesky")
        case Call(function="observed"):
            return BINARY
        case Call(function="one_hot"):
            return UNIT
        case Operation(operator="@" | "*", operands=(left, right)):
            return _product_structure(node.operator, left, right, proof)
    return None


def _product_structure(operator: str, left: Expression, right: Expression, proof: Proof) -> Support | None:
    kinds = [part.type.support.kind if part.type is not None else "real" for part in (left, right)]
    if operator == "@" and all(kind in _TRIANGULAR for kind in kinds):
        return Support("cholesky")
    if operator == "@" and kinds[0] in _TRIANGULAR and right == Call("transpose", (left,)):
        return Support("positive_definite")
    for factor, kind in ((left, kinds[1]), (right, kinds[0])):
        scalar = factor.type is not None and factor.type.shape == ()
        if operator == "*" and scalar and kind in {*_TRIANGULAR, "positive_definite"} and proof.bounds(factor).positive:
            return Support("cholesky" if kind in _TRIANGULAR else kind)
    return None


def column_support(column: Column) -> Support:
    """The support of a covariate, as declared or as its values show."""
    if column.support is not None:
        return column.support
    if column.dtype is Dtype.REAL:
        return REAL
    if column.coded and column.levels is not None:
        return integer(len(column.levels))
    return COUNT if column.lowest is not None and column.lowest.value >= 0 else REAL

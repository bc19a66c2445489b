"""Values that are numbers when the text is printed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping

from dgmppl.ir.kernel import Number, Op, Value

# Functions of numbers that Python's `math` has under the same name.
MATH = frozenset({"exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "lgamma", "erf"})

_FOLDED: Mapping[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in sorted(MATH)},
    "square": lambda x: x * x,
    "abs": abs,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
    "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
    "logit": lambda x: math.log(x) - math.log1p(-x),
    "softplus": lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0),
    "relu": lambda x: max(x, 0.0),
    "maximum": max,
    "minimum": min,
    "clip": lambda x, low, high: min(max(x, low), high),
    "where": lambda condition, x, y: x if condition else y,
}


def _power(base: float, exponent: float) -> float:
    """A whole power of a whole number where a float holds it exactly, else a float."""
    power = math.pow(base, exponent)
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent >= 0
    return base**exponent if whole and abs(power) < _EXACT else power


# Whole numbers below it are floats, too.
_EXACT = 2.0**53

_OPERATORS: Mapping[str, Callable[..., float]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": _power,
    "neg": operator.neg, "stop": operator.pos, "expand": operator.pos, "cast": operator.pos,
}  # fmt: skip


def folded(value: Value) -> Value:
    """The value, as a number where all of it is numbers; a domain error is left to the run, which reports it."""
    if not isinstance(value, Op):
        return value
    compute = (
        _FOLDED.get(str(dict(value.options).get("function"))) if value.name == "call" else _OPERATORS.get(value.name)
    )
    operands = [folded(operand) for operand in value.operands]
    numbers = [operand.value for operand in operands if isinstance(operand, Number)]
    if compute is None or not numbers or len(numbers) != len(operands):
        return value
    try:
        return Number(compute(*numbers))
    except (ArithmeticError, ValueError):
        return value

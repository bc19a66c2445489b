"""Derivatives of expressions of one real number, as expressions of the same language, and their values in NumPy.

Functions with a kink have one of their subgradients there (|x| at 0: 0), so that a convex function's derivative is a
subgradient of it everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import InternalError
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation, free_names, rebuild

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """A function of one argument.

    Attributes:
        value: in NumPy.
        slope: its derivative as an expression of its argument.
    """

    value: Callable[[Any], Any]
    slope: Callable[[Expression], Expression]


def _call(function: str, *arguments: Expression) -> Expression:
    return Call(function, arguments)


def number(value: float) -> Expression:
    """A literal; a negative one is written with a minus sign, as the parser reads it."""
    return Operation("neg", (Literal(-value),)) if value < 0 else Literal(value)


def constant(expression: Expression) -> float | None:
    """The number that an expression is, or None."""
    match expression:
        case Literal(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case Operation(operator="neg", operands=(Literal(value=int() | float() as value),)):
            return -float(value)
    return None


# ---- arithmetic that leaves out what changes nothing ----------------------------------------------------------------


def add(left: Expression, right: Expression) -> Expression:
    """left + right."""
    if constant(left) == 0:
        return right
    return left if constant(right) == 0 else Operation("+", (left, right))


def subtract(left: Expression, right: Expression) -> Expression:
    """left - right."""
    if constant(right) == 0:
        return left
    match right:
        case Operation(operator="neg", operands=(inside,)):
            return add(left, inside)
    return negate(right) if constant(left) == 0 else Operation("-", (left, right))


def multiply(left: Expression, right: Expression) -> Expression:
    """left * right."""
    if constant(left) == 0 or constant(right) == 0:
        return Literal(0)
    match left, right:
        case (Operation(operator="/", operands=(Literal(value=1), below)), other) | (
            other,
            Operation(operator="/", operands=(Literal(value=1), below)),
        ):
            return divide(other, below)
        case (Operation(operator="neg", operands=(inside,)), other) | (
            other,
            Operation(operator="neg", operands=(inside,)),
        ) if constant(inside) is None:
            return negate(multiply(inside, other))
    if constant(left) == 1:
        return right
    return left if constant(right) == 1 else Operation("*", (left, right))


def divide(left: Expression, right: Expression) -> Expression:
    """left / right."""
    if constant(left) == 0:
        return Literal(0)
    if left == right:
        return Literal(1)
    match left, right:
        case Operation(operator="/", operands=(above, common)), Operation(operator="/", operands=(below, same)):
            if common == same:
                return divide(above, below)
    return left if constant(right) == 1 else Operation("/", (left, right))


def negate(operand: Expression) -> Expression:
    """-operand."""
    match operand:
        case Operation(operator="neg", operands=(inside,)):
            return inside
    return Literal(0) if constant(operand) == 0 else Operation("neg", (operand,))


def power(base: Expression, exponent: Expression) -> Expression:
    """base ** exponent."""
    return base if constant(exponent) == 1 else Operation("**", (base, exponent))


# ---- the table ------------------------------------------------------------------------------------------------------

_ONE, _TWO = Literal(1), Literal(2)

# Functions of one argument; `maximum`, `minimum` and `where` are rules of their own.
SMOOTH: Mapping[str, Rule] = {
    "exp": Rule(np.exp, lambda x: _call("exp", x)),
    "expm1": Rule(np.expm1, lambda x: _call("exp", x)),
    "log": Rule(np.log, lambda x: divide(_ONE, x)),
    "log1p": Rule(np.log1p, lambda x: divide(_ONE, add(_ONE, x))),
    "sqrt": Rule(np.sqrt, lambda x: divide(Literal(0.5), _call("sqrt", x))),
    "square": Rule(np.square, lambda x: multiply(_TWO, x)),
    "abs": Rule(np.abs, lambda x: _call("sign", x)),
    "sign": Rule(np.sign, lambda _: Literal(0)),
    "sin": Rule(np.sin, lambda x: _call("cos", x)),
    "cos": Rule(np.cos, lambda x: negate(_call("sin", x))),
    "sigmoid": Rule(
        lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
        lambda x: multiply(_call("sigmoid", x), subtract(_ONE, _call("sigmoid", x))),
    ),
    "logit": Rule(lambda x: np.log(x) - np.log1p(-x), lambda x: divide(_ONE, multiply(x, subtract(_ONE, x)))),
    "softplus": Rule(lambda x: np.logaddexp(0.0, x), lambda x: _call("sigmoid", x)),
    "tanh": Rule(np.tanh, lambda x: subtract(_ONE, _call("square", _call("tanh", x)))),
    "relu": Rule(
        lambda x: np.maximum(x, 0.0), lambda x: _call("where", Operation(">", (x, Literal(0))), _ONE, Literal(0))
    ),
    "erf": Rule(
        np.vectorize(math.erf, otypes=[float]),
        lambda x: multiply(Literal(2.0 / math.sqrt(math.pi)), _call("exp", negate(_call("square", x)))),
    ),
}
_CHOICES: Mapping[str, str] = {"maximum": ">=", "minimum": "<="}
FUNCTIONS: tuple[str, ...] = (*SMOOTH, *_CHOICES, "where")


def arity(function: str) -> int:
    """How many arguments a function of the table takes."""
    return 1 if function in SMOOTH else 2 if function in _CHOICES else 3


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power, "neg": np.negative,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
OPERATORS: tuple[str, ...] = tuple(_OPERATORS)


def evaluate(expression: Expression, values: Mapping[str, Array]) -> Array:
    """An expression's value at arrays of its names, elementwise; not finite outside of a function's domain."""
    with np.errstate(all="ignore"):
        return np.asarray(_value(expression, values), dtype=np.float64)


def _value(expression: Expression, values: Mapping[str, Array]) -> Any:
    match expression:
        case Literal(value=int() | float() as value):
            return float(value)
        case Name(id=name):
            return values[name]
        case Operation(operator=operator, operands=operands):
            return _OPERATORS[operator](*(_value(part, values) for part in operands))
        case Call(function=function, arguments=arguments):
            parts = [_value(part, values) for part in arguments]
            return SMOOTH[function].value(*parts) if function in SMOOTH else getattr(np, function)(*parts)
    raise InternalError(f"{type(expression).__name__} is no function of a number")


def derivative(expression: Expression, name: str) -> Expression:
    """d expression / d name."""
    if name not in free_names(expression):
        return Literal(0)
    match expression:
        case Name():
            return _ONE
        case Operation(operator=operator, operands=operands):
            return _of_operation(operator, operands, name)
        case Call(function=function, arguments=(argument,)) if function in SMOOTH:
            return multiply(SMOOTH[function].slope(argument), derivative(argument, name))
        case Call(function="where", arguments=(condition, first, second)):
            return _call("where", condition, derivative(first, name), derivative(second, name))
        case Call(function=function, arguments=(first, second)) if function in _CHOICES:
            chosen = Operation(_CHOICES[function], (first, second))
            return _call("where", chosen, derivative(first, name), derivative(second, name))
    raise InternalError(f"{type(expression).__name__} has no derivative")


def _of_operation(operator: str, operands: tuple[Expression, ...], name: str) -> Expression:
    slopes = [derivative(part, name) for part in operands]
    match operator, operands:
        case "neg", _:
            return negate(slopes[0])
        case "+", _:
            return add(*slopes)
        case "-", _:
            return subtract(*slopes)
        case "*", (left, right):
            return add(multiply(slopes[0], right), multiply(left, slopes[1]))
        case "/", (left, right):
            quotient = divide(multiply(left, slopes[1]), _call("square", right))
            return subtract(divide(slopes[0], right), quotient)
        case "**", (left, right):
            return _of_power(left, right, *slopes)
    raise InternalError(f"the operator {operator!r} has no derivative")


def _of_power(base: Expression, exponent: Expression, slope: Expression, rate: Expression) -> Expression:
    """a b^(a-1) b' for a constant exponent a; b^a (a' log b + a b' / b) otherwise."""
    known = constant(exponent)
    if known is not None:
        return multiply(multiply(exponent, power(base, number(known - 1.0))), slope)
    inside = add(multiply(rate, _call("log", base)), divide(multiply(exponent, slope), base))
    return multiply(power(base, exponent), inside)


def without_logs_of_exp(expression: Expression) -> Expression:
    """The same function with log(exp(x)) written x, which is finite wherever x is."""
    inner = rebuild(expression, without_logs_of_exp)
    match inner:
        case Call(function="log", arguments=(Call(function="exp", arguments=(argument,)),)):
            return argument
    return inner

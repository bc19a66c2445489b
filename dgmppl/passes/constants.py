"""Constant expressions: their values, and whether those lie in a support."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dgmppl.ir.expressions import Call, Expression, Index, Literal, Operation
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.ir.types import Support
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.learned import as_number

_NUMPY: dict[str, Callable[..., NDArray[np.float64]]] = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "square": np.square,
    "abs": np.abs, "tanh": np.tanh, "maximum": np.maximum, "minimum": np.minimum, "max": np.max, "min": np.min,
    "sigmoid": lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)), "softplus": lambda x: np.logaddexp(0.0, x),
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power, "@": np.matmul, "neg": np.negative,
    "diag": np.diag, "transpose": np.transpose, "sum": np.sum, "mean": np.mean, "cumsum": np.cumsum,
}  # fmt: skip
_LARGEST_CONSTANT = 1_000_000


def constant(node: Expression) -> NDArray[np.float64] | None:
    """The value of an expression without names; None where it has some, or a function outside of a small table."""
    match node:
        case Literal(value=int(value) | float(value)):
            return np.asarray(value, dtype=np.float64)
        case ListExpression(items=items):
            return _applied(lambda *rows: np.stack(rows), items)
        case Index(value=value, items=items):
            places = tuple(int(number) for item in items if (number := as_number(item)) is not None)
            return _applied(lambda array: array[places], (value,)) if len(places) == len(items) else None
        case Operation(operator=name, operands=parts) | Call(function=name, arguments=parts, keywords=()) if (
            name in _NUMPY
        ):
            return _applied(_NUMPY[name], parts)
        case Call(function="ones" | "zeros" | "eye" | "arange" as name) if node.type is not None:
            if node.type.size > _LARGEST_CONSTANT:
                return None
            filled = {"ones": np.ones(node.type.shape), "zeros": np.zeros(node.type.shape)}
            if name in filled:
                return filled[name]
            return np.eye(node.type.shape[-1]) if name == "eye" else np.arange(node.type.size, dtype=np.float64)
    return None


def _applied(function: Callable[..., NDArray[np.float64]], parts: Sequence[Expression]) -> NDArray[np.float64] | None:
    values = [constant(part) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    with np.errstate(all="ignore"):
        try:
            return np.asarray(function(*known), dtype=np.float64)
        except (ValueError, TypeError, IndexError):
            return None


def constant_in(value: NDArray[np.float64], target: Support) -> bool:
    """Whether every value lies in a support."""
    if not np.isfinite(value).all():
        return False
    match target.kind:
        case "simplex":
            return bool(value.ndim and (value >= 0).all() and np.allclose(value.sum(-1), 1.0, atol=1e-6))
        case "cholesky":
            return _square_matrix(value) and bool(
                np.allclose(value, np.tril(value)) and (np.diagonal(value, 0, -2, -1) > 0).all()
            )
        case "positive_definite":
            symmetric = _square_matrix(value) and bool(np.allclose(value, np.swapaxes(value, -1, -2)))
            return symmetric and bool((np.linalg.eigvalsh(value) > 0).all())
        case "count" | "integer":
            return bool((value == np.floor(value)).all() and (value >= 0).all())
        case "positive":
            return bool((value > 0).all())
        case "ordered":
            return bool((np.diff(value) > 0).all())
    wanted = bounds_of(target)
    return bool((value >= wanted.low).all() and (value <= wanted.high).all())


def _square_matrix(value: NDArray[np.float64]) -> bool:
    return value.ndim >= 2 and value.shape[-1] == value.shape[-2]

"""From the transforms that a spec calls to fitted ones; statistics come from the training rows alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.data.encoding import position_text
from dgmppl.data.options import describe_plain, plain, refusal
from dgmppl.data.values import Values, first, violations
from dgmppl.ir.expressions import Call, Expression, Name, text
from dgmppl.ir.transform import Transform
from dgmppl.ir.transforms import (
    TRANSFORMS,
    Binarize,
    Dequantize,
    Flatten,
    Logit,
    OneHot,
    Standardize,
    StochasticBinarize,
    Unit,
)  # fmt: skip
from dgmppl.ir.types import BINARY, REAL, UNIT, Dtype, Support, integer
from dgmppl.source import Diagnostic, nearest
from dgmppl.spec.syntax import DataDeclaration

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Input:
    """What a transform is fitted to.

    Attributes:
        declaration: where it is called.
        call: the call as written.
        arguments: its settings by name.
        values: of all rows, after the earlier transforms.
        rows: the training rows.
        whole: the single row is a series, whose leading axis takes the place of rows.
    """

    declaration: DataDeclaration
    call: Call
    arguments: dict[str, Any]
    values: Values
    rows: Array
    whole: bool

    def refuse(
        self, message: str, *, expected: str | None = None, found: str | None = None, fix: str | None = None
    ) -> Exception:
        """The error that this transform is not defined for its input."""
        span = self.call.span or self.declaration.span
        declaration = replace(self.declaration, spans=(), span=span)
        return refusal(
            "data-transform-input", f"{text(self.call)} {message}", declaration, expected=expected, found=found, fix=fix
        )

    def after(self, name: str) -> bool:
        """Whether a transform of that name stands before this one."""
        before = takewhile(lambda one: one is not self.call, self.declaration.transform)
        return any(isinstance(one, Call) and one.function == name for one in before)

    def first_outside(self, support: Support) -> str | None:
        """The first observed value outside a support, with its row; None where all are inside."""
        outside = violations(self.values.array, support) & self.values.mask
        if not outside.any():
            return None
        return self.describe(tuple(np.argwhere(outside)[0].tolist()))

    def describe(self, position: tuple[int, ...]) -> str:
        """A value and its place."""
        where = position_text(position, self.values.fields, whole=self.whole)
        return f"{self.values.array[position]:g} in {where}"

    def sample(self) -> Array:
        """Training values with NaN where one is missing, observations along the leading axis."""
        gaps = self.values.with_gaps()
        return gaps[0] if self.whole and gaps.ndim > 1 else gaps[self.rows]


Fitted: TypeAlias = "tuple[Transform, tuple[Diagnostic, ...]]"


def fit(declaration: DataDeclaration, call: Expression, values: Values, rows: Array, whole: bool) -> Fitted:
    """One fitted transform, and what is suspicious about it.

    Args:
        declaration: of the column.
        call: the transform as written.
        values: of all rows, after the earlier transforms.
        rows: the training rows' numbers.
        whole: the column is one event.

    Raises:
        SpecError: for an unknown transform, wrong arguments, or values that it is not defined for.
    """
    checked, arguments = _arguments(declaration, call)
    fitter, _ = _FITTERS[checked.function]
    return fitter(Input(declaration, checked, arguments, values, rows, whole))


def _arguments(declaration: DataDeclaration, call: Expression) -> tuple[Call, dict[str, Any]]:
    """The call and its settings by name."""
    where = replace(declaration, spans=(), span=call.span or declaration.span)
    if isinstance(call, Name) and call.id in TRANSFORMS:
        raise refusal(
            "data-transform", f"the transform {call.id} is not called", where, fix=f"write {signature(call.id)}"
        )
    if not isinstance(call, Call) or call.function not in TRANSFORMS:
        name = call.function if isinstance(call, Call) else text(call)
        close = nearest(name, TRANSFORMS)
        raise refusal(
            "data-transform", f"there is no transform `{name}`", where,
            expected=", ".join(map(signature, TRANSFORMS)), fix=f"did you mean {signature(close)}?" if close else None,
        )  # fmt: skip
    parameters = _FITTERS[call.function][1]
    given = [*zip(parameters, call.arguments, strict=False), *call.keywords]
    settings = {name: plain(value) for name, value in given}
    surplus = len(call.arguments) > len(parameters) or call.splats or len(settings) < len(given)
    if surplus or not set(settings) <= set(parameters) or not _required(call.function) <= set(settings):
        raise refusal(
            "data-transform",
            "wrong arguments to a transform",
            where,
            expected=signature(call.function),
            found=text(call),
        )
    for name, value in settings.items():
        if not _VALID[name](value):
            raise refusal(
                "data-transform",
                f"{name} is out of range",
                where,
                expected=_EXPECTED[name],
                found=describe_plain(value),
            )
    return call, settings


def signature(name: str) -> str:
    """A transform as it is called: `binarize(t)`."""
    options = [f"{item}=feature|all" if item == "per" else item for item in _FITTERS[name][1]]
    return f"{name}({', '.join(options)})"


def _required(name: str) -> set[str]:
    return set(_FITTERS[name][1]) - {"per"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_VALID: dict[str, Callable[[Any], bool]] = {
    "t": lambda value: _is_number(value) and math.isfinite(value),
    "n": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 2,
    "alpha": lambda value: _is_number(value) and 0 <= value < 0.5,
    "per": lambda value: value in ("feature", "all"),
}
_EXPECTED = {
    "t": "a number",
    "n": "an integer of at least 2",
    "alpha": "a number from 0 up to 0.5, such as 1e-6",
    "per": "feature or all",
}  # fmt: skip


def _refuse_binary(given: Input) -> None:
    """Refuse to binarize what an earlier transform, or the column itself, has made 0 and 1."""
    if given.values.support == BINARY:
        raise given.refuse("is defined for numbers, and these are 0 and 1 already", found="binary", fix="leave it out")


def _fit_binarize(given: Input) -> Fitted:
    _refuse_binary(given)
    transform = Binarize(float(given.arguments["t"]))
    ones = transform.forward(given.values.array) if given.values.array.size <= _LOOKED_AT else None
    constant = ones is not None and bool((ones == ones.flat[0]).all())
    return transform, _same_warning(given, int(ones.flat[0])) if constant and ones is not None else ()


# Above this many elements a lint does not look at each.
_LOOKED_AT = 10_000_000


def _same_warning(given: Input, value: int) -> tuple[Diagnostic, ...]:
    low, high = float(given.values.array.min()), float(given.values.array.max())
    message = (
        f"{given.declaration.name}: {text(given.call)} makes every value {value}: they run from {low:g} to {high:g}"
    )
    fix = f"a threshold between them, such as binarize({0.5 * (low + high):g})"
    return (
        Diagnostic("data-constant", message, given.call.span or given.declaration.span, fix=fix, severity="warning"),
    )


def _fit_stochastic_binarize(given: Input) -> Fitted:
    _refuse_binary(given)
    if outside := given.first_outside(UNIT):
        raise given.refuse("needs probabilities", expected="values in [0, 1]", found=outside, fix=_unit_fix(given))
    return StochasticBinarize(), ()


def _unit_fix(given: Input, other: str = "unit()") -> str:
    """How values come into the unit interval; after `unit()` those of rows that are not trained on may lie outside."""
    if given.after(Unit.name):
        return "unit() maps the training rows to [0, 1]; divide by a range that holds all rows in `data` instead"
    return f"put {other} before it"


def _fit_dequantize(given: Input) -> Fitted:
    levels = int(given.arguments["n"])
    if outside := given.first_outside(integer(levels)):
        raise given.refuse(
            "needs integers", expected=f"integers from 0 to {levels - 1}", found=outside, fix=_dequantize_fix(given)
        )
    return Dequantize(levels), ()


def _dequantize_fix(given: Input) -> str:
    values = given.values.array
    if given.values.dtype is Dtype.INTEGER and values.min() >= 0:
        return f"dequantize({int(values.max()) + 1})"
    return (
        "leave it out: these values are continuous already"
        if given.values.dtype is Dtype.REAL
        else "shift them to start at 0"
    )


def _fit_unit(given: Input) -> Fitted:
    """The bounds are the declared ones of integers; else those of the training rows, which other rows may pass."""
    support = given.values.support
    if support is not None and support.states is not None:
        low, high = 0.0, float(support.states - 1)
    else:
        seen = given.sample()
        low, high = (0.0, 1.0) if np.isnan(seen).all() else (float(np.nanmin(seen)), float(np.nanmax(seen)))
    if high <= low:
        raise given.refuse("needs values that differ", found=f"{low:g} everywhere")
    return Unit(np.asarray(low), np.asarray(high - low)), ()


def _fit_standardize(given: Input) -> Fitted:
    per = str(given.arguments.get("per", "feature"))
    sample = given.sample().astype(np.float64)
    axis = 0 if per == "feature" else None
    present = np.maximum((~np.isnan(sample)).sum(axis=axis), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        loc = np.nansum(sample, axis=axis) / present
        scale = np.sqrt(np.nansum(np.square(sample - loc), axis=axis) / present)
    if not np.isfinite(scale).all():
        raise given.refuse("overflows: the variance is not a floating-point number", fix="rescale the column")
    constant = ~(scale > 1e-12 * np.maximum(np.abs(loc), 1.0))
    warning = _constant_warning(given, int(np.sum(constant)), int(np.size(constant))) if np.any(constant) else ()
    return Standardize(np.asarray(loc), np.where(constant, 1.0, scale), per), warning


def _constant_warning(given: Input, constant: int, features: int) -> tuple[Diagnostic, ...]:
    which = f"{constant} of {features} features have" if features > 1 else "the training values have"
    message = f"{given.declaration.name}: {which} no variance; they are centred and not scaled"
    span = given.call.span or given.declaration.span
    return (
        Diagnostic(
            "data-constant", message, span, fix="standardize(per=all) scales all by one number", severity="warning"
        ),
    )


def _fit_logit(given: Input) -> Fitted:
    alpha = float(given.arguments["alpha"])
    if outside := given.first_outside(UNIT):
        raise given.refuse(
            "needs the unit interval",
            expected="values in [0, 1]",
            found=outside,
            fix=_unit_fix(given, "dequantize(n) or unit()"),
        )
    ends = (given.values.array <= 0) | (given.values.array >= 1)
    if alpha == 0 and bool((ends & given.values.mask).any()):
        raise given.refuse("is infinite at 0 and 1, which the data hold", fix="logit(1e-6)")
    return Logit(alpha), ()


def _fit_flatten(given: Input) -> Fitted:
    return Flatten(tuple(given.values.array.shape[1:])), ()


def _fit_one_hot(given: Input) -> Fitted:
    if given.after(OneHot.name):
        raise given.refuse("needs integers, and an earlier one_hot() has made unit vectors of them", fix="leave it out")
    support, array = given.values.support, given.values.array
    states = support.states if support is not None else None
    if states is None:
        wrong = first(array, lambda part: (part < 0) | (part != np.floor(part)))
        if wrong is not None or given.values.dtype is not Dtype.INTEGER:
            found = "real values" if wrong is None else given.describe(wrong)
            fix = "leave it out, or declare a column of whole numbers as `support: integer(n)`"
            raise given.refuse("needs integers that count from 0", expected="integers from 0", found=found, fix=fix)
        states = int(array.max()) + 1
    if states > _MOST_STATES:
        raise given.refuse(f"would make vectors of {states} elements", expected=f"at most {_MOST_STATES} states",
                           fix="use the integer itself as a level index, or its log")  # fmt: skip
    return OneHot(states), ()


# Above this many states one-hot vectors are a mistake rather than a wish.
_MOST_STATES = 65_536


# How each transform is fitted, and its arguments in order; the keys are those of `TRANSFORMS`.
_FITTERS: dict[str, tuple[Callable[[Input], Fitted], tuple[str, ...]]] = {
    "binarize": (_fit_binarize, ("t",)),
    "dequantize": (_fit_dequantize, ("n",)),
    "flatten": (_fit_flatten, ()),
    "logit": (_fit_logit, ("alpha",)),
    "one_hot": (_fit_one_hot, ()),
    "standardize": (_fit_standardize, ("per",)),
    "stochastic_binarize": (_fit_stochastic_binarize, ()),
    "unit": (_fit_unit, ()),
}


def apply(transform: Transform, values: Values, noise: np.random.Generator | None) -> Values:
    """The transformed values: zero again where an entry is missing."""
    with np.errstate(all="ignore"):  # zeros that stand for missing entries may lie outside the domain
        array = transform.forward(values.array if transform.exact else values.wide, noise)
    observed = None if values.observed is None else transform.mask(values.observed)
    if observed is not None:
        array = np.where(observed, array, np.zeros((), dtype=array.dtype))
    fields = values.fields if array.shape[1:] == values.array.shape[1:] else None
    support = transform.support_out(values.support)
    # The range of the training rows need not hold the others; zero stands for missing entries, and is inside.
    if isinstance(transform, Unit) and bool(violations(array, UNIT).any()):
        support = REAL
    return Values(array, observed, None, support, fields)

"""Batched values: what the lowering knows of a value besides its code.

Every value is laid out `[enumeration axes..., particles, data, *event]`; axes on the left that it does not vary
over are absent or of size one. Broadcasting is right-aligned, so only event ranks have to be made equal, and only where
batch
axes stand to the left of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dgmppl.ir.kernel import Number, Op, Value
from dgmppl.ir.types import Dtype, Shape

# Stands among a value's axes where it varies over particles; no site can have this name.
PARTICLES = "(particles)"
# The origin and the unit vectors at which an affine map is evaluated.
POINTS = "(points)"
# The two sides of a critic, which are evaluated together.
SIDES = "(sides)"

# A log-weight that no float can tell from -inf under exp, and whose differences stay finite.
NEVER = -1e30


@dataclass(frozen=True, slots=True)
class Lowered:
    """A kernel value with its layout.

    Attributes:
        value: the code.
        shape: the event's shape.
        batched: it has batch axes.
        dtype: element type.
        axes: the enumerated latents that it varies over, `PARTICLES`, `POINTS` and `SIDES`.
    """

    value: Value
    shape: Shape = ()
    batched: bool = False
    dtype: Dtype = Dtype.REAL
    axes: frozenset[str] = frozenset()

    @property
    def rank(self) -> int:
        """Axes of the event."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements of the event."""
        return math.prod(self.shape)

    @property
    def literal(self) -> float | None:
        """Its number where it is a literal."""
        return float(self.value.value) if isinstance(self.value, Number) else None

    def with_value(self, value: Value, shape: Shape | None = None, dtype: Dtype | None = None) -> Lowered:
        """Another value with the same batch axes."""
        return replace(
            self,
            value=value,
            shape=self.shape if shape is None else shape,
            dtype=self.dtype if dtype is None else dtype,
        )


def number(value: float | int | bool) -> Lowered:
    """A literal."""
    dtype = Dtype.BOOLEAN if isinstance(value, bool) else Dtype.INTEGER if isinstance(value, int) else Dtype.REAL
    return Lowered(Number(value), dtype=dtype)


def as_array(value: Lowered) -> Lowered:
    """A literal as an array, where it is joined with others or returned; anything else as it is."""
    return value if value.literal is None else value.with_value(op("fill", value=value.literal, shape=()))


def op(name: str, *operands: Value, **options: object) -> Op:
    """A primitive applied to values."""
    return Op(name, operands, tuple(options.items()))


def raise_rank(value: Lowered, rank: int) -> Lowered:
    """The value with axes of size one between its batch axes and its event, up to an event rank.

    A value without batch axes needs none: broadcasting adds them.
    """
    missing = rank - value.rank
    if missing <= 0:
        return value
    shape = (1,) * missing + value.shape
    if not value.batched or value.literal is not None:
        return replace(value, shape=shape)
    return replace(value, value=op("expand", value.value, count=missing, rank=value.rank), shape=shape)


def broadcast_shape(shapes: Iterable[Shape]) -> Shape:
    """The common shape of right-aligned events."""
    result: list[int] = []
    for shape in shapes:
        padded = (1,) * (len(result) - len(shape)) + shape
        result = [1] * (len(padded) - len(result)) + result
        result = [b if a == 1 else a for a, b in zip(result, padded, strict=True)]
    return tuple(result)


def combine(name: str, *operands: Lowered, dtype: Dtype | None = None, **options: object) -> Lowered:
    """An elementwise primitive over operands whose events are broadcast against each other."""
    rank = max(operand.rank for operand in operands)
    aligned = [raise_rank(operand, rank) for operand in operands]
    promoted = Dtype.REAL if any(operand.dtype is Dtype.REAL for operand in operands) else operands[0].dtype
    return Lowered(
        op(name, *(operand.value for operand in aligned), **options),
        broadcast_shape(operand.shape for operand in operands),
        any(operand.batched for operand in operands),
        promoted if dtype is None else dtype,
        frozenset().union(*(operand.axes for operand in operands)),
    )


def total(parts: list[Lowered]) -> Lowered:
    """The sum of scalar (event-free) values, in order; subtracted where a part is a negation."""
    if not parts:
        return number(0.0)
    result = parts[0]
    for part in parts[1:]:
        inner = part.value
        if isinstance(inner, Op) and inner.name == "neg":
            result = combine("sub", result, part.with_value(inner.operands[0]))
        else:
            result = combine("add", result, part)
    return result


def negative(value: Lowered) -> Lowered:
    """-value, without piling up signs."""
    inner = value.value
    if isinstance(inner, Op) and inner.name == "neg":
        return value.with_value(inner.operands[0])
    if isinstance(inner, Op) and inner.name == "sub":
        return value.with_value(replace(inner, operands=(inner.operands[1], inner.operands[0])))
    if isinstance(inner, Number):
        return value.with_value(Number(-inner.value))
    return value.with_value(op("neg", inner))


def reduce_event(value: Lowered, function: str) -> Lowered:
    """A reduction over the whole event."""
    if not value.rank:
        return value
    axes = tuple(range(-value.rank, 0))
    return value.with_value(op("reduce", value.value, function=function, axes=axes), ())


def flat(value: Lowered) -> Lowered:
    """The event flattened to one axis."""
    if value.rank == 1:
        return value
    if value.literal is not None:
        # A number in the text has no axes to be indexed by.
        return Lowered(op("fill", value=value.literal, shape=(1,)), (1,))
    if not value.rank:
        return value.with_value(op("expand", value.value, count=1, rank=0), (1,))
    return value.with_value(op("reshape", value.value, rank=value.rank, shape=(value.size,)), (value.size,))


def reshaped(value: Lowered, shape: Shape) -> Lowered:
    """The event in another shape with as many elements."""
    if value.shape == shape:
        return value
    return value.with_value(op("reshape", value.value, rank=value.rank, shape=shape), shape)

"""Time in a kernel: what `z[t-1]`, `h[t]`, `t` and a plain name mean where a chain's general step is lowered.

- `Parallel`: all steps at once. Time is one more batch axis, right of the data axis, and a lag is a slice. What a chain
  given all its values needs (its log-density, steps that do not read themselves) is straight-line code this way.
- `Moment`: one step at a known position, for the first steps, whose densities are their own.
- `Looped`: one step in the body of a loop; lags are carried, what is known beforehand comes in step by step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from dgmppl.ir.chains import lag_of
from dgmppl.ir.expressions import Expression, Literal
from dgmppl.ir.kernel import Number, Op, Value, Var
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.layout import Lowered, op
from dgmppl.lowering.scope import Frame, Scope


@dataclass(slots=True)
class Clock(ABC):
    """How positions in time are read.

    Attributes:
        index: the name of the chain's index.
        outside: the place where the chain's whole values are known; what is computed once is computed there.
        length: T, the chain's length.
    """

    index: str
    outside: Frame
    length: int

    @abstractmethod
    def position(self, scope: Scope) -> Lowered:
        """The value of the index itself."""

    @abstractmethod
    def at(self, scope: Scope, whole: Lowered, lag: int) -> Lowered:
        """The step `lag` before the present one of a value that is known as a whole, [.., T, *event]."""

    def lag(self, item: Expression) -> int | None:
        """How far back an index of a chain's value reads; None where it does not count from the present step."""
        return lag_of(item, self.index)

    def known(self, name: str, lag: int) -> Lowered | None:
        """A value of the chain that is not known as a whole: a carried lag, the present step's draw, a state."""
        del name, lag
        return None

    def ambient(self, scope: Scope, value: Lowered) -> Lowered:
        """A value that does not vary over time, next to values that do."""
        del scope
        return value

    def random(self, scope: Scope, name: str, kind: str, shape: Shape, plate: str | None) -> Lowered:
        """One step's random numbers, of an entry that holds those of every step."""
        if kind != "library":
            return self.at(scope, scope.noise_entry(name, kind, (self.length, *shape), plate), 0)
        return self.keys(scope, name, plate)

    def keys(self, scope: Scope, name: str, plate: str | None) -> Lowered:
        """One step's source of random numbers for the library's own sampler."""
        source = scope.noise_entry(name, "library", (), plate)
        with scope.within(self.outside):
            steps = scope.assign(f"{name}_keys", source.with_value(op("steps", source.value, count=self.length)))
        return self.at(scope, steps.with_value(steps.value, (self.length,)), 0)


@dataclass(slots=True)
class Parallel(Clock):
    """Positions `start` to T at once, on a batch axis.

    Attributes:
        start: the first position.
        bound: values of the chain that stand for a (name, lag) instead of its slices: enumerated states, basis vectors.
    """

    start: int = 0
    bound: Mapping[tuple[str, int], Lowered] = field(default_factory=dict)

    def position(self, scope: Scope) -> Lowered:
        """start..T-1 on the time axis."""
        del scope
        steps = Lowered(op("arange", size=self.length, trailing=0), (self.length,), True, Dtype.INTEGER)
        return self._slice(steps, 0)

    def known(self, name: str, lag: int) -> Lowered | None:
        """A value that stands for a step of the chain."""
        return self.bound.get((name, lag))

    def at(self, scope: Scope, whole: Lowered, lag: int) -> Lowered:
        """A slice along time, whose axis then counts as a batch axis."""
        del scope
        return self._slice(whole, lag)

    def _slice(self, whole: Lowered, lag: int) -> Lowered:
        first, last = self.start - lag, self.length - lag
        value: Value = whole.value
        if (first, last) != (0, whole.shape[0]):
            items = ((first or None, None if last == whole.shape[0] else last), *[(None, None)] * (whole.rank - 1))
            value = op("index", value, items=items, rank=whole.rank)
        return Lowered(value, whole.shape[1:], True, whole.dtype, whole.axes)

    def ambient(self, scope: Scope, value: Lowered) -> Lowered:
        """The value with a time axis of size one; what has no batch axes is broadcast as it is."""
        del scope
        if not value.batched or value.literal is not None:
            return value
        return value.with_value(op("expand", value.value, count=1, rank=value.rank))


@dataclass(slots=True)
class Moment(Clock):
    """One known position.

    Attributes:
        now: the position.
        steps: values so far of the chains that are being drawn or computed, by name.
        bound: values of the chain that stand for a (name, lag), as in `Parallel`.
    """

    now: int = 0
    steps: Mapping[str, list[Lowered | None]] = field(default_factory=dict)
    bound: Mapping[tuple[str, int], Lowered] = field(default_factory=dict)

    def lag(self, item: Expression) -> int | None:
        """A lag, or how far back a position that is written as a number lies."""
        match item:
            case Literal(value=int() as position) if 0 <= position <= self.now:
                return self.now - position
        return lag_of(item, self.index)

    def position(self, scope: Scope) -> Lowered:
        """The position as a literal."""
        del scope
        return Lowered(Number(self.now), dtype=Dtype.INTEGER)

    def known(self, name: str, lag: int) -> Lowered | None:
        """A step that has been drawn or computed before."""
        steps, place = self.steps.get(name), self.now - lag
        return steps[place] if steps is not None and 0 <= place < len(steps) else self.bound.get((name, lag))

    def at(self, scope: Scope, whole: Lowered, lag: int) -> Lowered:
        """One position of a value known as a whole."""
        del scope
        items = (self.now - lag, *[(None, None)] * (whole.rank - 1))
        return whole.with_value(op("index", whole.value, items=items, rank=whole.rank), whole.shape[1:])


@dataclass(slots=True)
class Looped(Clock):
    """The body of a loop over positions `start` to T.

    Attributes:
        start: the first position.
        variable: the local variable of the position.
        carried: (name, lag) -> its variable in the body.
        inputs: what comes in step by step: (variable in the body, stacked value, event rank of one step).
    """

    start: int = 0
    variable: str = "t"
    carried: dict[tuple[str, int], Lowered] = field(default_factory=dict)
    inputs: list[tuple[str, Value, int]] = field(default_factory=list)

    def position(self, scope: Scope) -> Lowered:
        """One of the positions, which are an input of the loop: in a library's loop too they are arrays."""
        steps = Lowered(op("arange", size=self.length, trailing=0), (self.length,), False, Dtype.INTEGER)
        return self.at(scope, steps, 0)

    def known(self, name: str, lag: int) -> Lowered | None:
        """A carried lag, or what this step has drawn or computed before."""
        return self.carried.get((name, lag))

    def at(self, scope: Scope, whole: Lowered, lag: int) -> Lowered:
        """One step of a value known as a whole: an input of the loop."""
        stacked = Parallel(self.index, self.outside, self.length, self.start).at(scope, whole, lag)
        rank = whole.rank - 1
        for local, value, _ in self.inputs:
            if value == stacked.value:
                return whole.with_value(Var(local), whole.shape[1:])
        local = scope.fresh(_wish(whole.value, lag))
        self.inputs.append((local, stacked.value, rank))
        return whole.with_value(Var(local), whole.shape[1:])


def in_time(alone: list[Lowered], rest: Lowered | None, count: int) -> Lowered:
    """Values at single positions and, behind them, those at `count` others: one after the other on the time axis."""
    if not alone:
        assert rest is not None
        return rest
    shape = alone[0].shape
    values = [op("expand", value.value, count=1, rank=len(shape)) for value in alone]
    if rest is not None:
        values.append(op("broadcast", rest.value, shape=(count, *shape)))
    axes = frozenset().union(*(value.axes for value in (*alone, *([] if rest is None else [rest]))))
    return Lowered(op("concat_broadcast", *values, axis=-len(shape) - 1), shape, True, alone[0].dtype, axes)


def _wish(value: Value, lag: int) -> str:
    """What the step of a stacked value is called in a loop's body."""
    match value:
        case Var(name=name):
            return f"{name}_{lag}_before" if lag else f"{name}_now"
        case Op(name="arange"):
            return "time"
        case _:
            return "noise_now"

"""Why a loss is not finite: the step is replayed, its loss taken apart, and the factor that went wrong named.

The replay has the step's own rows, random numbers and parameters. It is compiled when it is needed, so that a run that
stays finite pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.api.inputs import row_wise
from dgmppl.backend import Executable, Trainer
from dgmppl.compiler import Compilation
from dgmppl.errors import DgmpplError
from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.kernel import Function
from dgmppl.lowering.factors import (
    ASSERTION,
    CARRIED,
    CHAIN,
    EXPLODED,
    Factor,
    factors_of,
    mapped,
    probe,
    single_loss,
    stateless,
    variables,
)
from dgmppl.source import Span, excerpt

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]

_SHOWN = 3
_FIX = "fix: a smaller learning rate, `train: {clip_norm: 1.0}`, or a floor under a learned scale"


@dataclass(frozen=True)
class Diagnosis:
    """Says what went wrong in a step of training.

    Attributes:
        compiled: the program.
        data: the arrays that it is trained on.
        numbers: the number of each row in its source.
    """

    compiled: Compilation
    data: Mapping[str, Array]
    numbers: Array

    def __call__(self, trainer: Trainer, rows: NDArray[np.int64]) -> str:
        """What is not finite in the trainer's next step on these rows: site, line, and ranges of its parents."""
        try:
            replays = [self._replay(trainer, rows, player) for player in self._moving(trainer.step)]
            said = next(
                (lines for one in replays if (lines := one.values_not_finite() or one.gradients_not_finite())), []
            )
        except DgmpplError as error:
            said = [f"the step cannot be replayed: {error}"]
        return "\n".join(f"  {line}" for line in [*(said or ["the replay of the step is finite"]), _FIX])

    def _moving(self, step: int) -> Iterator[str]:
        return (name for name, _, every in self.compiled.module.players if (step + 1) % every == 0)

    def _replay(self, trainer: Trainer, rows: NDArray[np.int64], player: str) -> Replay:
        module = self.compiled.module
        whole = module.function(f"loss_{player}")
        assert whole is not None
        loss, carried = stateless(whole)
        factors = factors_of(loss)
        singles = [single_loss(loss, factor, str(number)) for number, factor in enumerate(factors)]
        parts = replace(module, functions=(probe(loss, factors, trainer.step), *singles), players=())
        executable = self.compiled.library.load(self.compiled.library.emit(parts), parts)
        program = self.compiled.program
        batch = {name: array[rows] if row_wise(program, name) else array for name, array in self.data.items()}
        if carried:
            state = trainer.state()
            batch |= {column: state[f"state/{entry}"] for entry, column in carried.items()}
        noise, values = trainer.noise(player, len(rows)), trainer.parameters(averaged=False)
        numbers = self.numbers[rows % len(self.numbers)]
        return Replay(self.compiled, executable, loss, factors, values, batch, noise, numbers)


@dataclass(frozen=True)
class Replay:
    """One player's loss, taken apart on the numbers of a step.

    Attributes:
        compiled: the program.
        executable: of the parts.
        loss: the whole.
        factors: its parts.
        values: parameters, constrained.
        batch: the step's rows.
        noise: the step's random numbers.
        numbers: of the rows in their source.
    """

    compiled: Compilation
    executable: Executable
    loss: Function
    factors: tuple[Factor, ...]
    values: Arrays
    batch: Arrays
    noise: Arrays
    numbers: Array

    def values_not_finite(self) -> list[str]:
        """The factors whose values are not finite, in the order of their evaluation; empty if all are finite."""
        found = self._parts()
        bad = [number for number in range(len(self.factors)) if not np.isfinite(found[str(number)]).all()]
        lines = [line for number in bad[:_SHOWN] for line in self._said(number, found)]
        first = next((name for name in variables(self.loss) if not np.isfinite(found[f"={name}"]).all()), None)
        if not bad or first is None:
            return lines
        return [f"the first variable that is not finite is {first}", *self._unsolved(first, found), *lines]

    def gradients_not_finite(self) -> list[str]:
        """The factors whose gradients are not finite; empty if all are."""
        lines: list[str] = []
        found = self._parts()
        for number in range(len(self.factors)):
            _, gradient, _ = self.executable.loss(str(number), self.values, self.batch, noise=self.noise, gradient=True)
            broken = [name for name, slope in gradient.items() if not np.isfinite(slope).all()]
            if broken:
                what = f"the gradient of the {self.factors[number].what} with respect to {', '.join(broken[:_SHOWN])}"
                lines += self._said(number, found, f"{what} is not finite")
        return lines

    def _unsolved(self, variable: str, found: Arrays) -> Iterator[str]:
        """The differential equations behind a variable; one that misses its tolerance is NaN as a whole."""
        bijector = self.compiled.program.bijectors.get(mapped(self.loss).get(variable, ""))
        if bijector is None or not np.isnan(found[f"={variable}"]).all():
            return
        for step in bijector.walk():
            if BIJECTORS[step.kind].continuous:
                options = ", ".join(f"{name}={value}" for name, value in step.options.items() if value is not None)
                yield f"{_place(step.span)}{step.path}: the differential equation was not solved as {options}"
                yield from () if step.span is None else excerpt(step.span)
                yield "  fix: a larger rtol and atol, `precision: float64`, or a field that changes more slowly"

    def _parts(self) -> Arrays:
        """Every value: of the factors, of what they were computed from, of what was drawn."""
        return self.executable.call(
            "factors", self.values, self.batch, noise=self.noise, rows=len(self.numbers),
            particles=self.loss.particles or 1,
        )  # fmt: skip

    def _said(self, number: int, found: Arrays, said: str = "") -> list[str]:
        """A factor: its place, its name, what is wrong with it, and the ranges of what it depends on."""
        factor, program = self.factors[number], self.compiled.program
        names = [site.name for site in (*program.sites, *program.guide) if _within(factor.span, site.span)]
        said = said or self._value(factor, found[str(number)])
        head = f"{_place(factor.span)}{names[0] if names else program.name}: {said}"
        ranges = {name: found[f"{number}.{name}"] for name, _ in factor.parts if f"{number}.{name}" in found}
        ranges |= {name: found[f"={name}"] for name in factor.draws}
        ranges |= {_column(name): self.batch[name] for name in factor.columns}
        ranges |= {f"{group} (parameters)": self._group(group) for group in factor.groups}
        marked = excerpt(factor.span) if factor.span is not None else []
        return [head, *marked, *(f"  {name}: {extremes(value)}" for name, value in ranges.items())]

    def _group(self, name: str) -> Array:
        """Every number of a parameter group."""
        arrays = [self.values[spec.name] for spec in self.compiled.module.parameters if spec.group == name]
        return np.concatenate([np.ravel(array) for array in arrays])

    def _value(self, factor: Factor, value: Array) -> str:
        """That a factor's value is not finite, and in which rows of the data."""
        if factor.what.startswith(ASSERTION):
            return f"the {factor.what} does not hold"
        if factor.what == CHAIN:
            return EXPLODED
        said = f"the {factor.what} is not finite"
        if not factor.per_row or value.ndim == 0 or value.shape[-1] != len(self.numbers):
            return said
        bad = np.flatnonzero(~np.isfinite(value).all(axis=tuple(range(value.ndim - 1))))
        return f"{said} in {len(bad)} of {len(self.numbers)} rows, first in row {self.numbers[bad[0]] + 1} of the data"


def _column(name: str) -> str:
    """A column as it is shown; what training carries from step to step is none of the data."""
    return f"{name.removesuffix(CARRIED)} (carried)" if name.endswith(CARRIED) else f"{name} (data)"


def _place(span: Span | None) -> str:
    return "" if span is None else f"{span}: "


def _within(span: Span | None, site: Span | None) -> bool:
    """Whether a place lies on the lines of a site's declaration."""
    return (
        span is not None and site is not None and span.source == site.source and site.line <= span.line <= site.end_line
    )


def extremes(value: Array) -> str:
    """The range of an array's finite numbers, and how many are not finite."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or not array.size:
        return f"{array.dtype} {list(array.shape)}"
    finite = array[np.isfinite(array)].astype(np.float64)
    odd = array.size - finite.size
    said = f"{finite.min():.6g} .. {finite.max():.6g}" if finite.size else "no finite number"
    return f"{said}, {odd} of {array.size} not finite" if odd else said

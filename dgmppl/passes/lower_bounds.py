"""The shape of a density from its own parameters: what a site has where nothing else determines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgmppl.ir.densities import (
    Density,
    Deterministic,
    Elementary,
    Factorized,
    FlatPrior,
    GaussianProcess,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Point,
    Pushforward,
    Restricted,
    Unnormalized,
)
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Apply, Expression, Literal
from dgmppl.ir.types import Shape
from dgmppl.passes.shapes import ShapeError, broadcast

if TYPE_CHECKING:
    from dgmppl.passes.solve import Solution


class LowerBounds:
    """Shapes upward from parameters; None where a parameter's shape is unknown."""

    def __init__(self, solution: Solution) -> None:
        self.solution = solution

    def shape(self, density: Density, hint: Shape | None) -> Shape | None:
        """A density's event shape: `shape=`, or what its parameters broadcast to, then the distribution's own event."""
        try:
            return self._shape(density, hint)
        except ShapeError:
            return hint

    def _shape(self, density: Density, hint: Shape | None) -> Shape | None:
        match density:
            case Elementary():
                return self._elementary(density, hint)
            case Restricted(base=base) | Factorized(conditional=base):
                return self.shape(base, hint)
            case MixtureOf():
                return self._mixture(density, hint)
            case FlatPrior(support=support, low=low, high=high):
                event = () if support.size is None or support.kind != "simplex" else (support.size,)
                return (*(self._common([low, high]) or () if hint is None else hint), *event)
            case Deterministic(expression=expression) | Implicit(function=expression) | Point(value=expression):
                return self.solution.upward.shape(expression, None)
            case Pushforward(base=name):
                return self.solution.shapes.get(name)
            case Unnormalized(base=base):
                return hint if hint is not None else None if base is None else self.shape(base, None)
            case GaussianProcess(kernel=kernel):
                gram = self.solution.upward.shape(kernel, None)
                return hint if hint is not None else None if gram is None else gram[:1]
            case Learned(shape=shape):
                return shape
        return hint

    def _common(self, parts: list[Expression | None]) -> Shape | None:
        shapes = [self.solution.upward.shape(part, None) for part in parts if part is not None]
        known = [shape for shape in shapes if shape is not None]
        return broadcast(known) if len(known) == len(shapes) else None

    def _elementary(self, density: Elementary, hint: Shape | None) -> Shape | None:
        family = DISTRIBUTIONS[density.family]
        if density.family == "LKJCholesky":
            return _matrix(density, hint)
        batches: list[Shape] = []
        event: Shape | None = None if family.event_rank else ()
        complete = True
        for name, value in density.parameters:
            rank = family.parameter(name).rank
            shape = self._parameter(value)
            if shape is None or len(shape) < rank:
                complete = False
                continue
            batches.append(shape[: len(shape) - rank])
            if family.event_rank and rank and name != "cov_factor":
                event = shape[-1:]
        if event is None:
            return None
        if hint is not None:
            return (*hint, *event)
        batch = broadcast(batches)
        if not complete and not (self.solution.adopting and batch):
            return None
        return (*batch, *event)

    def _parameter(self, value: Expression) -> Shape | None:
        """A bare network adapts to its site, so that it says nothing about it (unless its own options do)."""
        if isinstance(value, Apply):
            return None
        return self.solution.upward.shape(value, None)

    def _mixture(self, density: MixtureOf, hint: Shape | None) -> Shape | None:
        shapes = [self.shape(part, None) for part in density.components]
        if hint is not None and len(density.components) > 1:
            return hint
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return hint
        if len(known) > 1:
            return broadcast(known)
        first = density.components[0]
        rank = DISTRIBUTIONS[first.family].event_rank if isinstance(first, Elementary) else 0
        shape = known[0]
        batch, event = shape[: len(shape) - rank], shape[len(shape) - rank :]
        if hint is not None:
            return (*hint, *event)
        if not batch:
            return shape
        return (*batch[1:], *event) if density.joint else (*batch[:-1], *event)

    # ---- chains and classes ------------------------------------------------------------------------------------------

    def element(self, density: MarkovChain, hint: Shape | None) -> Shape | None:
        """The shape of one step: of the lines that say it, starts first."""
        starts = [part for _, part in density.initial]
        # `shape=` counts elements: beside lines of elements, a line of vectors does not repeat its event.
        mixed = len({_rank(part) for part in (*starts, density.transition)}) > 1
        shapes = [shape for part in starts if (shape := self.shape(part, _own(part, hint, mixed))) is not None]
        outer, self.solution.upward.index = self.solution.upward.index, density.index
        general = self.shape(density.transition, _own(density.transition, hint, mixed))
        self.solution.upward.index = outer
        known = [*shapes, *([] if general is None else [general])]
        try:
            return broadcast(known) if known else None
        except ShapeError:
            return known[0]

    def classes(self, density: Density) -> int | None:
        """K of a categorical density, from the last axis of its parameters."""
        known = self.known_classes(density)
        if known is not None:
            return known
        match density:
            case Elementary(family=family, parameters=parameters) if DISTRIBUTIONS[family].event_rank == 0:
                for name, value in parameters:
                    key = (value.network, value.head) if isinstance(value, Apply) else None
                    shape = self.solution.heads.get(key) if key else None
                    if DISTRIBUTIONS[family].parameter(name).rank == 1 and shape:
                        return shape[-1]
        return None

    def known_classes(self, density: Density) -> int | None:
        """K as given parameters alone say it."""
        match density:
            case Factorized(conditional=part) | MarkovChain(transition=part) | Restricted(base=part):
                starts = density.initial if isinstance(density, MarkovChain) else ()
                outer = self.solution.upward.index
                self.solution.upward.index = density.index if isinstance(density, MarkovChain) else outer
                found = next(
                    (k for inner in (part, *(start for _, start in starts)) if (k := self.known_classes(inner))), None
                )
                self.solution.upward.index = outer
                return found
            case Elementary(family=family, parameters=parameters) if DISTRIBUTIONS[family].event_rank == 0:
                for name, value in parameters:
                    if DISTRIBUTIONS[family].parameter(name).rank == 1 and (shape := self._parameter(value)):
                        return shape[-1]
        return None


def _rank(density: Density) -> int:
    """The axes of one value of a distribution."""
    return DISTRIBUTIONS[density.family].event_rank if isinstance(density, Elementary) else 0


def _own(density: Density, hint: Shape | None, mixed: bool) -> Shape | None:
    return None if mixed and _rank(density) else hint


def _matrix(density: Elementary, hint: Shape | None) -> Shape | None:
    match density.parameter("dim"):
        case Literal(value=int(size)):
            return (*(hint or ()), size, size)
    return None

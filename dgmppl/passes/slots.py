"""Slots: each place in a density where an expression stands, with the shape and the support expected there.

One traversal serves inference twice: solving shapes reads the slots, typing rewrites them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    FlatPrior,
    GaussianProcess,
    Implicit,
    MarkovChain,
    MixtureOf,
    Point,
    Pushforward,
    Restricted,
    Unnormalized,
)
from dgmppl.ir.distributions import DISTRIBUTIONS, Distribution
from dgmppl.ir.expressions import Expression
from dgmppl.ir.types import REAL, Shape, Support


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an expression stands.

    Attributes:
        name: the parameter's name; `out` elsewhere.
        shape: the shape that is expected there (to which the value is broadcast); None where unknown.
        support: the set in which the value must lie.
        exact: the value has that very shape; it is not broadcast.
        index: the chain's index, where the slot stands inside a step.
        own: a bare network's head is named and constrained like the parameter.
    """

    name: str
    shape: Shape | None = None
    support: Support = REAL
    exact: bool = False
    index: str | None = None
    own: bool = True


Visit = Callable[[Expression, Slot], Expression]


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of the site whose density is visited.

    Attributes:
        shape: the event's shape, or None.
        classes: K of a categorical site, or None.
        index: the chain's index, inside a step.
        components: the extra axis of a mixture's components: its size, and whether it stands first.
    """

    shape: Shape | None
    classes: int | None = None
    index: str | None = None
    components: tuple[int, bool] | None = None


def visit_slots(density: Density, frame: Frame, visit: Visit) -> Density:
    """The density with `visit` applied to each slot."""
    match density:
        case Elementary():
            return _elementary(density, frame, visit)
        case Deterministic(expression=expression):
            return replace(
                density, expression=visit(expression, Slot("out", frame.shape, exact=True, index=frame.index))
            )
        case Implicit(function=function):
            return replace(density, function=visit(function, Slot("out", frame.shape, exact=True, index=frame.index)))
        case Factorized(conditional=conditional):
            return replace(density, conditional=visit_slots(conditional, frame, visit))
        case MarkovChain():
            return _chain(density, frame, visit)
        case Restricted(base=base, low=low, high=high):
            bound = Slot("bound", frame.shape, index=frame.index)
            low, high = (None if part is None else visit(part, bound) for part in (low, high))
            return replace(density, base=visit_slots(base, frame, visit), low=low, high=high)
        case MixtureOf():
            return _mixture(density, frame, visit)
        case Pushforward(context=context):
            return replace(density, context=_context(context, frame, visit))
        case DiffusionChain(context=context):
            return replace(density, context=_context(context, frame, visit))
        case Unnormalized(energy=energy, base=tilted):
            inner = None if tilted is None else visit_slots(tilted, frame, visit)
            return replace(density, energy=visit(energy, Slot("out", (), exact=True)), base=inner)
        case GaussianProcess(kernel=kernel, noise=noise):
            square = None if frame.shape is None else (*frame.shape, *frame.shape)
            gram, diagonal = (
                visit(kernel, Slot("kernel", square)),
                visit(noise, Slot("noise", frame.shape, Support("nonnegative"))),
            )
            return replace(density, kernel=gram, noise=diagonal)
        case FlatPrior(low=low, high=high):
            low, high = (None if part is None else visit(part, Slot("bound", frame.shape)) for part in (low, high))
            return replace(density, low=low, high=high)
        case Point(value=value):
            return replace(density, value=visit(value, Slot("value", frame.shape, index=frame.index)))
    return density


def _context(context: tuple[Expression, ...], frame: Frame, visit: Visit) -> tuple[Expression, ...]:
    return tuple(visit(part, Slot("context", None, index=frame.index, own=False)) for part in context)


def _elementary(density: Elementary, frame: Frame, visit: Visit) -> Elementary:
    family = DISTRIBUTIONS[density.family]
    values = []
    for name, value in density.parameters:
        parameter = family.parameter(name)
        slot = Slot(name, parameter_shape(family, name, frame), parameter.support, index=frame.index)
        values.append((name, visit(value, slot)))
    return replace(density, parameters=tuple(values))


def parameter_shape(family: Distribution, name: str, frame: Frame) -> Shape | None:
    """The shape of a parameter, given the site's: the batch axes, then the parameter's own."""
    rank, shape = family.parameter(name).rank, frame.shape
    if shape is None or len(shape) < family.event_rank or name == "cov_factor" or family.name == "LKJCholesky":
        return None
    batch, event = shape[: len(shape) - family.event_rank], shape[len(shape) - family.event_rank :]
    if rank == 0:
        own: Shape | None = ()
    elif family.event_rank:
        own = (event[-1],) * rank
    else:
        own = None if frame.classes is None else (frame.classes,)
    if own is None:
        return None
    whole = (*batch, *own)
    if frame.components is None:
        return whole
    count, first = frame.components
    return (count, *whole) if first else (*batch, count, *own)


def _mixture(density: MixtureOf, frame: Frame, visit: Visit) -> MixtureOf:
    count = density.count
    inner = (
        frame if len(density.components) > 1 else replace(frame, components=(count, density.joint) if count else None)
    )
    if len(density.components) == 1 and not count:
        inner = replace(inner, shape=None)
    weights = visit_slots(density.weights, _mixing_frame(density, frame), visit)
    assert isinstance(weights, Elementary)
    parts = tuple(visit_slots(part, inner, visit) for part in density.components)
    return replace(density, components=parts, weights=weights)


def _mixing_frame(density: MixtureOf, frame: Frame) -> Frame:
    """Weights stand per element, [.., K]; with `joint`, or where components have events of their own, one per event."""
    classes = density.count or None
    if frame.shape is None:
        return Frame(None, classes, frame.index)
    return Frame(mixture_batch(density, frame.shape), classes, frame.index)


def counted(density: Density) -> Density:
    """The density with the number of components of every mixture in it, which its weights' own shape may decide."""
    match density:
        case MixtureOf(count=0):
            weights = density.weights.parameters[0][1].type
            return replace(density, count=weights.shape[-1] if weights is not None and weights.shape else 1)
        case MarkovChain(initial=initial, transition=transition):
            starts = tuple((position, counted(part)) for position, part in initial)
            return replace(density, initial=starts, transition=counted(transition))
        case Factorized(conditional=conditional):
            return replace(density, conditional=counted(conditional))
    return density


def mixture_batch(density: MixtureOf, shape: Shape) -> Shape:
    """The axes over which components are chosen independently."""
    if density.joint:
        return ()
    first = density.components[0]
    rank = DISTRIBUTIONS[first.family].event_rank if isinstance(first, Elementary) else 0
    return shape[: len(shape) - rank]


def _chain(density: MarkovChain, frame: Frame, visit: Visit) -> MarkovChain:
    element = None if frame.shape is None else frame.shape[1:]
    start = replace(frame, shape=element)
    initial = tuple((position, visit_slots(part, start, visit)) for position, part in density.initial)
    transition = visit_slots(density.transition, replace(start, index=density.index), visit)
    return replace(density, initial=initial, transition=transition)

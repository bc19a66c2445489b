"""Factorizations over an event's elements: log p(x) = sum_i log p(x_i | x_<i).

A causal network's i-th output reads x_<i alone, so scoring is one pass of the network (Germain et al. 2015) and
the conditional's log-density at all elements. Drawing visits the elements in the network's order and never computes the
prefix again: the network keeps what it needs in a cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dgmppl.ir.densities import Factorized
from dgmppl.ir.expressions import Apply
from dgmppl.ir.kernel import Assign, NetworkStart, NetworkStep, NoiseEntry, Number, Scan, Value, Var
from dgmppl.ir.networks import Network
from dgmppl.ir.networks.causal import visiting_order
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.clocks import Looped
from dgmppl.lowering.densities.forms import Variable, draw_from, log_density
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import PARTICLES, Lowered, op, reshaped
from dgmppl.lowering.scope import Frame, Scope


@log_density.register
def _log_density(
    density: Factorized, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """All conditionals in one pass of the causal network."""
    return log_density(density.conditional, scope, variable, value, stop=stop)


@draw_from.register
def _draw(density: Factorized, scope: Scope, variable: Variable) -> Lowered:
    """Elements in the network's order, one loop; what is given of the event takes the place of what would be drawn."""
    network = scope.program.networks[density.network]
    local = scope.fresh("i")
    order = visiting_order(network)
    clock = Elements(local, scope.frame, variable.kind.size, 0, local, event=variable.kind.shape, order=order)
    element = _Element(network, clock, scope.fresh(f"{network.name}_cache"), scope.fresh(f"{variable.name}_previous"))
    body = Frame(clock=clock, element=element)
    with scope.within(body):
        drawn = draw_from(density.conditional, scope, variable.shaped(()))
        now = scope.assign(f"{variable.name}_now", _given(scope, clock, variable, drawn))
    start = NetworkStart(scope.use_group(network.name), element.context, *clock.batch)
    first = op("fill", value=0.0, shape=())
    target = scope.fresh(variable.name)
    scope.statements.append(
        Scan(
            scope.fresh(f"element_of_{variable.name}"),
            (target,),
            local,
            0,
            variable.kind.size,
            ((element.cache, start), (element.previous, first)),
            tuple(clock.inputs),
            tuple(body.statements),
            (Var(element.after), now.value),
            ((now.value, 0),),
        )
    )
    flat = replace(now, value=Var(target), shape=(variable.kind.size,))
    return reshaped(permuted(flat, None if order is None else inverse(order)), variable.kind.shape)


def _given(scope: Scope, clock: Elements, variable: Variable, drawn: Lowered) -> Lowered:
    """The element that is given instead of the draw, where the function completes what is known of the event."""
    if variable.name not in scope.completed:
        return drawn
    mask = replace(variable.kind, dtype=Dtype.BOOLEAN)
    known = clock.ambient(scope, scope.column(f"{variable.name}.given", mask))
    held = clock.ambient(scope, scope.column(variable.name, variable.kind))
    return drawn.with_value(op("call", known.value, held.value, drawn.value, function="where"))


def permuted(value: Lowered, order: tuple[int, ...] | None) -> Lowered:
    """The elements of the first event axis in another order."""
    if order is None:
        return value
    return value.with_value(op("permute", value.value, order=order, axis=-value.rank))


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes an order."""
    return tuple(int(place) for place in np.argsort(order))


@dataclass(slots=True)
class Elements(Looped):
    """The elements of an event, one by one in an order; whatever is shaped like the event comes in element by element.

    Attributes:
        event: its shape.
        order: the raster index of the element visited k-th; None for raster order.
        batch: an entry of noise and its event rank, which show the batch axes.
    """

    event: Shape = ()
    order: tuple[int, ...] | None = None
    batch: tuple[Value, int] = (Number(0), 0)

    def ambient(self, scope: Scope, value: Lowered) -> Lowered:
        """An element of a value that has the event's axes; any other value as it is."""
        if value.shape[: len(self.event)] != self.event or value.literal is not None:
            return value
        flat = reshaped(value, (self.length, *value.shape[len(self.event) :]))
        return self.at(scope, permuted(flat, self.order), 0)

    def random(self, scope: Scope, name: str, kind: str, shape: Shape, plate: str | None) -> Lowered:
        """One element's random numbers; the entry is shaped like the event."""
        if kind == "library":
            now = self.keys(scope, name, plate)
            self.batch = (NoiseEntry(name), 0)
            return now
        noise = scope.noise_entry(name, kind, (*self.event, *shape), plate)
        self.batch = (noise.value, noise.rank)
        return self.ambient(scope, noise)


@dataclass(slots=True)
class _Element:
    """What a causal network gives for the element at hand: one step of its cache.

    Attributes:
        network: the network.
        clock: the loop.
        cache, previous: what the loop carries.
        after: the cache after the step.
        context: the network's other inputs, known before the loop.
        outputs: the heads of this element.
    """

    network: Network
    clock: Elements
    cache: str
    previous: str
    after: str = ""
    context: tuple[Value, ...] = ()
    outputs: tuple[Lowered, ...] = ()

    def __call__(self, scope: Scope, expression: Apply) -> tuple[Lowered, ...]:
        """The heads for the present element; all calls of the network in one conditional are one step."""
        if self.outputs:
            return self.outputs
        with scope.within(self.clock.outside):
            context = [as_real(lower_expression(scope, part)) for part in expression.inputs[1:]]
        self.context = tuple(part.value for part in context)
        self.after = scope.fresh(f"{self.network.name}_cache")
        step = NetworkStep(
            scope.use_group(self.network.name), Var(self.cache), Var(self.clock.variable), Var(self.previous)
        )
        heads = [scope.fresh(f"{self.network.name}_{head.name}") for head in self.network.heads]
        scope.statements.append(Assign((self.after, *heads), step))
        axes = frozenset().union(*(part.axes for part in context), *([{PARTICLES}] if scope.particles else []))
        axis = len(self.clock.event)
        self.outputs = tuple(
            Lowered(Var(name), head.shape[axis:], True, Dtype.REAL, axes)
            for name, head in zip(heads, self.network.heads, strict=True)
        )
        return self.outputs

"""Discrete chains that are summed by recursion: their start, move and emission tables, states on the last axes.

The chains' steps are bound to all states, so that any way of writing a transition or an emission gives its table; the
recursions over them are the runtimes' (Rabiner 1989, eqs. 19-21; Viterbi 1967). A state is all that the next step and
the readings of the present one depend on: the last steps of a chain that is read further back than one, and every chain
of those that are read together. Moves that do not shift what is remembered have probability 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dgmppl.ir.chains import depths, first_general
from dgmppl.ir.densities import MarkovChain
from dgmppl.ir.kernel import Value
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.clocks import Clock, Moment, Parallel, in_time
from dgmppl.lowering.densities.chains import clocked, step_density
from dgmppl.lowering.densities.forms import Variable, log_densities, log_density, sum_of_present
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import NEVER, Lowered, combine, number, op, reshaped, total
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import LogDensity, LogSum, Sum

# Stands among a value's axes where it varies over the step before.
BEFORE = "(before)"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a state holds: the elements of the last steps of each chain, its last step first.

    Attributes:
        chains: the chains that are summed together, in generative order.
        sizes: how many values each element takes.
        places: (chain, lag) -> the elements from which to which.
        length: T.
        start: the first position at which every chain's general step holds.
    """

    chains: tuple[Site, ...]
    sizes: tuple[int, ...]
    places: Mapping[tuple[str, int], tuple[int, int]]
    length: int
    start: int

    @property
    def states(self) -> int:
        """How many states there are."""
        return math.prod(self.sizes)

    @property
    def kept(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Elements of a state that the state before it has too: where they stand in the later, and in the earlier."""
        pairs = [
            (place, self.places[name, lag - 1][0] + place - start)
            for (name, lag), (start, stop) in self.places.items()
            if lag
            for place in range(start, stop)
        ]
        return tuple(later for later, _ in pairs), tuple(earlier for _, earlier in pairs)


@dataclass(frozen=True, slots=True)
class States:
    """All states on a left axis: all their elements [n], and the steps that they are made of."""

    elements: Lowered
    steps: Mapping[tuple[str, int], Lowered]


@dataclass(frozen=True, slots=True)
class _Place:
    """A function under construction, and the states that are bound in it."""

    scope: Scope
    memory: Memory
    made: dict[tuple[str, int], States] = field(default_factory=dict)

    def states(self, name: str, more: int) -> States:
        """Every state on a new left axis, `more` axes further left than the next enumeration axis."""
        if (name, more) not in self.made:
            self.made[name, more] = _states(self.scope, self.memory, name, more)
        return self.made[name, more]

    def clock(
        self, chain: MarkovChain, bound: Mapping[tuple[str, int], Lowered], position: int | None, start: int
    ) -> Clock:
        """One position, or (None) all from `start` on, where the chains' steps are those of the states."""
        frame, length = self.scope.frame, self.memory.length
        if position is None:
            return Parallel(chain.index, frame, length, start, bound)
        return Moment(chain.index, frame, length, position, bound=bound)


@dataclass(frozen=True, slots=True)
class HiddenMarkov:
    """The tables of chains with S states over T steps, in nats.

    Attributes:
        memory: what a state is.
        start: log p(z_0), [.., S].
        move: log p(z_t | z_{t-1}), [.., T-1 or 1, S, S], from the row's state to the column's.
        emit: log p(x_t | z_t), [.., T, S].
    """

    memory: Memory
    start: Lowered
    move: Lowered
    emit: Lowered

    @property
    def operands(self) -> tuple[Value, Value, Value]:
        """The tables as a recursion takes them."""
        return self.start.value, self.move.value, self.emit.value

    @property
    def axes(self) -> frozenset[str]:
        """What the result of a recursion varies over."""
        return self.start.axes | self.move.axes | self.emit.axes


def log_forward(scope: Scope, term: LogSum) -> Lowered:
    """log p of everything that reads the chains, the chains summed out."""
    tables = hidden_markov(scope, term)
    return scope.assign("log_p", Lowered(op("log_forward", *tables.operands), (), True, axes=tables.axes))


def hidden_markov(scope: Scope, term: LogSum) -> HiddenMarkov:
    """The tables of chains that are summed by the forward algorithm.

    Raises:
        UnsupportedError: the chains have different lengths, or a series with missing entries reads its own past.
    """
    parts = term.body.terms if isinstance(term.body, Sum) else (term.body,)
    readers = [part.site for part in parts if isinstance(part, LogDensity) and part.site not in term.names]
    memory = _memory(scope.program, term.names, readers)
    name, states = memory.chains[0].name, memory.states
    place = _Place(scope, memory)
    first, move = _start(place), _moves(place)
    emissions = [_emission(place, scope.program.by_name[reader]) for reader in readers]
    emit = emissions[0]
    for other in emissions[1:]:
        emit = combine("add", emit, other)
    shapes = ((states,), (memory.length - 1, states, states), (memory.length, states))
    named = zip(("start", "move", "emit"), (first, move, emit), shapes, strict=True)
    return HiddenMarkov(
        memory, *(scope.assign(f"{name}_{what}", replace(table, shape=at)) for what, table, at in named)
    )


def _memory(program: Program, names: tuple[str, ...], readers: list[str]) -> Memory:
    chains = tuple(program.by_name[name] for name in names)
    remembered = depths(program, names, readers)
    lengths = {program.by_name[name].typed.shape[0] for name in (*names, *readers)}
    if remembered is None or len(lengths) > 1:
        raise unsupported(f"the forward algorithm over {', '.join(map(repr, names))}", chains[0].span)
    sizes: list[int] = []
    places = {}
    for site in chains:
        assert site.typed.support.states is not None
        count = math.prod(site.typed.shape[1:])
        for lag in range(remembered[site.name]):
            places[site.name, lag] = (len(sizes), len(sizes) + count)
            sizes += [site.typed.support.states] * count
    start = max(first_general(site.density) for site in chains if isinstance(site.density, MarkovChain))
    return Memory(chains, tuple(sizes), places, lengths.pop(), start)


def _states(scope: Scope, memory: Memory, name: str, more: int) -> States:
    """Every state on a new left axis, `more` axes further left than the next enumeration axis."""
    trailing, axes = scope.trailing + more, frozenset({name})
    if memory.sizes == (memory.states,) and not memory.chains[0].typed.shape[1:]:
        value = op("arange", size=memory.states, trailing=trailing)
        alone = scope.assign("states", Lowered(value, (), True, Dtype.INTEGER, axes))
        return States(alone, {(memory.chains[0].name, 0): alone})
    value = op("joint_states", sizes=memory.sizes, trailing=trailing)
    elements = scope.assign("states", Lowered(value, (len(memory.sizes),), True, Dtype.INTEGER, axes))
    steps = {}
    for (chain, lag), (start, stop) in memory.places.items():
        shape = scope.program.by_name[chain].typed.shape[1:]
        items = ((start, stop, None),) if shape else (start,)
        part = elements.with_value(op("index", elements.value, items=items, rank=1), (stop - start,) if shape else ())
        steps[chain, lag] = scope.assign(f"{chain}_{lag}_before" if lag else f"{chain}_now", reshaped(part, shape))
    return States(elements, steps)


def _last(value: Lowered, name: str) -> Lowered:
    """The leftmost axis moved to the right."""
    return replace(value, value=op("moveaxis", value.value, source=0, target=-1), axes=value.axes - {name})


# ---- the chains -----------------------------------------------------------------------------------------------------


def _start(place: _Place) -> Lowered:
    """log p(z_0) [.., S]. What is remembered of times before 0 is uniform: it sums to one, and nothing reads it."""
    memory, name = place.memory, place.memory.chains[0].name
    now = place.states(name, 0)
    value = _steps(place, now.steps, now.steps, 0)
    before = math.prod(memory.sizes[element] for element in memory.kept[0])
    if before > 1:
        value = combine("sub", value, number(math.log(before)))
    return _last(value, name)


def _moves(place: _Place) -> Lowered:
    """log p(z_t | z_{t-1}) [.., T-1 or 1, S, S]: of the positions with steps of their own one by one, then of all."""
    memory = place.memory
    alone = [_move(place, position) for position in range(1, min(memory.start, memory.length))]
    rest = _move(place, None) if memory.start < memory.length else None
    return in_time(alone, rest, memory.length - memory.start)


def _move(place: _Place, position: int | None) -> Lowered:
    """Moves to one position [.., S, S], or to all from `start` on [.., T - start or 1, S, S]."""
    memory, name, more = place.memory, place.memory.chains[0].name, 1 if position is None else 0
    now, before = place.states(name, more), place.states(BEFORE, more + 1)
    bound = {(chain, lag + 1): value for (chain, lag), value in before.steps.items()}
    bound |= {(site.name, 0): now.steps[site.name, 0] for site in memory.chains}
    value = _steps(place, now.steps, bound, position)
    later, earlier = memory.kept
    if later:
        pairs = [
            states.elements.with_value(op("permute", states.elements.value, order=order, axis=-1), (len(order),))
            for states, order in ((now, later), (before, earlier))
        ]
        apart = combine("ne", *pairs, dtype=Dtype.BOOLEAN)
        count = op("reduce", op("cast", apart.value, dtype="real"), function="sum", axes=(-1,))
        shifted = combine("eq", apart.with_value(count, (), Dtype.REAL), number(0.0), dtype=Dtype.BOOLEAN)
        value = combine("call", shifted, value, number(NEVER), function="where", dtype=Dtype.REAL)
    return replace(_last(_last(value, BEFORE), name), shape=(memory.states, memory.states))


def _steps(
    place: _Place,
    now: Mapping[tuple[str, int], Lowered],
    bound: Mapping[tuple[str, int], Lowered],
    position: int | None,
) -> Lowered:
    """log p of every chain's present step: at one position, or (None) from the first general one on."""
    parts = []
    for site in place.memory.chains:
        assert isinstance(site.density, MarkovChain)
        density = site.density.transition if position is None else step_density(site, position)
        assert density is not None
        step = Variable.of(site).shaped(site.typed.shape[1:])
        clock = place.clock(site.density, bound, position, place.memory.start)
        with place.scope.within(clocked(place.scope, clock)):
            parts.append(log_density(density, place.scope, step, now[site.name, 0]))
    return total(parts)


# ---- what reads them ------------------------------------------------------------------------------------------------


def _emission(place: _Place, site: Site) -> Lowered:
    """log p(x_t | z_t) for every t and state, [.., T, S]; 0 at first lags of x that are conditioned on."""
    chain = site.density
    assert isinstance(chain, MarkovChain)
    start, memory = first_general(chain), place.memory
    rows = [_reading(place, site, position) for position in range(min(start, memory.length))]
    rest = _reading(place, site, None) if start < memory.length else None
    zeros = Lowered(op("fill", value=0.0, shape=(memory.states,)), (memory.states,))
    return in_time([zeros if row is None else row for row in rows], rest, memory.length - start)


def _reading(place: _Place, site: Site, position: int | None) -> Lowered | None:
    """log p(x_t | z_t) at one position [.., S], or from the first general one on [.., T - start, S]."""
    chain = site.density
    assert isinstance(chain, MarkovChain)
    density = chain.transition if position is None else step_density(site, position)
    if density is None:
        return None
    scope, name = place.scope, place.memory.chains[0].name
    states = place.states(name, 1 if position is None else 0)
    clock = place.clock(chain, states.steps, position, first_general(chain))
    with scope.within(clocked(scope, clock)):
        value = clock.at(scope, lookup_outside(scope, site.name), 0)
        step, column = Variable.of(site).shaped(site.typed.shape[1:]), scope.program.columns.get(site.name)
        if column is None or not column.missing:
            return replace(_last(log_density(density, scope, step, value), name), shape=(place.memory.states,))
        if chain.lag:
            raise unsupported(f"missing entries of {site.name!r}, whose steps read each other,", site.span)
        each = log_densities(density, scope, step, value)
        present = sum_of_present(each, clock.at(scope, scope.mask(site.name), 0))
        return replace(_last(present, name), shape=(place.memory.states,))


def lookup_outside(scope: Scope, name: str) -> Lowered:
    """A chain's whole value, where a clock stands still."""
    assert scope.clock is not None
    with scope.within(scope.clock.outside):
        return lookup(scope, name)


# ---- posteriors -----------------------------------------------------------------------------------------------------


def posteriors(scope: Scope, term: LogSum) -> list[tuple[str, Value]]:
    """p(z_t | x) [.., T, S] of each chain, joint states of a vector in row-major order, and its most probable path."""
    tables = hidden_markov(scope, term)
    memory = tables.memory
    probabilities, path = op("smooth", *tables.operands), op("viterbi", *tables.operands)
    if len(memory.sizes) == 1 and not memory.chains[0].typed.shape[1:]:
        return [(f"{term.names[0]}.probs", probabilities), (f"{term.names[0]}.path", path)]
    both = scope.assign("probs", Lowered(probabilities, (memory.length, memory.states), True))
    best = scope.assign("path", Lowered(path, (memory.length,), True, Dtype.INTEGER))
    apart = op("reshape", both.value, rank=1, shape=memory.sizes)
    table = op("joint_states", sizes=memory.sizes, trailing=0)
    result: list[tuple[str, Value]] = []
    for site in memory.chains:
        start, stop = memory.places[site.name, 0]
        others = tuple(place - len(memory.sizes) for place in range(len(memory.sizes)) if not start <= place < stop)
        alone = op("reduce", apart, function="sum", axes=others) if others else apart
        shape = site.typed.shape[1:]
        if shape and stop - start > 1:
            alone = op("reshape", alone, rank=stop - start, shape=(math.prod(memory.sizes[start:stop]),))
        items = ((start, stop, None),) if shape else (start,)
        steps = op("gather", op("index", table, items=items, rank=1), best.value)
        result += [
            (f"{site.name}.probs", alone),
            (f"{site.name}.path", op("reshape", steps, rank=1, shape=shape) if len(shape) > 1 else steps),
        ]
    return result

"""Discrete chains that are summed by recursion: their start, move and emission tables, states on the last axes.

The chain's steps are bound to all states, so that any way of writing a transition or an emission gives its table; the
recursions over them are the runtimes' (Rabiner 1989, eqs. 19-21; Viterbi 1967).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dgmppl.ir.densities import MarkovChain
from dgmppl.ir.kernel import Value
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.clocks import Moment, Parallel
from dgmppl.lowering.densities.chains import clocked, first_general
from dgmppl.lowering.densities.forms import Variable, log_densities, log_density, sum_of_present
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import Lowered, combine, op
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import LogDensity, LogSum, Sum

# Stands among a value's axes where it varies over the step before.
BEFORE = "(before)"


@dataclass(frozen=True, slots=True)
class HiddenMarkov:
    """The tables of a chain with S states over T steps, in nats.

    Attributes:
        start: log p(z_0), [.., S].
        move: log p(z_t | z_{t-1}), [.., T-1 or 1, S, S], from the row's state to the column's.
        emit: log p(x_t | z_t), [.., T, S].
    """

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
    """log p of everything that reads the chain, the chain summed out."""
    tables = hidden_markov(scope, term)
    return scope.assign("log_p", Lowered(op("log_forward", *tables.operands), (), True, axes=tables.axes))


def hidden_markov(scope: Scope, term: LogSum) -> HiddenMarkov:
    """The tables of a chain that is summed by the forward algorithm.

    Raises:
        UnsupportedError: the chain has a longer memory than one step, or steps of several elements.
    """
    site = scope.program.by_name[term.names[0]]
    chain = site.density
    states = site.typed.support.states
    assert isinstance(chain, MarkovChain)
    if chain.lag != 1 or len(chain.initial) != 1 or site.typed.shape[1:] or states is None:
        raise unsupported(f"the forward algorithm over {site.name!r}, whose state is more than one step,", site.span)
    step, length = Variable.of(site).shaped(()), site.typed.shape[0]
    with scope.within(clocked(scope, Moment(chain.index, scope.frame, length))):
        first = log_density(chain.initial[0][1], scope, step, _states(scope, site.name, states, 0))
    now, before = _states(scope, site.name, states, 1), _states(scope, BEFORE, states, 2)
    bound = {(site.name, 0): now, (site.name, 1): before}
    with scope.within(clocked(scope, Parallel(chain.index, scope.frame, length, 1, bound))):
        move = _last(_last(log_density(chain.transition, scope, step, now), BEFORE), site.name)
    parts = term.body.terms if isinstance(term.body, Sum) else (term.body,)
    names = [part.site for part in parts if isinstance(part, LogDensity) and part.site not in term.names]
    emissions = [_emission(scope, site, now, scope.program.by_name[name]) for name in names]
    emit = emissions[0]
    for other in emissions[1:]:
        emit = combine("add", emit, other)
    shapes = ((states,), (length - 1, states, states), (length, states))
    tables = zip(("start", "move", "emit"), (_last(first, site.name), move, emit), shapes, strict=True)
    return HiddenMarkov(*(scope.assign(f"{site.name}_{name}", replace(table, shape=at)) for name, table, at in tables))


def _states(scope: Scope, name: str, states: int, more: int) -> Lowered:
    """Every state on a new left axis, `more` axes further left than the next enumeration axis."""
    value = op("arange", size=states, trailing=scope.trailing + more)
    return scope.assign("states", Lowered(value, (), True, Dtype.INTEGER, frozenset({name})))


def _last(value: Lowered, name: str) -> Lowered:
    """The leftmost axis moved to the right."""
    return replace(value, value=op("moveaxis", value.value, source=0, target=-1), axes=value.axes - {name})


def _emission(scope: Scope, hidden: Site, states: Lowered, site: Site) -> Lowered:
    """log p(x_t | z_t) for every t and state, [.., T, S]; 0 at first lags of x that are conditioned on."""
    chain = site.density
    if not isinstance(chain, MarkovChain) or chain.initial:
        raise unsupported(f"the start of {site.name!r}, which reads the chain {hidden.name!r},", site.span)
    length, start = site.typed.shape[0], first_general(chain)
    clock = Parallel(chain.index, scope.frame, length, start, {(hidden.name, 0): states})
    with scope.within(clocked(scope, clock)):
        value = clock.at(scope, lookup_outside(scope, site.name), 0)
        each = _present(scope, clock, site, chain, value)
    table = _last(each, hidden.name)
    if not start:
        return table
    count = hidden.typed.support.states
    lead = op("fill", value=0.0, shape=(start, count))
    return table.with_value(op("concat_broadcast", lead, table.value, axis=-2))


def _present(scope: Scope, clock: Parallel, site: Site, chain: MarkovChain, value: Lowered) -> Lowered:
    """log p of a step; entries that the data lack do not count."""
    step, column = Variable.of(site).shaped(site.typed.shape[1:]), scope.program.columns.get(site.name)
    if column is None or not column.missing:
        return log_density(chain.transition, scope, step, value)
    if first_general(chain):
        raise unsupported(f"missing entries of {site.name!r}, whose steps read each other,", site.span)
    each = log_densities(chain.transition, scope, step, value)
    return sum_of_present(each, clock.at(scope, scope.mask(site.name), 0))


def lookup_outside(scope: Scope, name: str) -> Lowered:
    """A chain's whole value, where a clock stands still."""
    assert scope.clock is not None
    with scope.within(scope.clock.outside):
        return lookup(scope, name)

"""Chains in time: log p(x) = sum_t log p(x_t | lags), all steps in one pass; draws and recursions in one loop.

Given all values, every step of a density is independent of the others, so time is one more batch axis. What reads its
own past (a draw, a deterministic recursion as in GARCH) is a loop that carries the lags it needs.
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx

from dgmppl.errors import InternalError
from dgmppl.ir.chains import first_general, reach, references
from dgmppl.ir.densities import Density, Deterministic, Elementary, MarkovChain
from dgmppl.ir.kernel import Scan, Var
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering.clocks import Clock, Looped, Moment, Parallel
from dgmppl.lowering.densities.elementary import noise_kind
from dgmppl.lowering.densities.forms import Variable, draw_from, log_densities, log_density
from dgmppl.lowering.expressions import lower_expression, value_of
from dgmppl.lowering.layout import Lowered, op, raise_rank, total
from dgmppl.lowering.scope import Frame, Scope, unsupported


def clocked(scope: Scope, clock: Clock) -> Frame:
    """A place in which a chain's index has a meaning; statements go where they went before."""
    return Frame(scope.frame.statements, {}, scope.frame.calls, {}, clock)


# ---- densities ------------------------------------------------------------------------------------------------------


@log_density.register
def _log_density(
    density: MarkovChain, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """The first steps, then the sum over time of the general one; conditioned-on first lags have no term."""
    step, length = variable.shaped(variable.kind.shape[1:]), variable.kind.shape[0]
    start, own = first_general(density), dict(density.initial)
    alone = (at for at in range(min(start, length)) if at in own or at >= reach(density))
    firsts = {at: own.get(at, density.transition) for at in alone}
    parts = [_start(scope, density.index, step, value, length, at, first, stop) for at, first in firsts.items()]
    if start < length:
        parts.append(_general(scope, density, step, value, start, length, stop))
    return total(parts)


def _start(
    scope: Scope, index: str, step: Variable, value: Lowered, length: int, position: int, density: Density, stop: bool
) -> Lowered:
    clock = Moment(index, scope.frame, length, position)
    at = clock.at(scope, value, 0)
    with scope.within(clocked(scope, clock)):
        return log_density(density, scope, step, at, stop=stop)


def _general(
    scope: Scope, density: MarkovChain, step: Variable, value: Lowered, start: int, length: int, stop: bool
) -> Lowered:
    clock = Parallel(density.index, scope.frame, length, start)
    with scope.within(clocked(scope, clock)):
        each = log_density(density.transition, scope, step, clock.at(scope, value, 0), stop=stop)
    return replace(each, value=op("reduce", each.value, function="sum", axes=(-1,)), batched=value.batched)


@log_densities.register
def _log_densities(
    density: MarkovChain, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """One log-density per element where no step reads the chain itself, so that missing entries drop out."""
    if density.initial or first_general(density):
        raise unsupported(f"missing entries of {variable.name!r}, whose steps read each other,", variable.span)
    length = variable.kind.shape[0]
    clock = Parallel(density.index, scope.frame, length)
    step = variable.shaped(variable.kind.shape[1:])
    with scope.within(clocked(scope, clock)):
        each = log_densities(density.transition, scope, step, clock.at(scope, value, 0), stop=stop)
    return each.with_value(each.value, (length, *each.shape))


# ---- values ---------------------------------------------------------------------------------------------------------


@value_of.register
def _value(density: MarkovChain, scope: Scope, site: Site) -> Lowered:
    """A deterministic recursion, computed from what it reads."""
    if not isinstance(density.transition, Deterministic):
        raise InternalError(f"the latent {site.name!r} was read before it was drawn")
    if not first_general(density) and not density.initial:
        clock = Parallel(density.index, scope.frame, site.typed.shape[0])
        with scope.within(clocked(scope, clock)):
            each = lower_expression(scope, density.transition.expression)
        return scope.assign(site.name, _whole(each, site.typed.shape[0]))
    simulate(scope, (site,))
    value = scope.value(site.name)
    assert value is not None
    return value


def _whole(each: Lowered, length: int) -> Lowered:
    """Values on the time axis as one event of all steps."""
    if not each.batched:
        wide = op("broadcast", each.value, shape=(length, *each.shape))
        return each.with_value(wide, (length, *each.shape))
    return each.with_value(each.value, (length, *each.shape))


@draw_from.register
def _draw(density: MarkovChain, scope: Scope, variable: Variable) -> Lowered:
    """A draw of every step: all at once where none reads the chain, else in one loop with whatever it feeds back to."""
    site = scope.program.guide_by_name.get(variable.name) if variable.section == "guide" else None
    site = site or scope.program.by_name[variable.name]
    together = circle(scope.program, site)
    alone = len(together) == 1 and not density.initial and not first_general(density)
    if alone and _at_once(density.transition):
        clock = Parallel(density.index, scope.frame, variable.kind.shape[0])
        with scope.within(clocked(scope, clock)):
            each = draw_from(density.transition, scope, variable.shaped(variable.kind.shape[1:]))
        return _whole(each, variable.kind.shape[0])
    simulate(scope, together)
    value = scope.value(site.name)
    assert value is not None
    return value


def _at_once(density: Density) -> bool:
    """Whether draws of all steps are one function of stacked noise."""
    return isinstance(density, Elementary) and noise_kind(density.family) != "library"


def circle(program: Program, site: Site) -> tuple[Site, ...]:
    """The chains of a section that are drawn with this one, in the order of the spec.

    They are those that read each other's past in a circle with it, and those that stand after it and that it reads.
    """
    sites = program.guide if site.section == "guide" else program.sites
    chains = {other.name: other for other in sites if isinstance(other.density, MarkovChain)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node(site.name)
    for name, chain in chains.items():
        assert isinstance(chain.density, MarkovChain)
        graph.add_edges_from((parent, name) for parent, _ in references(chain.density) if parent in chains)
    together = next(part for part in nx.strongly_connected_components(graph) if site.name in part)
    after = {name for place, name in enumerate(chains) if place > list(chains).index(site.name)}
    together |= nx.ancestors(graph, site.name) & after
    return tuple(chain for name, chain in chains.items() if name in together)


# ---- loops ----------------------------------------------------------------------------------------------------------


def simulate(scope: Scope, sites: tuple[Site, ...]) -> None:
    """Draws or computes chains that read each other's past, step by step, and binds their whole values.

    Args:
        scope: the function under construction.
        sites: the chains, in the order in which a step takes them.
    """
    length, index = sites[0].typed.shape[0], _index(sites[0])
    start = max(first_general(site.density) for site in sites if isinstance(site.density, MarkovChain))
    steps = _first_steps(scope, sites, start, length, index)
    stacked = _loop(scope, sites, steps, start, length, index) if start < length else {}
    for site in sites:
        firsts = [value for value in steps[site.name] if value is not None]
        scope.bind(site.name, _joined(scope, site, firsts, stacked.get(site.name)))


def _index(site: Site) -> str:
    """What the steps of a chain call the time."""
    assert isinstance(site.density, MarkovChain)
    return site.density.index


def _first_steps(
    scope: Scope, sites: tuple[Site, ...], start: int, length: int, index: str
) -> dict[str, list[Lowered | None]]:
    """The steps before the loop, one after the other; first lags that are conditioned on come from the data."""
    steps: dict[str, list[Lowered | None]] = {site.name: [] for site in sites}
    for position in range(min(start, length)):
        clock = Moment(index, scope.frame, length, position, steps)
        for site in sites:
            density = step_density(site, position)
            clock.index = _index(site)
            if density is None:
                value = clock.at(scope, scope.column(site.name, site.typed), 0)
            else:
                with scope.within(clocked(scope, clock)):
                    value = scope.assign(f"{site.name}_{position}", _step(scope, site, density))
            steps[site.name].append(value)
    return steps


def step_density(site: Site, position: int) -> Density | None:
    """What a step is distributed as; None for a first lag that is conditioned on."""
    chain = site.density
    assert isinstance(chain, MarkovChain)
    own = dict(chain.initial).get(position)
    return own or (chain.transition if position >= reach(chain) else None)


def _step(scope: Scope, site: Site, density: Density) -> Lowered:
    """One step, drawn or computed."""
    if isinstance(density, Deterministic):
        value = lower_expression(scope, density.expression)
        shape = site.typed.shape[1:]
        if value.literal is not None:
            return Lowered(op("fill", value=value.literal, shape=shape), shape)
        return raise_rank(value, len(shape))
    return draw_from(density, scope, Variable.of(site).shaped(site.typed.shape[1:]))


def _loop(
    scope: Scope, sites: tuple[Site, ...], steps: dict[str, list[Lowered | None]], start: int, length: int, index: str
) -> dict[str, Lowered]:
    """The general steps as one loop; the stacked values by site."""
    clock = Looped(index, scope.frame, length, start, scope.fresh(index))
    carry = _carry(scope, sites, steps, clock, start)
    body = Frame(clock=clock)
    with scope.within(body):
        for site in sites:
            chain = site.density
            assert isinstance(chain, MarkovChain)
            clock.index = chain.index
            clock.carried[site.name, 0] = scope.assign(f"{site.name}_now", _step(scope, site, chain.transition))
    targets = {site.name: scope.fresh(f"{site.name}_rest" if start else site.name) for site in sites}
    now = {site.name: clock.carried[site.name, 0] for site in sites}
    updates = [clock.carried[name, lag - 1].value for name, lag, _ in carry]
    scope.statements.append(
        Scan(
            scope.fresh(f"step_of_{'_'.join(now)}"),
            tuple(targets.values()),
            clock.variable,
            start,
            length - start,
            tuple((clock.carried[name, lag].value.name, first.value) for name, lag, first in carry),  # type: ignore[union-attr]
            tuple(clock.inputs),
            tuple(body.statements),
            tuple(updates),
            tuple((value.value, len(site.typed.shape) - 1) for site, value in zip(sites, now.values(), strict=True)),
        )
    )
    return {
        name: replace(value, value=Var(targets[name]), shape=(length - start, *value.shape))
        for name, value in now.items()
    }


def _carry(
    scope: Scope, sites: tuple[Site, ...], steps: dict[str, list[Lowered | None]], clock: Looped, start: int
) -> list[tuple[str, int, Lowered]]:
    """(site, lag, first value) of everything that the loop carries; their variables are made known to the clock."""
    names = {site.name for site in sites}
    furthest = dict.fromkeys(names, 0)
    for site in sites:
        assert isinstance(site.density, MarkovChain)
        for name, lag in references(site.density):
            if name in names:
                furthest[name] = max(furthest[name], lag)
    carry: list[tuple[str, int, Lowered]] = []
    for site in sites:
        for lag in range(1, furthest[site.name] + 1):
            first = steps[site.name][start - lag]
            assert first is not None
            local = scope.fresh(f"{site.name}_before" if lag == 1 else f"{site.name}_{lag}_before")
            axes, batched = _varies(sites, steps)
            clock.carried[site.name, lag] = replace(first, value=Var(local), axes=axes, batched=batched)
            carry.append((site.name, lag, first))
    return carry


def _varies(sites: tuple[Site, ...], steps: dict[str, list[Lowered | None]]) -> tuple[frozenset[str], bool]:
    """The batch axes of what is carried: those of any step of any of the chains."""
    known = [value for site in sites for value in steps[site.name] if value is not None]
    batched = any(site.role is not Role.DETERMINISTIC for site in sites) or any(value.batched for value in known)
    return frozenset().union(*(value.axes for value in known)), batched


def _joined(scope: Scope, site: Site, firsts: list[Lowered], rest: Lowered | None) -> Lowered:
    """First steps and loop as one event of all steps."""
    parts = [*firsts, *([] if rest is None else [rest])]
    axes, batched = frozenset().union(*(part.axes for part in parts)), any(part.batched for part in parts)
    if not firsts:
        assert rest is not None
        return rest
    rank = len(site.typed.shape) - 1
    heads = [op("expand", part.value, count=1, rank=rank) for part in firsts]
    tail = [] if rest is None else [rest.value]
    value = op("concat_broadcast", *heads, *tail, axis=-rank - 1)
    return scope.assign(site.name, Lowered(value, site.typed.shape, batched, site.typed.dtype, axes))

"""Linear-Gaussian chains that are integrated by recursion: the matrices of the Kalman filter (Kalman 1960).

s_t = F_t s_{t-1} + b_t + N(0, Q_t), y_t = H_t s_t + c_t + N(0, diag(r_t)). A state is all that the next step and the
readings of the present one depend on: the last steps of a chain that is read further back than one, every chain of
those that are read together, and Gaussian latents that do not change. As for other linear-Gaussian latents, an affine
map is found by evaluating it at the origin and at the unit vectors, so it does not matter how it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dgmppl.ir.chains import depths, first_general
from dgmppl.ir.densities import MarkovChain
from dgmppl.ir.kernel import Value
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.clocks import Moment, Parallel, in_time
from dgmppl.lowering.densities.chains import clocked, step_density
from dgmppl.lowering.densities.forms import Variable
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.gaussian import affine, joined
from dgmppl.lowering.gaussian_steps import moments, reached
from dgmppl.lowering.layout import POINTS, Lowered, combine, flat, op, reshaped
from dgmppl.lowering.scope import Frame, Scope, unsupported
from dgmppl.objectives.algebra import LogIntegral


@dataclass(frozen=True, slots=True)
class Memory:
    """What a state holds, flattened: latents that do not change, then the last steps of each chain, its last one first.

    Attributes:
        still: latents that do not change.
        chains: the chains, in generative order.
        places: (latent, lag) -> the elements from which to which.
        length: T.
        start: the first position at which every chain's general step holds.
    """

    still: tuple[Site, ...]
    chains: tuple[Site, ...]
    places: Mapping[tuple[str, int], tuple[int, int]]
    length: int
    start: int

    @property
    def size(self) -> int:
        """The elements of a state."""
        return max(stop for _, stop in self.places.values())

    @property
    def alone(self) -> bool:
        """Whether a state is the last step of one chain."""
        return len(self.places) == 1


@dataclass(frozen=True, slots=True)
class StateSpace:
    """What the recursions take, in their order: y, m0, P0, F, b, Q, H, c, r, and where entries are observed."""

    memory: Memory
    parts: tuple[Lowered, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        """The matrices as values."""
        return tuple(part.value for part in self.parts)

    @property
    def axes(self) -> frozenset[str]:
        """What the result of a recursion varies over."""
        return frozenset().union(*(part.axes for part in self.parts))


def log_filter(scope: Scope, term: LogIntegral) -> Lowered:
    """log p of everything that reads the chains, the chains integrated out."""
    model = state_space(scope, term)
    return scope.assign("log_p", Lowered(op("log_filter", *model.operands), (), True, axes=model.axes))


def posteriors(scope: Scope, term: LogIntegral) -> list[tuple[str, Value]]:
    """Means [.., T, n] and covariances [.., T, n, n] of chains given all data; without T of what does not change."""
    model = state_space(scope, term)
    first = term.names[0]
    both = scope.assign(f"{first}_posterior", Lowered(op("smoother", *model.operands), (), True))
    mean, covariance = op("item", both.value, number=0), op("item", both.value, number=1)
    if model.memory.alone:
        return [(f"{first}.loc", mean), (f"{first}.covariance", covariance)]
    result: list[tuple[str, Value]] = []
    for site in (*model.memory.still, *model.memory.chains):
        own = (*model.memory.places[site.name, 0], None)
        time = -1 if site in model.memory.still else (None, None)
        result += [
            (f"{site.name}.loc", op("index", mean, items=(time, own), rank=2)),
            (f"{site.name}.covariance", op("index", covariance, items=(time, own, own), rank=3)),
        ]
    return result


def state_space(scope: Scope, term: LogIntegral) -> StateSpace:
    """The matrices of linear-Gaussian chains and of what reads them.

    Raises:
        UnsupportedError: chains or series have different lengths, or something that is no series reads the latents.
    """
    place = _Place(scope, _memory(scope.program, term))
    length, start = place.memory.length, place.memory.start
    mean, covariance = _start(place)
    alone = [_move(place, position) for position in range(1, min(start, length))]
    rest = _move(place, None) if start < length else None
    loading, offset, spread = (
        in_time([move[part] for move in alone], None if rest is None else rest[part], length - start)
        for part in range(3)
    )
    readers = [_series(place, scope.program.by_name[name]) for name in term.children]
    value, at, matrix, variance = ([reader[part] for reader in readers] for part in range(4))
    masks = [_observed(place, scope.program.by_name[name]) for name in term.children]
    parts = [joined(value), mean, covariance, loading, offset, spread, _rows(matrix), joined(at), joined(variance)]
    whole = [_mask(masks, value)] if any(mask is not None for mask in masks) else []
    return StateSpace(place.memory, (*parts, *whole))


def _memory(program: Program, term: LogIntegral) -> Memory:
    latents = [program.by_name[name] for name in term.names]
    chains = tuple(site for site in latents if isinstance(site.density, MarkovChain))
    still = tuple(site for site in latents if site not in chains)
    series = [program.by_name[name] for name in term.children]
    single = next((site for site in series if not isinstance(site.density, MarkovChain)), None)
    if single is not None:
        raise unsupported(
            f"{single.name!r}, which is no series and reads what a Kalman filter integrates,", single.span
        )
    remembered = depths(program, [site.name for site in chains], term.children)
    lengths = {site.typed.shape[0] for site in (*chains, *series)}
    if remembered is None or len(lengths) > 1:
        names = ", ".join(map(repr, term.names))
        raise unsupported(f"the Kalman filter over {names}, with series of other lengths,", latents[0].span)
    places: dict[tuple[str, int], tuple[int, int]] = {}
    end = 0
    for site in (*still, *chains):
        size = Variable.of(site).shaped(_shape(site)).kind.size
        for lag in range(remembered.get(site.name, 1)):
            places[site.name, lag] = (end, end + size)
            end += size
    start = max(first_general(site.density) for site in chains if isinstance(site.density, MarkovChain))
    return Memory(still, chains, places, lengths.pop(), start)


def _shape(site: Site) -> Shape:
    """The shape of one step of a chain, or of a latent that does not change."""
    return site.typed.shape[1:] if isinstance(site.density, MarkovChain) else site.typed.shape


def _step(site: Site) -> Variable:
    return Variable.of(site).shaped(_shape(site))


# ---- points ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A function under construction, and the points at which affine maps are evaluated in it."""

    scope: Scope
    memory: Memory
    made: dict[tuple[int, bool], Lowered] = field(default_factory=dict)

    def points(self, size: int, position: int | None) -> Lowered:
        """The origin and the unit vectors on a new left axis; for all positions, time stands among the batch axes."""
        key = (size, position is None)
        if key not in self.made:
            value = op("simplex_points", size=size, trailing=self.scope.trailing + (position is None))
            basis = Lowered(value, (size,), True, axes=frozenset({POINTS}))
            self.made[key] = self.scope.assign("points", basis)
        return self.made[key]

    def pieces(self, points: Lowered) -> dict[tuple[str, int], Lowered]:
        """The parts of a state, each in its own shape."""
        return {
            (name, lag): reshaped(_piece(points, place), _shape(self.scope.program.by_name[name]))
            for (name, lag), place in self.memory.places.items()
        }

    def at(
        self, chain: MarkovChain, known: Mapping[tuple[str, int], Lowered], position: int | None, start: int
    ) -> Frame:
        """One position, or (None) all from `start` on, where latents have the given values by lag."""
        frame, length = self.scope.frame, self.memory.length
        if position is None:
            inside = clocked(self.scope, Parallel(chain.index, frame, length, start, known))
        else:
            inside = clocked(self.scope, Moment(chain.index, frame, length, position, bound=known))
        inside.values.update({site.name: known[site.name, 0] for site in self.memory.still if (site.name, 0) in known})
        return inside


def _piece(points: Lowered, place: tuple[int, int]) -> Lowered:
    """Some of the elements of a vector."""
    if place == (0, points.size):
        return points
    return points.with_value(op("index", points.value, items=((*place, None),), rank=1), (place[1] - place[0],))


# ---- the chains -----------------------------------------------------------------------------------------------------


def _start(place: _Place) -> tuple[Lowered, Lowered]:
    """Mean [.., n] and covariance [.., n, n] of the first state; what it remembers of times before 0 is 0."""
    scope, memory = place.scope, place.memory
    if memory.alone:
        (site,) = memory.chains
        density = step_density(site, 0)
        assert density is not None
        assert isinstance(site.density, MarkovChain)
        with scope.within(place.at(site.density, {}, 0, 0)):
            return moments(scope, density, _step(site))
    noise = place.points(sum(_step(site).kind.size for site in (*memory.still, *memory.chains)), 0)
    known: dict[tuple[str, int], Lowered] = {}
    end = 0
    with scope.branch():
        for site in memory.still:
            start, end = end, end + _step(site).kind.size
            known[site.name, 0] = reached(scope, site.law, _step(site), _piece(noise, (start, end)))
            scope.bind(site.name, known[site.name, 0])
    _advance(place, known, noise, end, 0)
    offset, loading = affine(scope, _state(place, known, {}), "first_", noise.size)
    covariance = op("matmul", loading.value, op("transpose", loading.value))
    return offset, loading.with_value(covariance, (memory.size, memory.size))


def _move(place: _Place, position: int | None) -> tuple[Lowered, Lowered, Lowered]:
    """F, b and Q of the moves to one position, or (None) to all from `start` on."""
    scope, memory = place.scope, place.memory
    if memory.alone:
        (site,) = memory.chains
        assert isinstance(site.density, MarkovChain)
        before = {(site.name, 1): reshaped(place.points(memory.size, position), _shape(site))}
        density = site.density.transition if position is None else step_density(site, position)
        assert density is not None
        with scope.within(place.at(site.density, before, position, memory.start)):
            moved, spread = moments(scope, density, _step(site))
            offset, loading = affine(scope, scope.assign(f"{site.name}_mean", moved), f"{site.name}_", memory.size)
        return loading, offset, spread
    points = place.points(memory.size + sum(_step(site).kind.size for site in memory.chains), position)
    before = place.pieces(points)
    moving = {site.name for site in memory.chains}
    known = {(name, lag + 1 if name in moving else lag): value for (name, lag), value in before.items()}
    _advance(place, known, points, memory.size, position)
    offset, both = affine(scope, _state(place, known, before), "state_", points.size)
    loading = scope.assign("state_move", _columns(both, 0, memory.size))
    noise = scope.assign("state_noise", _columns(both, memory.size, points.size))
    spread = noise.with_value(op("matmul", noise.value, op("transpose", noise.value)), (memory.size, memory.size))
    return loading, offset, spread


def _columns(matrix: Lowered, start: int, stop: int) -> Lowered:
    items = ((None, None), (start, stop, None))
    return matrix.with_value(op("index", matrix.value, items=items, rank=2), (matrix.shape[0], stop - start))


def _advance(
    place: _Place, known: dict[tuple[str, int], Lowered], noise: Lowered, end: int, position: int | None
) -> None:
    """Adds every chain's present step to what is known: affine in the state before and in standard normals."""
    scope = place.scope
    for site in place.memory.chains:
        assert isinstance(site.density, MarkovChain)
        density = site.density.transition if position is None else step_density(site, position)
        assert density is not None
        start, end = end, end + _step(site).kind.size
        with scope.within(place.at(site.density, known, position, place.memory.start)):
            known[site.name, 0] = reached(scope, density, _step(site), _piece(noise, (start, end)))


def _state(place: _Place, now: Mapping[tuple[str, int], Lowered], before: Mapping[tuple[str, int], Lowered]) -> Lowered:
    """The state that follows, flattened."""
    parts = []
    for (name, lag), (start, stop) in place.memory.places.items():
        if not lag:
            parts.append(flat(now[name, 0]))
        elif (name, lag - 1) in before:
            parts.append(flat(before[name, lag - 1]))
        else:
            parts.append(Lowered(op("fill", value=0.0, shape=(stop - start,)), (stop - start,)))
    return place.scope.assign("state", joined(parts))


# ---- what reads them ------------------------------------------------------------------------------------------------


def _series(place: _Place, site: Site) -> tuple[Lowered, Lowered, Lowered, Lowered]:
    """y [.., T, D], c, H, r of one series that reads the chains; 0, 0 and 1 at first lags that are conditioned on."""
    scope, chain = place.scope, site.density
    assert isinstance(chain, MarkovChain)
    start, length = first_general(chain), place.memory.length
    value = _steps(lookup(scope, site.name))
    rows = [_reading(place, site, position) for position in range(min(start, length))]
    rest = _reading(place, site, None) if start < length else None
    offset, loading, variance = (
        in_time([row[part] for row in rows], None if rest is None else rest[part], length - start) for part in range(3)
    )
    return value, offset, loading, variance


def _reading(place: _Place, site: Site, position: int | None) -> tuple[Lowered, Lowered, Lowered]:
    """c, H and r of a series at one position, or (None) from its first general one on."""
    scope, memory, chain = place.scope, place.memory, site.density
    assert isinstance(chain, MarkovChain)
    density = chain.transition if position is None else step_density(site, position)
    size = _step(site).kind.size
    if density is None:
        shapes = ((0.0, (size,)), (0.0, (size, memory.size)), (1.0, (size,)))
        offset, loading, variance = (Lowered(op("fill", value=fill, shape=shape), shape) for fill, shape in shapes)
        return offset, loading, variance
    now = place.pieces(place.points(memory.size, position))
    with scope.within(place.at(chain, now, position, first_general(chain))):
        mean, variance = moments(scope, density, _step(site), diagonal=True)
        offset, loading = affine(scope, scope.assign(f"{site.name}_mean", mean), f"{site.name}_", memory.size)
    return offset, loading, variance


def _observed(place: _Place, site: Site) -> Lowered | None:
    """Where a series' entries count, [.., T, D]: present, and not conditioned on; None where all do."""
    scope, chain = place.scope, site.density
    assert isinstance(chain, MarkovChain)
    column, start = scope.program.columns.get(site.name), first_general(chain)
    missing = column is not None and column.missing
    if missing and chain.lag:
        raise unsupported(f"missing entries of {site.name!r}, whose steps read each other,", site.span)
    positions = range(min(start, place.memory.length))
    if all(step_density(site, position) is not None for position in positions):
        return _steps(scope.mask(site.name)) if missing else None
    whole = scope.mask(site.name) if missing else lookup(scope, site.name)
    rows = []
    for position in positions:
        part = flat(Moment(chain.index, scope.frame, place.memory.length, position).at(scope, whole, 0))
        rows.append(_never(part) if step_density(site, position) is None else part if missing else _always(part))
    rest = flat(Parallel(chain.index, scope.frame, place.memory.length, start).at(scope, whole, 0))
    return in_time(rows, rest if missing else _always(rest), place.memory.length - start)


def _steps(whole: Lowered) -> Lowered:
    """The steps of a series, flattened, with time among the batch axes."""
    return flat(Lowered(whole.value, whole.shape[1:], True, whole.dtype))


def _always(value: Lowered) -> Lowered:
    return combine("eq", value, value, dtype=Dtype.BOOLEAN)


def _never(value: Lowered) -> Lowered:
    return combine("ne", value, value, dtype=Dtype.BOOLEAN)


def _mask(masks: list[Lowered | None], values: list[Lowered]) -> Lowered:
    """The masks of all series, one after the other; true where a series lacks nothing."""
    whole = [_always(value) if mask is None else mask for mask, value in zip(masks, values, strict=True)]
    return joined(whole)


def _rows(parts: list[Lowered]) -> Lowered:
    """Loadings of several series, one below the other."""
    if len(parts) == 1:
        return parts[0]
    axes = frozenset().union(*(part.axes for part in parts))
    shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])
    return replace(
        parts[0], value=op("concat_broadcast", *(part.value for part in parts), axis=-2), shape=shape, axes=axes
    )

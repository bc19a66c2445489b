"""Regularizers of critics: gradient norms at points of the data, of the samples, or between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dgmppl.errors import InternalError
from dgmppl.ir.expressions import Call, Expression
from dgmppl.ir.kernel import Define, Gradient, Return, Var
from dgmppl.ir.options import PENALTIES
from dgmppl.ir.program import Program
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real, literal_array
from dgmppl.lowering.games import Values, critic, data_side, model_side
from dgmppl.lowering.layout import Lowered, combine, flat, number, op, raise_rank, reduce_event, reshaped
from dgmppl.lowering.scope import Frame, Scope
from dgmppl.lowering.spectral import critic_networks
from dgmppl.objectives.algebra import Conjugate, Penalty, walk
from dgmppl.objectives.derivation import Player
from dgmppl.objectives.requests import called

# Inside the square root of a gradient's norm, whose own gradient is infinite at zero: norms below 1e-6 count as 1e-6.
_SMALLEST_SQUARE = 1e-12


def penalty(scope: Scope, term: Penalty) -> Lowered:
    """What is added to a critic's loss, one number per datum.

    `gradient(w)`: w (|grad v| - 1)^2 at a uniformly drawn point between a datum and a sample (Gulrajani et al. 2017,
    eq. 3), with `sided=one` w max(0, |grad v| - 1)^2 (Petzka, Fischer and Lukovnikov 2018); `r1(w)`, `r2(w)`:
    w / 2 |grad v|^2 at data or samples (Mescheder, Geiger and Nowozin 2018, eqs. 9 and 10).
    """
    kind, weight = called(term.penalty) or "", number(_weight(term.penalty))
    if term.dual is None:
        raise InternalError("a penalty without the sides that it reads")
    squares = _squared_gradient(scope, term.dual, _POINTS[kind](scope, term.dual))
    if kind != "gradient":
        return combine("mul", number(0.5), combine("mul", weight, squares))
    root = combine("call", combine("add", squares, number(_SMALLEST_SQUARE)), function="sqrt")
    excess = combine("sub", scope.reported("gradient_norm", root), number(1.0))
    if called(_given(term.penalty, "sided")) == "one":
        excess = combine("call", excess, number(0.0), function="maximum")
    return combine("mul", weight, combine("call", excess, function="square"))


def clamped(program: Program, player: Player) -> dict[str, float]:
    """The arrays of critics that are clamped after each update of their player, with the bound.

    See Arjovsky, Chintala and Bottou 2017, algorithm 1.
    """
    found: dict[str, float] = {}
    for term in (node for part in player.terms for node in walk(part.expression)):
        if not isinstance(term, Conjugate) or term.player != "critic":
            continue
        asked = dict(term.options).get("penalty")
        if called(asked) != "clip" or asked is None:
            continue
        for network in critic_networks(program, term):
            arrays = program.networks[network].parameters
            found |= dict.fromkeys((spec.name for spec in arrays if spec.trainable), _weight(asked))
    return found


def _weight(written: Expression) -> float:
    """The number that a penalty is given, or its default."""
    argument = PENALTIES[called(written) or ""].arguments[0]
    given = _given(written, argument.name)
    constant = literal_array(given) if given is not None else None
    if constant is not None:
        return float(constant)
    if not isinstance(argument.default, int | float):
        raise InternalError("a penalty without a number")
    return float(argument.default)


def _given(written: Expression, name: str) -> Expression | None:
    """An argument of a penalty as written; None where it is left out."""
    return PENALTIES[written.function].given(written, name) if isinstance(written, Call) else None


def _between(scope: Scope, dual: Conjugate) -> Values:
    """A point on the line from each datum to a sample, by one uniform number per pair."""
    real, fakes = data_side(scope, dual), model_side(scope, dual)
    share = scope.noise_entry(f"{'_'.join(dual.reads)}@between", "uniform", (), "data")
    share = scope.assign("share", share)
    points = {}
    for name in dual.reads:
        start, end = as_real(real[name]), as_real(fakes[name])
        step = combine("mul", raise_rank(share, start.rank), combine("sub", end, start))
        points[name] = scope.assign(f"{name}_between", combine("add", start, step))
    return points


_POINTS: Mapping[str, Callable[[Scope, Conjugate], Values]] = {
    "gradient": _between,
    "r1": data_side,
    "r2": model_side,
}


def _squared_gradient(scope: Scope, dual: Conjugate, at: Values) -> Lowered:
    """|grad v|^2 by all sites that are swapped, one number per datum."""
    points = {name: as_real(value) for name, value in at.items()}
    point = _joined(scope, points)
    argument, frame = scope.fresh("point"), Frame()
    with scope.within(frame):
        parts = _parted(point.with_value(Var(argument)), points)
        value = critic(scope, dual, parts)
        frame.statements.append(Return((value.value,)))
    name = scope.fresh("critic")
    scope.statements.append(Define(name, argument, tuple(frame.statements)))
    slope = scope.assign("slope", point.with_value(Gradient(name, point.value, point.rank)))
    return reduce_event(combine("call", slope, function="square"), "sum")


def _joined(scope: Scope, points: Values) -> Lowered:
    """Several values as one vector; a single one as it is."""
    if len(points) == 1:
        return next(iter(points.values()))
    parts = [flat(value) for value in points.values()]
    joined = op("concat_broadcast", *(part.value for part in parts), axis=-1)
    shape = (sum(part.size for part in parts),)
    return scope.assign("point", Lowered(joined, shape, True, Dtype.REAL))


def _parted(point: Lowered, like: Values) -> Values:
    """The values that `_joined` has put together."""
    if len(like) == 1:
        return dict.fromkeys(like, point)
    parts, start = {}, 0
    for name, value in like.items():
        piece = op("index", point.value, items=((start, start + value.size, None),), rank=1)
        part = point.with_value(piece, (value.size,))
        parts[name] = reshaped(part, value.shape)
        start += value.size
    return parts

"""Score matching of unnormalized densities: derivatives of log p at the data, log Z falls out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Ladder, Unnormalized
from dgmppl.ir.expressions import Expression
from dgmppl.ir.kernel import Draw, Gradient
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import log_prob
from dgmppl.lowering.densities.unnormalized import density_of_energy, local_function, state_noise, uniform_states
from dgmppl.lowering.layout import Lowered, combine, number, op, reduce_event
from dgmppl.lowering.points import density_function, point_of
from dgmppl.lowering.scope import Scope
from dgmppl.objectives.algebra import NoiseLadder, ScoreMatching, walk
from dgmppl.objectives.derivation import Derivation

# Reads a scalar option at the present step.
Schedule = Callable[[Expression], Lowered]


def on_ladders(program: Program, derivation: Derivation) -> Program:
    """The program whose energies know the noises that they are fitted under, so that their chains walk them down."""
    found: dict[str, Ladder] = {}
    for player in derivation.objective.players:
        for term in (node for part in player.terms for node in walk(part.expression)):
            if isinstance(term, ScoreMatching) and (ladder := _ladder_of(term)) is not None:
                found |= dict.fromkeys(density_of_energy(program.by_name[term.site]).names, ladder)
    if not found:
        return program
    return replace(program, sites=tuple(_on_ladder(site, found.get(site.name)) for site in program.sites))


def _ladder_of(term: ScoreMatching) -> Ladder | None:
    """The noises of a term whose energy is told which it is."""
    noises = term.ladder
    if noises is None or noises.level is None or noises.levels < 2 or not isinstance(term.sigma, float):
        return None
    return Ladder(term.sigma, noises.smallest or 0.0, noises.levels, noises.level)


def _on_ladder(site: Site, ladder: Ladder | None) -> Site:
    if ladder is None or not isinstance(site.density, Unnormalized):
        return site
    return replace(site, density=replace(site.density, ladder=ladder))


def score_matching(scope: Scope, term: ScoreMatching, schedule: Schedule) -> Lowered:
    """A Fisher divergence, most up to a constant, one number per datum; `schedule` reads a scalar option."""
    site = scope.program.by_name[term.site]
    data = point_of(scope, site)
    match term.kind:
        case "denoising":
            return _denoising(scope, site, data, term, schedule)
        case "sliced":
            return _sliced(scope, site, data, term.projections)
        case "implicit":
            return _implicit(scope, site, data)
        case "explicit" if term.density is not None:
            return _explicit(scope, site, data, scope.program.by_name[term.density])
    raise InternalError(f"score matching of the kind {term.kind!r}")


def _denoising(scope: Scope, site: Site, data: Lowered, term: ScoreMatching, schedule: Schedule) -> Lowered:
    """Half sigma^power || grad log p(x + sigma eps) + eps / sigma ||^2 (Vincent 2011).

    With several noises sigma is drawn for each datum, and the energy may read it (Song and Ermon 2019, eq. 6).
    """
    ladder = term.ladder or NoiseLadder()
    sigma = schedule(term.sigma) if isinstance(term.sigma, Expression) else number(float(term.sigma or 0.0))
    if ladder.levels > 1:
        sigma = scope.assign("sigma", _rung(scope, site, sigma, ladder))
    eps = scope.assign("eps", scope.random(f"{site.name}.smoothing", "normal", data.shape, site.typed.plate))
    noisy = scope.assign(f"{site.name}_noisy", combine("add", data, combine("mul", sigma, eps)))
    with scope.branch():
        if ladder.level is not None:
            scope.bind(ladder.level, sigma)
        function = density_function(scope, site)
    score = noisy.with_value(Gradient(function, noisy.value, noisy.rank, span=site.span))
    if ladder.power == 2:  # the weight goes inside, where nothing is divided by a small sigma
        return _half_norm(combine("add", combine("mul", sigma, score), eps))
    value = _half_norm(combine("add", score, combine("div", eps, sigma)))
    return combine("mul", combine("pow", sigma, number(ladder.power)), value) if ladder.power else value


def _rung(scope: Scope, site: Site, sigma: Lowered, ladder: NoiseLadder) -> Lowered:
    """sigma (smallest / sigma)^(k / (levels - 1)), k uniform over 0..levels-1, one per datum."""
    form = uniform_states(ladder.levels, ())
    noise = scope.random(f"{site.name}.level", *state_noise(ladder.levels, ()), site.typed.plate)
    drawn = as_real(Lowered(Draw(form, noise.value), (), True, Dtype.INTEGER, noise.axes))
    low, steps = math.log(ladder.smallest or 0.0), float(ladder.levels - 1)
    if sigma.literal is not None:
        rate = number((low - math.log(sigma.literal)) / steps)
    else:
        fall = combine("sub", number(low), combine("call", sigma, function="log"))
        rate = scope.assign("rate", combine("div", fall, number(steps)))
    return combine("mul", sigma, combine("call", combine("mul", drawn, rate), function="exp"))


def _explicit(scope: Scope, site: Site, data: Lowered, reference: Site) -> Lowered:
    """Half || grad log p(x) - grad log r(x) ||^2 against a known density r (Hyvarinen 2005, eq. 2)."""
    wish = f"log_p_{reference.name}"
    known = local_function(scope, wish, (reference.name,), lambda: log_prob(scope, reference))
    scores = [
        data.with_value(Gradient(function, data.value, data.rank, span=one.span))
        for function, one in ((density_function(scope, site), site), (known, reference))
    ]
    return _half_norm(combine("sub", *scores))


def _sliced(scope: Scope, site: Site, data: Lowered, projections: int) -> Lowered:
    """v^T (d score) v + half (v^T score)^2, averaged over directions v ~ N(0, I) (Song et al. 2020)."""
    name, rank = f"{site.name}.direction", data.rank
    if projections == 1:
        direction = scope.random(name, "normal", data.shape, site.typed.plate)
    else:
        every = scope.random(name, "normal", (projections, *data.shape), site.typed.plate)
        moved = op("moveaxis", every.value, source=-rank - 1, target=-rank - 2)
        direction = every.with_value(moved, data.shape)
    function = density_function(scope, site)
    direction = scope.assign("direction", direction)
    node = Gradient(function, data.value, rank, "directional", direction.value, span=site.span)
    both = scope.assign("along", direction.with_value(node, ()))
    first, second = (both.with_value(op("item", both.value, number=place)) for place in (0, 1))
    value = combine("add", second, combine("mul", number(0.5), combine("call", first, function="square")))
    if projections == 1:
        return value
    return value.with_value(op("reduce_leading", value.value, function="mean"))


def _implicit(scope: Scope, site: Site, data: Lowered) -> Lowered:
    """tr(d score) + half || score ||^2 (Hyvarinen 2005, theorem 1)."""
    node = Gradient(density_function(scope, site), data.value, data.rank, "laplacian", span=site.span)
    both = scope.assign("score_and_trace", data.with_value(node))
    score, trace = data.with_value(op("item", both.value, number=0)), op("item", both.value, number=1)
    return combine("add", data.with_value(trace, ()), _half_norm(score))


def _half_norm(value: Lowered) -> Lowered:
    """Half || x ||^2 over the event."""
    return combine("mul", number(0.5), reduce_event(combine("call", value, function="square"), "sum"))

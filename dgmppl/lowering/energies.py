"""Objectives of unnormalized densities: score matching, contrastive gradients, contrast with noise; their log Z."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.expressions import Call, Expression, Literal
from dgmppl.ir.kernel import Function, Gradient, Group, Return, StateEntry, Var
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import LOG_Z
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import REAL, Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import draw, log_prob
from dgmppl.lowering.densities.unnormalized import (
    density_function,
    density_of_energy,
    draw_base,
    marginal,
    unit_probabilities,
)
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import PARTICLES, Lowered, combine, negative, number, op, reduce_event
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.lowering.spectral import initial_directions
from dgmppl.lowering.transitions import anneal, run_chain
from dgmppl.objectives.algebra import (
    ContrastiveGradient,
    Derivation,
    FreeEnergy,
    LogNormalizer,
    NoiseContrast,
    Player,
    Scale,
    ScoreMatching,
    Sum,
    Term,
    walk,
)

# ---- score matching -------------------------------------------------------------------------------------------------


def score_matching(scope: Scope, term: ScoreMatching, schedule: Callable[[Expression], Lowered]) -> Lowered:
    """A Fisher divergence up to a constant, one number per datum; `schedule` reads a scalar option at the present step.

    Raises:
        UnsupportedError: the kind needs the data's own score.
    """
    site = scope.program.by_name[term.site]
    data = as_real(lookup(scope, site.name))
    function = density_function(scope, site)
    match term.kind:
        case "denoising":
            sigma = term.sigma
            width = schedule(sigma) if isinstance(sigma, Expression) else number(float(sigma or 0.0))
            return _denoising(scope, site, function, data, width)
        case "sliced":
            return _sliced(scope, site, function, data, term.projections)
        case "implicit":
            return _implicit(scope, site, function, data)
    raise unsupported(f"{term.kind} score matching of {site.name!r}", site.span)


def _denoising(scope: Scope, site: Site, function: str, data: Lowered, sigma: Lowered) -> Lowered:
    """Half || grad log p(x + sigma eps) + eps / sigma ||^2 (Vincent 2011, eq. 9)."""
    eps = scope.assign("eps", scope.random(f"{site.name}.smoothing", "normal", site.typed.shape, site.typed.plate))
    noisy = scope.assign(f"{site.name}_noisy", combine("add", data, combine("mul", sigma, eps)))
    score = Gradient(function, noisy.value, noisy.rank, span=site.span)
    residual = combine("add", noisy.with_value(score), combine("div", eps, sigma))
    return combine("mul", number(0.5), _norm(residual))


def _sliced(scope: Scope, site: Site, function: str, data: Lowered, projections: int) -> Lowered:
    """v^T (d score) v + half (v^T score)^2, averaged over directions v ~ N(0, I) (Song et al. 2020, eq. 7)."""
    name, rank = f"{site.name}.direction", data.rank
    if projections == 1:
        direction = scope.random(name, "normal", site.typed.shape, site.typed.plate)
    else:
        every = scope.random(name, "normal", (projections, *site.typed.shape), site.typed.plate)
        moved = op("moveaxis", every.value, source=-rank - 1, target=-rank - 2)
        direction = every.with_value(moved, site.typed.shape)
    direction = scope.assign("direction", direction)
    node = Gradient(function, data.value, rank, "directional", direction.value, span=site.span)
    both = scope.assign("along", direction.with_value(node, ()))
    first, second = (both.with_value(op("item", both.value, number=place)) for place in (0, 1))
    value = combine("add", second, combine("mul", number(0.5), combine("call", first, function="square")))
    if projections == 1:
        return value
    return value.with_value(op("reduce_leading", value.value, function="mean"))


def _implicit(scope: Scope, site: Site, function: str, data: Lowered) -> Lowered:
    """tr(d score) + half || score ||^2 (Hyvarinen 2005, theorem 1)."""
    node = Gradient(function, data.value, data.rank, "laplacian", span=site.span)
    both = scope.assign("score_and_trace", data.with_value(node))
    score, trace = data.with_value(op("item", both.value, number=0)), op("item", both.value, number=1)
    return combine("add", data.with_value(trace, ()), combine("mul", number(0.5), _norm(score)))


def _norm(value: Lowered) -> Lowered:
    """|| x ||^2 over the event."""
    return reduce_event(combine("call", value, function="square"), "sum")


# ---- contrastive gradients ------------------------------------------------------------------------------------------


def contrastive(scope: Scope, term: ContrastiveGradient) -> Lowered:
    """log p~ at the chain's end minus log p~ at the positive value, one number per datum.

    Both values are held fixed, so that its gradient is E_p[d log p~] - E_positive[d log p~]; it bounds nothing itself.
    """
    site, call = scope.program.by_name[term.site], term.sampler
    assert isinstance(call, Call)
    if term.positive.source == "guide":
        positive = draw(scope, scope.program.guide_by_name[term.positive.name], stop=True)
        start: Lowered | None = None
    else:
        start = positive = lookup(scope, site.name)
    if persistent(call):
        start = _carried(scope, site)
    elif start is None:
        start = scope.assign(f"{site.name}_start", draw_base(scope, site))
    end = run_chain(scope, site, call, start, term.hidden)
    if persistent(call):
        scope.updates[state_name(site)] = end.value
    return combine("sub", _log_p(scope, site, end, term.hidden), _log_p(scope, site, as_real(positive), term.hidden))


def persistent(call: Call) -> bool:
    """Whether chains go on between updates."""
    given = call.keyword("persistent")
    return isinstance(given, Literal) and bool(given.value)


def state_name(site: Site) -> str:
    """The entry of the run's state that holds a site's chains, one per row of a batch."""
    return f"{site.name}.chain"


def _carried(scope: Scope, site: Site) -> Lowered:
    """The chains' places after the step before."""
    others = set(site.parents) - set(density_of_energy(site).names)
    context = [name for name in others if scope.program.by_name[name].typed.plate is not None]
    if context:
        construct = f"a persistent chain of {site.name!r}, whose density changes with {context[0]!r} from row to row,"
        raise unsupported(construct, site.span, "persistent=False")
    return Lowered(StateEntry(state_name(site)), site.typed.shape, True, Dtype.REAL)


def _log_p(scope: Scope, site: Site, value: Lowered, hidden: tuple[str, ...]) -> Lowered:
    with scope.branch():
        scope.bind(site.name, value)
        return scope.assign(f"log_p_{site.name}", marginal(scope, site, hidden))


def initial_state_function(program: Program, groups: dict[str, Group], players: tuple[Player, ...]) -> Function | None:
    """`initial_state`: where persistent chains begin, from the base where that is fixed, and what else is carried.

    None where nothing is.
    """
    scope = Scope(program, groups, scored=False)
    entries = initial_directions(scope, players)
    for term in (node for player in players for part in player.terms for node in walk(part.expression)):
        if isinstance(term, ContrastiveGradient) and isinstance(term.sampler, Call) and persistent(term.sampler):
            site = program.by_name[term.site]
            entries[state_name(site)] = draw_base(scope, site).value
    if not entries:
        return None
    if scope.used_groups or scope.columns:
        site = next(site for site in program.sites if isinstance(site.density, Unnormalized))
        raise unsupported(f"persistent chains of {site.name!r} that begin at a learned base", site.span)
    scope.statements.append(Return(tuple(entries.values()), tuple(entries)))
    return scope.function("initial_state", "state", "what the losses carry from step to step.")


# ---- contrast with noise --------------------------------------------------------------------------------------------


def noise_contrast(scope: Scope, term: NoiseContrast) -> Lowered:
    """-log sigma(G(x)) - ratio E_noise[log sigma(-G(y))], G = log p~ - c - log p_noise - log ratio, one per datum.

    c is the learned log-normalizer (Gutmann and Hyvarinen 2012, eq. 8 and 9).
    """
    site, noise = scope.program.by_name[term.site], scope.program.by_name[term.noise]
    data = as_real(lookup(scope, site.name))
    with scope.apart("noise") if term.ratio == 1 else scope.branch():
        drawn = draw(scope, noise, stop=True)
    real = _log_odds(scope, site, noise, data, term.ratio)
    fake = _log_odds(scope, site, noise, drawn, term.ratio)
    fake = combine("call", fake, function="softplus")
    if PARTICLES in fake.axes:
        summed = fake.with_value(op("reduce_leading", fake.value, function="sum"))
        fake = replace(summed, axes=summed.axes - {PARTICLES})
    return combine("add", combine("call", negative(real), function="softplus"), fake)


def _log_odds(scope: Scope, site: Site, noise: Site, value: Lowered, ratio: int) -> Lowered:
    """log p~ - c - log p_noise - log ratio at a value."""
    with scope.branch():
        scope.bind(site.name, value)
        scope.bind(noise.name, value)
        log_p, log_noise = marginal(scope, site, ()), log_prob(scope, noise)
    constant = Lowered(Var(scope.use_group(normalizer_group(site.name))))
    odds = combine("sub", combine("sub", log_p, constant), log_noise)
    return odds if ratio == 1 else combine("sub", odds, number(math.log(ratio)))


def normalizer_group(site: str) -> str:
    """The parameter group of a learned log-normalizer."""
    return f"log_normalizer.{site}"


def with_normalizers(player: Player) -> Player:
    """The player with the log-normalizers that its terms learn among what it owns."""
    learned = tuple(
        normalizer_group(node.site)
        for part in player.terms
        for node in walk(part.expression)
        if isinstance(node, NoiseContrast)
    )
    return replace(player, owns=(*player.owns, *learned))


def normalizer_groups(players: tuple[Player, ...]) -> dict[str, Group]:
    """The groups of learned log-normalizers, which start at 0."""
    names = {name for player in players for name in player.owns if name.startswith(normalizer_group(""))}
    specs = {name: ParameterSpec(name, name, (), Initializer("constant", 0.0), REAL) for name in sorted(names)}
    return {name: Group(name, "learned", (spec,), REAL) for name, spec in specs.items()}


# ---- what is known up to log Z --------------------------------------------------------------------------------------


def free_energy(scope: Scope, term: FreeEnergy) -> Lowered:
    """log of the sum over hidden units of p~: minus the free energy of the visible ones."""
    return scope.assign("log_p", marginal(scope, scope.program.by_name[term.site], term.names))


def hidden_probabilities(scope: Scope, term: FreeEnergy, name: str) -> Lowered:
    """p(h | v) of the units of one name, exact: they are independent given the visible ones."""
    return unit_probabilities(scope, scope.program.by_name[term.site], name, term.names)


def normalizers(likelihood: Term | None) -> tuple[str, ...]:
    """The sites whose log Z a likelihood lacks."""
    nodes = () if likelihood is None else walk(likelihood)
    return tuple(dict.fromkeys(node.site for node in nodes if isinstance(node, LogNormalizer)))


def without_normalizers(term: Term) -> Term:
    """A likelihood up to log Z."""
    if not isinstance(term, Sum):
        return term
    kept = tuple(part for part in term.terms if not _is_normalizer(part))
    return kept[0] if len(kept) == 1 else Sum(kept)


def _is_normalizer(term: Term) -> bool:
    return isinstance(term, LogNormalizer) or (isinstance(term, Scale) and isinstance(term.term, LogNormalizer))


def normalizer_functions(program: Program, groups: dict[str, Group], derivation: Derivation) -> list[Function]:
    """For each unnormalized site: `unnormalized_SITE`, `anneal_SITE` and `anneal_SITE_back`, which estimate log Z."""
    result = []
    for name in normalizers(derivation.objective.likelihood):
        site = program.by_name[name]
        result.append(_unnormalized(program, groups, site, _summed(derivation, site)))
        result += [_anneal(program, groups, site, reverse=reverse) for reverse in (False, True)]
    return result


def _summed(derivation: Derivation, site: Site) -> tuple[str, ...]:
    return tuple(name for name in site.joint if derivation.eliminated.get(name) == "energy_marginal")


def _unnormalized(program: Program, groups: dict[str, Group], site: Site, hidden: tuple[str, ...]) -> Function:
    scope = Scope(program, groups)
    scope.bind(site.name, scope.column(site.name, site.typed))
    scope.statements.append(Return((marginal(scope, site, hidden).value,)))
    return scope.function(f"unnormalized_{site.name}", "density", f"log p({site.name}) + log Z: [B], nats.")


def _anneal(program: Program, groups: dict[str, Group], site: Site, *, reverse: bool) -> Function:
    scope = Scope(program, groups, scored=False)
    start = scope.column(site.name, site.typed) if reverse else None
    end, weights = anneal(scope, site, temperatures(program), start, reverse=reverse)
    scope.statements.append(Return((end.value, weights.value), (site.name, "log_weights")))
    from_, what = (f"exact draws of {site.name}", "E[1/w] = 1/Z") if reverse else ("the base", "E[w] = Z")
    doc = f"annealed importance sampling from {from_}: one chain per row, log w [B], {what}."
    return scope.function(f"anneal_{site.name}{'_back' if reverse else ''}", "sample", doc)


def temperatures(program: Program) -> int:
    """How many temperatures annealed chains pass: `evaluate: {log_z: ais(temperatures=)}`."""
    call = program.evaluate.get("log_z")
    chosen = call if isinstance(call, Call) and call.function == "ais" else Call("ais")
    count: int = bind(chosen, LOG_Z, "estimator of log Z")["temperatures"]
    return count

"""Objectives of unnormalized densities: contrastive gradients, contrast with noise; their log Z."""

from __future__ import annotations

import math
from dataclasses import replace

from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.emission.names import identifier
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.kernel import Function, Group, Return, StateEntry, Var
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import LOG_Z
from dgmppl.ir.parameters import Initializer, ParameterSpec
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import REAL, Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import draw, log_prob
from dgmppl.lowering.densities.unnormalized import density_of_energy, marginal, unit_probabilities
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import PARTICLES, Lowered, combine, negative, number, op
from dgmppl.lowering.points import draw_base, freed, join, members, point_of, point_shape, split
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.lowering.spectral import initial_directions
from dgmppl.lowering.transitions import anneal, run_chain
from dgmppl.objectives.algebra import (
    ContrastiveGradient,
    FreeEnergy,
    LogNormalizer,
    NoiseContrast,
    Scale,
    Sum,
    Term,
    walk,
)
from dgmppl.objectives.derivation import Derivation, Player

# ---- contrastive gradients ------------------------------------------------------------------------------------------


def contrastive(scope: Scope, term: ContrastiveGradient) -> Lowered:
    """log p~ at the chain's end minus log p~ at the positive value, one number per datum.

    Both values are held fixed, so that its gradient is E_p[d log p~] - E_positive[d log p~]; it bounds nothing itself.
    """
    site, call = scope.program.by_name[term.site], term.sampler
    assert isinstance(call, Call)
    if term.positive.source == "guide":
        positive = _guided(scope, site, term.positive.name)
        start: Lowered | None = None
    else:
        start = positive = point_of(scope, site)
    slots: Lowered | None = None
    if persistent(call):
        start, slots = _carried(scope, site, call)
    elif start is None:
        start = scope.assign(f"{site.name}_start", draw_base(scope, site))
    end = run_chain(scope, site, call, start, term.hidden)
    if persistent(call):
        table = StateEntry(state_name(site))
        scope.updates[table.name] = end.value if slots is None else op("put", table, slots.value, end.value)
    return combine("sub", _log_p(scope, site, end, term.hidden), _log_p(scope, site, as_real(positive), term.hidden))


def _guided(scope: Scope, site: Site, name: str) -> Lowered:
    """The point that the guide draws; `name` is the guide's for a single site."""
    sites = members(scope.program, site)
    names = [name] if len(sites) == 1 else [one.name for one in sites]
    drawn = [as_real(draw(scope, scope.program.guide_by_name[one], stop=True)) for one in names]
    return join([freed(one, value) for one, value in zip(sites, drawn, strict=True)])


def persistent(call: Call) -> bool:
    """Whether chains go on between updates."""
    given = call.keyword("persistent")
    return isinstance(given, Literal) and bool(given.value)


def buffer_size(call: Call) -> int | None:
    """How many persistent chains are kept; None for one per row of a batch."""
    given = call.keyword("buffer")
    return int(given.value) if isinstance(given, Literal) and isinstance(given.value, int | float) else None


def state_name(site: Site) -> str:
    """The entry of the run's state that holds a site's chains: its buffer, else one per row of a batch."""
    return f"{site.name}.chain"


def _carried(scope: Scope, site: Site, call: Call) -> tuple[Lowered, Lowered | None]:
    """Where persistent chains go on: a batch of them, and their places in the buffer where there is one.

    Each begins anew at the base with the probability `reinit` (Du and Mordatch 2019, algorithm 1).
    """
    others = set(site.parents) - set(density_of_energy(site).names)
    context = [name for name in others if scope.program.by_name[name].typed.plate is not None]
    if context:
        construct = f"a persistent chain of {site.name!r}, whose density changes with {context[0]!r} from row to row,"
        raise unsupported(construct, site.span, "persistent=False")
    shape = point_shape(scope.program, site)
    chains, slots = Lowered(StateEntry(state_name(site)), shape, True, Dtype.REAL), None
    if (size := buffer_size(call)) is not None:
        uniform = scope.random(f"{site.name}.slot", "uniform", (), site.typed.plate)
        chosen = Lowered(op("slots", uniform.value, size=size), (), True, Dtype.INTEGER)
        slots = scope.assign(f"{site.name}_slots", chosen)
        chains = chains.with_value(op("gather", chains.value, slots.value))
    given = call.keyword("reinit")
    if isinstance(given, Literal) and given.value:
        uniform = scope.random(f"{site.name}.reinit", "uniform", (), site.typed.plate)
        anew = combine("lt", uniform, number(float(given.value)), dtype=Dtype.BOOLEAN)
        chains = combine("call", anew, draw_base(scope, site), chains, function="where")
    return scope.assign(f"{site.name}_start", chains) if slots is not None else chains, slots


def _log_p(scope: Scope, site: Site, value: Lowered, hidden: tuple[str, ...]) -> Lowered:
    with scope.branch():
        for name, part in split(scope.program, site, value).items():
            scope.bind(name, part)
        value = marginal(scope, site, hidden)
    return scope.assign(f"log_p_{site.name}", value.with_value(replace(value.value, span=site.span)))


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
            _as_many(scope, site, buffer_size(term.sampler))
    if not entries:
        return None
    if scope.used_groups or scope.columns:
        site = next(site for site in program.sites if isinstance(site.density, Unnormalized))
        raise unsupported(f"persistent chains of {site.name!r} that begin at a learned base", site.span)
    scope.statements.append(Return(tuple(entries.values()), tuple(entries)))
    return scope.function("initial_state", "state", "what the losses carry from step to step.")


def _as_many(scope: Scope, site: Site, count: int | None) -> None:
    """Draws as many chains as a buffer holds, in the place of one per row."""
    own = {f"{one.name}.start" for one in members(scope.program, site)}
    for place, entry in enumerate(scope.noise):
        if entry.name not in own or count is None:
            continue
        if entry.kind == "library":
            raise unsupported(f"a buffer of chains of {site.name!r}, whose base the library draws,", site.span)
        scope.noise[place] = replace(entry, plate=None, shape=(count, *entry.shape))


# ---- contrast with noise --------------------------------------------------------------------------------------------


def noise_contrast(scope: Scope, term: NoiseContrast) -> Lowered:
    """-log sigma(G(x)) - ratio E_noise[log sigma(-G(y))], G = log p~ - c - log p_noise - log ratio, one per datum.

    c is the learned log-normalizer (Gutmann and Hyvarinen 2012, section 2). Ranking instead takes log(1 + sum over
    the noise of exp(G(y) - G(x))), in which c falls out whatever it depends on (Ma and Collins 2018).
    """
    site, noise = scope.program.by_name[term.site], scope.program.by_name[term.noise]
    data = as_real(lookup(scope, site.name))
    with scope.apart("noise") if term.ratio == 1 else scope.branch():
        drawn = draw(scope, noise, stop=True)
    real, fake = (_log_odds(scope, term, site, noise, value) for value in (data, drawn))
    if term.ranking:
        return combine("call", _over_noise(combine("sub", fake, real), "logsumexp"), function="softplus")
    fake = _over_noise(combine("call", fake, function="softplus"), "sum")
    return combine("add", combine("call", negative(real), function="softplus"), fake)


def _over_noise(value: Lowered, function: str) -> Lowered:
    """A reduction over the noise of each datum, where there are several."""
    if PARTICLES not in value.axes:
        return value
    reduced = value.with_value(op("reduce_leading", value.value, function=function))
    return replace(reduced, axes=reduced.axes - {PARTICLES})


def _log_odds(scope: Scope, term: NoiseContrast, site: Site, noise: Site, value: Lowered) -> Lowered:
    """log p~ - c - log p_noise - log ratio at a value; for a ranking log p~ - log p_noise."""
    with scope.branch():
        scope.bind(site.name, value)
        scope.bind(noise.name, value)
        log_p, log_noise = marginal(scope, site, ()), log_prob(scope, noise)
    if term.ranking:
        return combine("sub", log_p, log_noise)
    constant = Lowered(Var(scope.use_group(normalizer_group(site.name))))
    odds = combine("sub", combine("sub", log_p, constant), log_noise)
    return odds if term.ratio == 1 else combine("sub", odds, number(math.log(term.ratio)))


def normalizer_group(site: str) -> str:
    """The parameter group of a learned log-normalizer."""
    return f"log_normalizer.{site}"


def with_normalizers(player: Player) -> Player:
    """The player with the log-normalizers that its terms learn among what it owns."""
    learned = tuple(
        normalizer_group(node.site)
        for part in player.terms
        for node in walk(part.expression)
        if isinstance(node, NoiseContrast) and not node.ranking
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
    _bind_columns(scope, site)
    scope.statements.append(Return((marginal(scope, site, hidden).value,)))
    return scope.function(identifier(f"unnormalized_{site.name}"), "density", f"log p({site.name}) + log Z: [B], nats.")


def _bind_columns(scope: Scope, site: Site) -> None:
    """The site's point as columns of the batch, latents too."""
    for one in members(scope.program, site):
        scope.bind(one.name, scope.column(one.name, one.typed))


def _anneal(program: Program, groups: dict[str, Group], site: Site, *, reverse: bool) -> Function:
    scope = Scope(program, groups, scored=False)
    start: Lowered | None = None
    if reverse:
        _bind_columns(scope, site)
        start = point_of(scope, site)
    end, weights = anneal(scope, site, temperatures(program), start, reverse=reverse)
    ends = split(program, site, end)
    values = (*(part.value for part in ends.values()), weights.value)
    scope.statements.append(Return(values, (*ends, "log_weights")))
    from_, what = (f"exact draws of {site.name}", "E[1/w] = 1/Z") if reverse else ("the base", "E[w] = Z")
    doc = f"annealed importance sampling from {from_}: one chain per row, log w [B], {what}."
    return scope.function(identifier(f"anneal_{site.name}{'_back' if reverse else ''}"), "sample", doc)


def temperatures(program: Program) -> int:
    """How many temperatures annealed chains pass: `evaluate: {log_z: ais(temperatures=)}`."""
    call = program.evaluate.get("log_z")
    chosen = call if isinstance(call, Call) and call.function == "ais" else Call("ais")
    count: int = bind(chosen, LOG_Z, "estimator of log Z")["temperatures"]
    return count

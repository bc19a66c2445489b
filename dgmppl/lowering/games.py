"""Games between a critic and a sampler: draws of both sides, the critic on each, the halves of a dual.

The positive side holds data and the guide's draws given them, the negative side the model's own draws. What the critic
reads besides the sites that are swapped is context, and both sides share the data's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from dgmppl.ir.expressions import Name, walk
from dgmppl.ir.program import Role, Site
from dgmppl.lowering.densities import draw
from dgmppl.lowering.duals import dual_of, evaluate
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.fakes import fake
from dgmppl.lowering.layout import Lowered, combine, negative
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.lowering.spectral import constrained, normalize
from dgmppl.objectives.algebra import Conjugate, DensityRatio
from dgmppl.objectives.requests import called

Values: TypeAlias = Mapping[str, Lowered]


def conjugate(scope: Scope, term: Conjugate) -> Lowered:
    """A player's part of a dual, one number per datum.

    For the critic, which ascends it: positive(v) - negative(v), v its raw output on data and on samples. For the model,
    which descends it: what depends on its parameters; in the non-saturating variant with the halves exchanged.
    """
    dual = dual_of(term.divergence, dict(term.options))
    if term.player == "critic":
        return scope.reported("divergence", _difference(scope, term, dual.positive, dual.negative))
    raised, lowered = dual.non_saturating if term.variant == "non_saturating" else (dual.negative, dual.positive)
    if term.joint:
        return _difference(scope, term, lowered, raised)
    return negative(evaluate(scope, raised, on_samples(scope, term)))


def _difference(scope: Scope, term: Conjugate, first: str, second: str) -> Lowered:
    """A formula of the critic's output on the positive side minus one of its output on the negative side."""
    real = evaluate(scope, first, on_data(scope, term))
    return combine("sub", real, evaluate(scope, second, on_samples(scope, term)))


def density_ratio(scope: Scope, term: DensityRatio) -> Lowered:
    """log q(z | x) - log p(z) at the drawn z, as a critic's raw output estimates it."""
    return lower_expression(scope, scope.program.critics[term.critic].expression)


def on_data(scope: Scope, term: Conjugate) -> Lowered:
    """The critic's raw output on the positive side."""
    scope.remark(f"the critic on {_SIDES[term.positive]}")
    return critic(scope, term, data_side(scope, term))


def on_samples(scope: Scope, term: Conjugate) -> Lowered:
    """The critic's raw output on the negative side."""
    scope.remark(f"the critic on {_SIDES[term.negative]}")
    return critic(scope, term, model_side(scope, term))


_SIDES = {
    "data": "the data",
    "guide": "draws of the guide",
    "model": "samples of the model",
    "prior": "draws of the prior",
}


def critic(scope: Scope, term: Conjugate, values: Values) -> Lowered:
    """A critic's raw output at the values of the sites that are swapped."""
    _shared(scope, term.critic, values)
    if constrained(term):
        normalize(scope, term)
    with scope.branch():
        scope.frame.values, scope.frame.preimages = dict(values), {}
        return scope.assign("critic", lower_expression(scope, scope.program.critics[term.critic].expression))


def _shared(scope: Scope, index: int, values: Values) -> None:
    """Refuses a critic whose context is drawn: the two sides have no value of it in common."""
    program = scope.program
    pending = [part.id for part in walk(program.critics[index].expression) if isinstance(part, Name)]
    while pending:
        site = program.by_name.get(pending.pop())
        if site is None or site.name in values:
            continue
        if site.role is Role.LATENT:
            key = f"({', '.join([*values, site.name])})"
            raise unsupported(f"a critic with the latent context {site.name!r}", program.critics[index].span, key)
        pending += site.parents if site.role is Role.DETERMINISTIC else ()


# ---- the two sides --------------------------------------------------------------------------------------------------


def data_side(scope: Scope, term: Conjugate) -> Values:
    """The data's values of the sites that are swapped; latents are drawn from the guide given the data."""

    def draws() -> tuple[Lowered, ...]:
        with scope.apart(term.positive):
            for name in term.reads:
                _given_data(scope, scope.program.by_name[name])
            return tuple(lookup(scope, name) for name in term.reads)

    return _once(scope, term, ("positive", term.positive), draws)


def model_side(scope: Scope, term: Conjugate) -> Values:
    """The model's values of the sites that are swapped, their latents drawn from the prior or as `source` says."""

    def draws() -> tuple[Lowered, ...]:
        with scope.apart(term.negative):
            _from_model(scope, term)
            return tuple(lookup(scope, name) for name in term.reads)

    return _once(scope, term, ("negative", term.negative, term.options), draws)


def _once(scope: Scope, term: Conjugate, side: tuple[object, ...], draws: Callable[[], tuple[Lowered, ...]]) -> Values:
    """A side's values by name; every term of a function that reads a side reads the same draws."""
    key = (*side, term.reads)
    known = scope.cached_call(key)
    if known is None:
        known = draws()
        scope.remember_call(key, known)
    return dict(zip(term.reads, known, strict=True))


def _given_data(scope: Scope, site: Site) -> None:
    """Sees to a value given the data: the data's own, which must have no holes, or the guide's draw."""
    if site.role is not Role.OBSERVED:
        _draw_guide(scope, (site.name,))
        return
    column = scope.program.columns.get(site.name)
    if column is not None and column.missing:
        raise unsupported(f"a critic on {site.name!r}, whose data have missing entries,", site.span)


def _draw_guide(scope: Scope, names: tuple[str, ...]) -> None:
    """Draws guide sites and those that they are given, in the guide's order."""
    program = scope.program
    for name in names:
        if name not in program.guide_by_name:
            raise unsupported(f"a draw of {name!r} given the data, without a guide site,", program.by_name[name].span)
    needed = _ancestors(program.guide_by_name, names)
    for site in program.guide:
        if site.name in needed and site.role is Role.GUIDE and not scope.bound(site.name):
            draw(scope, site)


def _from_model(scope: Scope, term: Conjugate) -> None:
    """Ancestral draws of what is swapped; observed sites that are not are the data's, as context."""
    program, options = scope.program, dict(term.options)
    if called(options.get("source")) == "reconstruction":
        _reconstruct(scope)
    needed, way = _ancestors(program.by_name, term.reads), called(options.get("fake"))
    for site in program.sites:
        if site.name not in needed or scope.bound(site.name):
            continue
        if site.role is Role.OBSERVED and site.name in term.reads and way is not None:
            scope.bind(site.name, scope.assign(f"{site.name}_fake", fake(scope, site, way)))
        elif site.role is Role.LATENT or (site.role is Role.OBSERVED and site.name in term.reads):
            draw(scope, site)


def _reconstruct(scope: Scope) -> None:
    """Binds the latents to draws of the guide; the data that these are given are not the model's samples."""
    program = scope.program
    names = tuple(site.name for site in program.latents if site.name in program.guide_by_name)
    with scope.branch():
        _draw_guide(scope, names)
        drawn = {name: lookup(scope, name) for name in names}
    for name, value in drawn.items():
        scope.bind(name, value)


def _ancestors(sites: Mapping[str, Site], names: tuple[str, ...]) -> frozenset[str]:
    """Names, and everything that they are computed or drawn from."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in sites and name not in found:
            found.add(name)
            pending += sites[name].parents
    return frozenset(found)

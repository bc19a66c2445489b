"""Games between a critic and a sampler: draws of both sides, the critic on each, the halves of a dual.

The positive side holds data and the guide's draws given them, the negative side the model's own draws. What the critic
reads besides the sites that are swapped is context, and both sides share the data's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from dgmppl.ir.expressions import Name, walk
from dgmppl.ir.program import Role, Site
from dgmppl.lowering.densities import draw
from dgmppl.lowering.duals import dual_of, evaluate
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.fakes import STAND_INS, fake, log_score, silent, with_score
from dgmppl.lowering.layout import SIDES, Lowered, combine, negative, op
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
        return scope.reported("divergence", _difference(scope, term, dual.positive, dual.negative, dual.whole))
    raised, lowered = dual.non_saturating if term.variant == "non_saturating" else (dual.negative, dual.positive)
    if term.joint:
        return _difference(scope, term, lowered, raised)
    return negative(_half(scope, term, _NEGATIVE, raised))


def _difference(scope: Scope, term: Conjugate, first: str, second: str, whole: str = "") -> Lowered:
    """A formula of the critic's output on the positive side minus one of its output on the negative side."""
    both = _on_both(scope, term)
    if both is not None and whole:
        return evaluate(scope, whole, v=both[0], w=both[1])
    if both is not None:
        return combine("sub", *(evaluate(scope, half, v=raw) for half, raw in zip((first, second), both, strict=True)))
    real = _half(scope, term, _POSITIVE, first)
    return combine("sub", real, _half(scope, term, _NEGATIVE, second))


def _half(scope: Scope, term: Conjugate, side: str, formula: str) -> Lowered:
    """A formula of the critic's output on a side, with the gradient of how that side's samples were drawn."""
    output = on_data if side == _POSITIVE else on_samples
    value, score = evaluate(scope, formula, v=output(scope, term)), scope.cached_call(("score", *_key(term, side)))
    return value if score is None else with_score(scope, value, *score)


def density_ratio(scope: Scope, term: DensityRatio) -> Lowered:
    """log q(z | x) - log p(z) at the drawn z, as a critic's raw output estimates it."""
    return lower_expression(scope, scope.program.critics[term.critic].expression)


def on_data(scope: Scope, term: Conjugate) -> Lowered:
    """The critic's raw output on the positive side."""
    scope.remark(f"the critic on {_ORIGINS[term.positive]}")
    return critic(scope, term, data_side(scope, term))


def on_samples(scope: Scope, term: Conjugate) -> Lowered:
    """The critic's raw output on the negative side."""
    scope.remark(f"the critic on {_ORIGINS[term.negative]}")
    return critic(scope, term, model_side(scope, term))


_ORIGINS = {
    "data": "the data",
    "guide": "draws of the guide",
    "model": "samples of the model",
    "prior": "draws of the prior",
}


def _on_both(scope: Scope, term: Conjugate) -> tuple[Lowered, Lowered] | None:
    """The critic's raw output on the positive side and on the negative one, by one evaluation on a left axis of two.

    None where the sides' layouts differ, or where a side's draws are taught by their score, which the other's are not.
    """
    real, made = data_side(scope, term), model_side(scope, term)
    scored = any(scope.cached_call(("score", *_key(term, side))) is not None for side in (_POSITIVE, _NEGATIVE))
    if scored or not all(_alike(real[name], made[name]) for name in term.reads):
        return None
    scope.remark(f"the critic on {_ORIGINS[term.positive]} and on {_ORIGINS[term.negative]}")
    sides = {name: scope.assign(f"{name}_sides", _beside(real[name], made[name])) for name in term.reads}
    output = critic(scope, term, sides)
    plain = replace(output, axes=output.axes - {SIDES})
    first, second = (plain.with_value(op("leading", output.value, item=item)) for item in (0, 1))
    return scope.assign("critic_data", first), scope.assign("critic_fake", second)


def _alike(real: Lowered, made: Lowered) -> bool:
    """Whether two values have a batch axis of data each, and nothing else to the left of equal events."""
    layouts = [(value.shape, value.dtype, value.batched, value.axes) for value in (real, made)]
    return layouts[0] == layouts[1] and real.batched and not real.axes


def _beside(real: Lowered, made: Lowered) -> Lowered:
    """Two values as one, on a new left axis."""
    joined = op("stack", real.value, made.value, axis=-(real.rank + 2))
    return replace(real, value=joined, axes=frozenset({SIDES}))


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


_POSITIVE, _NEGATIVE = "positive", "negative"


def data_side(scope: Scope, term: Conjugate) -> Values:
    """The data's values of the sites that are swapped; latents are drawn from the guide given the data."""

    def draws() -> list[Site]:
        sites = [scope.program.by_name[name] for name in term.reads]
        return [drawn for site in sites for drawn in _given_data(scope, site, _taught(term))]

    return _once(scope, term, _POSITIVE, draws)


def model_side(scope: Scope, term: Conjugate) -> Values:
    """The model's values of the sites that are swapped, their latents drawn from the prior or as `source` says."""
    return _once(scope, term, _NEGATIVE, lambda: _from_model(scope, term))


def _key(term: Conjugate, side: str) -> tuple[object, ...]:
    """What a side's draws depend on."""
    return (side, getattr(term, side), term.reads, term.options if side == _NEGATIVE else ())


def _once(scope: Scope, term: Conjugate, side: str, draws: Callable[[], list[Site]]) -> Values:
    """A side's values by name; every term of a function that reads a side reads the same draws."""
    key = _key(term, side)
    known = scope.cached_call(key)
    if known is None:
        with scope.apart(getattr(term, side)):
            drawn = draws()
            known = tuple(lookup(scope, name) for name in term.reads)
            score = log_score(scope, drawn) if _taught(term) else None
        scope.remember_call(key, known)
        if score is not None:
            scope.remember_call(("score", *key), (score,))
    return dict(zip(term.reads, known, strict=True))


def _taught(term: Conjugate) -> bool:
    """Whether a model's draws that carry no gradient are taught by their score."""
    return term.player == "model" and called(dict(term.options).get("fake")) == "score_function"


def _given_data(scope: Scope, site: Site, taught: bool) -> list[Site]:
    """Sees to a value given the data: the data's own, which must have no holes, or the guide's draw; what is drawn."""
    if site.role is not Role.OBSERVED:
        return _draw_guide(scope, (site.name,), taught)
    column = scope.program.columns.get(site.name)
    if column is not None and column.missing:
        raise unsupported(f"a critic on {site.name!r}, whose data have missing entries,", site.span)
    return []


def _draw_guide(scope: Scope, names: tuple[str, ...], taught: bool = False) -> list[Site]:
    """Draws guide sites and those that they are given, in the guide's order; returns what it has drawn."""
    program = scope.program
    for name in names:
        if name not in program.guide_by_name:
            raise unsupported(f"a draw of {name!r} given the data, without a guide site,", program.by_name[name].span)
    needed = _ancestors(program.guide_by_name, names)
    drawn = [
        site for site in program.guide if site.name in needed and site.role is Role.GUIDE and not scope.bound(site.name)
    ]
    for site in drawn:
        draw(scope, site, stop=taught and silent(scope, site))
    return drawn


def _from_model(scope: Scope, term: Conjugate) -> list[Site]:
    """Ancestral draws of what is swapped; observed sites that are not are the data's, as context."""
    program, options = scope.program, dict(term.options)
    if called(options.get("source")) == "reconstruction":
        _reconstruct(scope)
    needed, way, taught = _ancestors(program.by_name, term.reads), called(options.get("fake")), _taught(term)
    drawn = []
    for site in program.sites:
        swapped = site.role is Role.OBSERVED and site.name in term.reads
        if site.name not in needed or scope.bound(site.name) or not (swapped or site.role is Role.LATENT):
            continue
        if swapped and way in STAND_INS:
            scope.bind(site.name, scope.assign(f"{site.name}_fake", fake(scope, site, way)))
        else:
            draw(scope, site, stop=taught and silent(scope, site))
            drawn.append(site)
    return drawn


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
    """Names, and everything that they are computed or drawn from; other data are context."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in sites and name not in found and (name in names or sites[name].role is not Role.OBSERVED):
            found.add(name)
            pending += sites[name].parents
    return frozenset(found)

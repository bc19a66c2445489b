"""Objectives by a critic: a divergence between data and model, estimated by its variational dual."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from dgmppl.ir.expressions import Call, Expression, Literal, text
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.options import PENALTIES
from dgmppl.ir.program import Critic, Program, Role, Site
from dgmppl.objectives.algebra import Conjugate, Penalty, Scale
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.contributions import Contribution, Share, critic_groups, model_groups, site_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.divergences import ALPHA, DIVERGENCES, Divergence, FDivergence, alpha_divergence
from dgmppl.objectives.generators import declared
from dgmppl.objectives.requests import Request, called, number, problem
from dgmppl.objectives.state import State
from dgmppl.objectives.terms.densities import critic_name

# Penalties that are no term of a loss, but change the critic itself.
_CONSTRAINTS = {
    "spectral": "The critic's weights are divided by their largest singular values (Miyato et al. 2018).",
    "clip": (
        "Every weight of the critic is clamped after each of its steps (Arjovsky et al. 2017, algorithm 1), so that "
        "the supremum is over a restricted class of Lipschitz functions: a Wasserstein distance is not estimated."
    ),
}

# What is to be said of samples that reach the critic in another form; whether value and gradient stay unbiased.
_FAKES = {
    "mean": ("The critic is shown means in the place of samples: another model's divergence.", False, False),
    "straight_through": ("Samples carry the gradient of their mean: biased (Bengio et al. 2013).", True, False),
    "score_function": (
        "Samples carry the score-function gradient, which is unbiased, with the mean of the other rows' losses as "
        "baseline (Mnih and Rezende 2016).", True, True,
    ),
}  # fmt: skip

_SOURCES = {
    "gradient": "Gulrajani et al. 2017, eq. 3",
    "r1": "Mescheder, Geiger and Nowozin 2018, eq. 9",
    "r2": "Mescheder, Geiger and Nowozin 2018, eq. 10",
    "spectral": "Miyato, Kataoka, Koyama and Yoshida 2018",
    "clip": "Arjovsky, Chintala and Bottou 2017, algorithm 1",
}

# What a Wasserstein critic is held to where nothing is asked for (Gulrajani et al. 2017).
_LIPSCHITZ = Call("gradient", (Literal(10.0),))


def adversarial(state: State, request: Request) -> Share:
    """A divergence between data and model, estimated by a critic (Goodfellow et al. 2014; Nowozin et al. 2016)."""
    index = _critic(state, request)
    divergence, settings = _divergence(request)
    held = _constraint(request)
    fake = _fake(state, request, index)
    reads = state.structure.program.critics[index].reads
    symbol = _symbol(state, divergence, reads)
    symbol, direction = _estimated(divergence, symbol, request)
    variant = _variant(divergence, request)
    _unbounded(state.structure.program.critics[index], divergence, request)
    joint = any(state.structure.name_of(name) not in state.structure.observed_names for name in reads)
    options = (*settings, *fake, *held)
    played = Conjugate(divergence.name, index, reads, "critic", options=options, joint=joint)
    dual = PlayerTerm(Scale(-1.0, played), symbol, direction)
    saturating = variant == "saturating"
    said, unbiased_value, unbiased_gradient = _FAKES.get(called(request.get("fake")) or "", ("", True, True))
    fixed = symbol if joint else f"{symbol} − E_{{p_data}}[T], whose second part it does not move"
    loss = PlayerTerm(
        replace(played, player="model", variant=variant),
        fixed if saturating else f"{symbol}, by the non-saturating variant of its descent",
        direction if saturating else Direction.NONE,
        value_unbiased=unbiased_value,
        gradient_unbiased=unbiased_gradient,
        weight=request.weight,
    )
    terms = (dual, *_penalty(divergence, played, request))
    critic = Contribution(critic_name(state, index), critic_groups(state.structure.program, index), terms)
    steps = request.whole("critic_steps") or 1
    model = Contribution("model", model_groups(state.structure) - critic.owns, (loss,), steps)
    notes = (*_notes(divergence, symbol, direction, variant), *(_CONSTRAINTS[called(asked) or ""] for _, asked in held))
    notes = (*notes, *_slopes(state.structure.program, terms, reads), *((said,) if said else ()))
    sources = (divergence.reference, *filter(None, (_SOURCES.get(called(_held(divergence, request)) or ""),)))
    return Share("divergence_lower_bound", symbol, (critic, model), notes, sources)


def _critic(state: State, request: Request) -> int:
    """The critic of a site, or the only one there is."""
    critics = state.structure.program.critics
    name = called(request.get("site"))
    found = [index for index, critic in enumerate(critics) if name is None or name in critic.reads]
    if len(found) == 1 or (found and name is not None):
        return found[0]
    what = (
        "several critics could be meant"
        if found
        else "the model has no critic"
        if not critics
        else f"no critic reads {name}"
    )
    target = name or next(iter(sorted(state.structure.observed_names)), "x")
    raise problem(
        "objective-critic",
        f"adversarial(): {what}",
        request.span,
        fix="name the site: `adversarial(x)`" if found else f"add to `critics`: `{target}: discriminator({target})`",
    )


def _divergence(request: Request) -> tuple[Divergence, tuple[tuple[str, Expression], ...]]:
    """The divergence that a term names, with the settings that make it."""
    word, written = request.word("divergence"), request.get("divergence")
    if word == "f" and isinstance(written, Call):
        divergence, generator = declared(written)
        return divergence, (("generator", generator),)
    if word != "alpha":
        return DIVERGENCES[word], ()
    given = [*written.arguments, *(value for _, value in written.keywords)] if isinstance(written, Call) else []
    order = number(given[0]) if given else ALPHA
    if order is None or order <= 0 or order == 1:
        raise problem(
            "objective-alpha",
            "the order of an alpha-divergence is positive and not 1",
            request.span,
            fix="write `divergence=kl` for the limit at 1, `divergence=reverse_kl` for the limit at 0",
        )
    return alpha_divergence(order), (("alpha", Literal(order)),)


def _symbol(state: State, divergence: Divergence, reads: tuple[str, ...]) -> str:
    """The divergence between the data's and the model's distribution of what the critic reads."""
    observed = [name for name in reads if state.structure.name_of(name) in state.structure.observed_names]
    latent = [name for name in reads if name not in observed]
    x, z = ", ".join(observed), ", ".join(latent)
    data, model = (f"p_data({x}) q({z} | {x})", f"p({z}) p({x} | {z})") if latent else ("p_data", "p_model")
    sides = {"p ‖ q": f"{data} ‖ {model}", "q ‖ p": f"{model} ‖ {data}", "(p, q)": f"({data}, {model})"}
    for pattern, replacement in sides.items():
        if pattern in divergence.symbol:
            return divergence.symbol.replace(pattern, replacement)
    return divergence.symbol


def _estimated(divergence: Divergence, symbol: str, request: Request) -> tuple[str, Direction]:
    """What the dual's value lies below: the divergence; over clamped critics, a supremum that has no other name.

    A slope that is held to one by a penalty, or layer by layer, exceeds one somewhere, so that nothing is bounded.
    """
    asked = request.get("penalty")
    if divergence.lipschitz and called(asked) == "clip":
        return "sup over clamped T of E_{p_data}[T] − E_{p_model}[T]", Direction.LOWER
    return symbol, Direction.NONE if divergence.lipschitz else Direction.LOWER


def _fake(state: State, request: Request, index: int) -> tuple[tuple[str, Expression], ...]:
    """How samples of the model reach the critic; refuses what would send no gradient to what made them."""
    fake, source = request.get("fake"), request.word("source")
    program, way = state.structure.program, called(request.get("fake"))
    reads = program.critics[index].reads
    if way == "score_function":
        _baseline(program, request)
    for site in _silenced(program, reads, source == "reconstruction"):
        swapped = site.role is Role.OBSERVED and site.name in reads
        if (way == "score_function" and source == "prior") or (way is not None and swapped):
            continue
        raise problem(
            "objective-fake",
            f"adversarial({reads[0]}): samples of {site.name} carry no gradient",
            request.span or site.span,
            found=f"{site.name} can {abilities(program, site).describe()}",
            expected="a site with RSAMPLE, or fake=mean | straight_through | score_function"
            if swapped
            else "a site with RSAMPLE, or fake=score_function",
            fix=f"write `adversarial({reads[0]}, fake=score_function)`" if source == "prior" else None,
        )
    chosen = (("fake", fake),) if fake is not None else ()
    return chosen if source == "prior" else (*chosen, ("source", Literal(source)))


def _unbounded(critic: Critic, divergence: Divergence, request: Request) -> None:
    """Refuses a squashed critic where its values are distances: no supremum over such critics is one."""
    expression = critic.expression
    if not divergence.lipschitz or not isinstance(expression, Call) or expression.function not in FUNCTIONS:
        return
    image = FUNCTIONS[expression.function].image
    if image is not None and image.kind in {"unit", "interval"}:
        raise problem(
            "objective-critic",
            f"{divergence.name} compares the critic's values themselves, and {expression.function} squashes them",
            critic.span or request.span,
            expected="a critic with values on the whole line",
            found=text(expression),
            fix=f"write `{', '.join(critic.reads)}: {', '.join(map(text, expression.arguments))}`",
        )


def _silenced(program: Program, reads: tuple[str, ...], reconstruction: bool) -> Iterator[Site]:
    """Draws on the way to what a critic reads that pass no gradient on, though something behind them is trained."""
    latents = frozenset(site.name for site in program.latents)
    guided = latents if reconstruction else latents & set(reads)
    for sites, names in ((program.by_name, frozenset(reads)), (program.guide_by_name, guided)):
        for site in _behind(sites, names):
            drawn = site.role in {Role.LATENT, Role.GUIDE} or (site.role is Role.OBSERVED and site.name in reads)
            if not drawn or Ability.RSAMPLE in abilities(program, site):
                continue
            if any(site_groups(program, part) for part in _behind(sites, frozenset({site.name}))):
                yield site


def _behind(sites: Mapping[str, Site], names: frozenset[str]) -> list[Site]:
    """Sites and all that they are made of, as far as these are not data."""
    found: dict[str, Site] = {}
    pending = list(names)
    while pending:
        site = sites.get(pending.pop())
        if site is not None and site.name not in found and (site.role is not Role.OBSERVED or site.name in names):
            found[site.name] = site
            pending += site.parents
    return list(found.values())


def _baseline(program: Program, request: Request) -> None:
    """Refuses a score-function gradient of single rows: a row's baseline is the mean of the others."""
    if 1 in {program.train.batch_size, program.rows}:
        raise problem(
            "objective-baseline",
            "the score-function gradient of a row takes the mean of the other rows as its baseline",
            request.span,
            expected="at least two rows in a batch",
            fix="write `train: {batch_size: 64}`",
        )


def _variant(divergence: Divergence, request: Request) -> str:
    if not request.flag("saturating"):
        return divergence.variants[0]
    if "saturating" not in divergence.variants:
        raise problem(
            "objective-variant",
            f"{divergence.name} has no saturating generator update",
            request.span,
            expected=", ".join(divergence.variants),
            fix="leave `saturating` out",
        )
    return "saturating"


def _penalty(divergence: Divergence, dual: Conjugate, request: Request) -> tuple[PlayerTerm, ...]:
    """The critic's regularizer: as asked for; a Lipschitz constraint where the dual is over Lipschitz functions."""
    asked = _held(divergence, request)
    if asked is None or called(asked) in _CONSTRAINTS:
        return ()
    return (PlayerTerm(Penalty(dual.critic, asked, dual), "the critic's penalty", Direction.NONE),)


def _held(divergence: Divergence, request: Request) -> Expression | None:
    """What holds the critic: as asked for, else a gradient penalty where the dual is over Lipschitz functions."""
    return request.get("penalty") or (_LIPSCHITZ if divergence.lipschitz else None)


def _slopes(program: Program, terms: Iterable[PlayerTerm], reads: tuple[str, ...]) -> Iterator[str]:
    """What is to be said of a penalty on slopes: which it lets be, and where it stands in a critic's way."""
    for asked in (term.expression.penalty for term in terms if isinstance(term.expression, Penalty)):
        entry = PENALTIES[called(asked) or ""]
        if entry.argument("sided") is None:
            continue
        if isinstance(asked, Call) and called(entry.given(asked, "sided")) == "one":
            yield "The penalty lets slopes below one be (Petzka, Fischer and Lukovnikov 2018)."
        elif sum(math.prod(program.by_name[name].typed.shape) for name in reads) == 1:
            yield (
                "In one dimension a critic that starts with the wrong sign keeps it: its slope would have to pass "
                "zero, which the penalty forbids; one with sided=one does not."
            )


def _constraint(request: Request) -> tuple[tuple[str, Expression], ...]:
    """What the critic is held to by its form, in the losses of both players."""
    asked = request.get("penalty")
    return (("penalty", asked),) if asked is not None and called(asked) in _CONSTRAINTS else ()


def _notes(divergence: Divergence, symbol: str, direction: Direction, variant: str) -> tuple[str, ...]:
    what = "a lower bound on" if direction is Direction.LOWER else "an estimate, no bound, of"
    notes = [f"The critic gives {what} {symbol}, which the generator lowers: no guarantee on the divergence."]
    if isinstance(divergence, FDivergence):
        notes.append(f"{divergence.name}: {divergence.statement}.")
    if divergence.limit and not (divergence.lipschitz and direction is Direction.LOWER):
        notes.append(f"{divergence.name}: {divergence.limit}.")
    if variant == "non_saturating" and "saturating" in divergence.variants:
        notes.append("The generator's update is the non-saturating variant; saturating=True descends the dual itself.")
    return tuple(notes)

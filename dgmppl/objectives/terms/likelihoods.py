"""Objectives that maximize a likelihood or a bound on it: `mle elbo iwae vlb supervise`."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.densities import DiffusionChain, Elementary
from dgmppl.ir.expressions import Call, Expression, Literal
from dgmppl.ir.objective_options import ESTIMATORS
from dgmppl.objectives.algebra import Draw, FreeEnergy, LogDensity, Scale, Supervision, Term, walk
from dgmppl.objectives.bounds import (
    BoundOptions,
    doubly_reparameterized,
    estimators,
    guided_latents,
    likelihood,
    unnormalized,
)
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.contributions import Contribution, Share, evidence, model_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.frozen import frozen_guide
from dgmppl.objectives.requests import Request, called, problem
from dgmppl.objectives.state import Factor, State, total
from dgmppl.objectives.terms.densities import energy_player, ratio_critic, special_notes
from dgmppl.objectives.terms.transport import steadying

_BIASED = frozenset({"gumbel", "straight_through"})
FORWARD_KL = "KL(p_data ‖ p_model)"


def mle(state: State, request: Request) -> Share:
    """Maximum likelihood: minimize -E_data[log p(x)], for every observed site whose log p the rules give exactly."""
    factors = restricted(state, called(request.get("site")))
    scope = frozenset[str]().union(*(factor.scope for factor in factors))
    inexact = [name for name in guided_latents(state) if name in scope]
    inexact += [factor.site for factor in factors if _bounded(factor.term)]
    if inexact or not factors:
        what = inexact[0] if inexact else "the model"
        raise problem(
            "objective-not-exact",
            f"mle() needs an exact log p(x), but {what} leaves a bound or an unknown normalizer",
            request.span,
            fix="write `elbo()`, or leave `objective` out",
        )
    expression = Scale(-1.0, total(factor.term for factor in factors))
    everything = len(factors) == len(state.factors)
    about = evidence(state.structure, None if everything else [factor.site for factor in factors])
    term = PlayerTerm(expression, about, Direction.EQUAL, weight=request.weight)
    return Share("exact_likelihood", FORWARD_KL, (Contribution("model", model_groups(state.structure), (term,)),))


def restricted(state: State, site: str | None) -> tuple[Factor, ...]:
    """The normalized factors that are left, all of them or those of one site."""
    normalized = [factor for factor in state.factors if not _lacks_normalizer(factor.term)]
    return tuple(factor for factor in normalized if site is None or factor.site == state.structure.name_of(site))


def _lacks_normalizer(term: Term) -> bool:
    return any(
        isinstance(part, FreeEnergy) or (isinstance(part, LogDensity) and part.rule == "unnormalized")
        for part in walk(term)
    )


def _bounded(term: object) -> bool:
    return isinstance(term, LogDensity) and term.rule == "diffusion_bound"


def elbo(state: State, request: Request) -> Share:
    """The evidence lower bound, as far as anything is left to bound; K particles are averaged."""
    options = BoundOptions(request.whole("particles"), False, request.scalar("beta"), _estimators(state, request))
    return bound(state, request, options)


def iwae(state: State, request: Request) -> Share:
    """The importance-weighted bound: log of the mean of K importance weights (Burda et al. 2016, section 3)."""
    if not guided_latents(state):
        raise problem(
            "objective-nothing-to-bound",
            "iwae() bounds nothing: no latent is left for a guide",
            request.span,
            fix="write `mle()`, or leave `objective` out",
        )
    options = BoundOptions(request.whole("particles"), True)
    return bound(state, request, options)


def bound(state: State, request: Request, options: BoundOptions) -> Share:
    """The share of a bound with given options."""
    latents = guided_latents(state)
    lacking = unnormalized(state)
    silent = [name for name in lacking if name not in state.structure.guided]
    if silent or not state.factors:
        what = f"{silent[0]} is known up to log Z" if silent else "the data have samples only"
        raise problem(
            "objective-needs-density",
            f"{request.call.function}() needs a normalized density or a bound on it, but {what}",
            request.span,
            fix="leave `objective` out",
        )
    ratios = [name for name in latents if state.eliminated[name] == "implicit_latent"]
    bounded = bool(latents) or any(_bounded(factor.term) for factor in state.start)
    expression = Scale(-1.0, likelihood(state, options))
    draws = estimators(state, latents, options)
    biased = [draw.name for draw in draws if draw.estimator in _BIASED]
    relaxed = [draw.name for draw in draws if draw.estimator == "gumbel"]
    direction = Direction.LOWER if bounded else Direction.EQUAL
    if ratios or options.beta != 1.0 or lacking:
        direction = Direction.NONE
    estimates = evidence(state.structure) + (" + " + " + ".join(f"log Z_{name}" for name in lacking) if lacking else "")
    if lacking and not ratios and options.beta == 1.0:
        direction = Direction.LOWER
    term = PlayerTerm(
        expression,
        estimates,
        direction,
        value_unbiased=not (ratios or relaxed),
        gradient_unbiased=not (biased or ratios),
        weight=request.weight,
    )
    status = "lower_bound" if bounded else "exact_likelihood"
    if ratios:
        status = "mixed"
    elif options.beta != 1.0:
        status = "reweighted_bound"
    others = [ratio_critic(state, name) for name in ratios] + [energy_player(state, name) for name in lacking]
    player = Contribution("model", model_groups(state.structure), (term,))
    notes = _notes(state, options, draws, bounded) + special_notes(state)
    others += steadying(state, expression)
    return Share(status, None if ratios else FORWARD_KL, (*others, player), notes, _sources(state, draws, options))


_GRADIENTS = {
    "pathwise": "gradients pass through the draw (pathwise)",
    "enumerate": "summed over its states, no sampling noise",
    "score_function": "score-function gradient, the baseline from the other particles",
    "gumbel": "a relaxed draw in training: the loss and its gradient are biased, the less the lower the temperature",
    "straight_through": "a hard draw with the gradient of its mean: biased",
}


def _gradients(state: State, draws: tuple[Draw, ...], options: BoundOptions) -> Iterator[str]:
    """How gradients reach the guide, draw by draw."""
    for draw in draws:
        frozen = frozen_guide(state.structure, draw.name)
        yield f"q({draw.name}): {'frozen, no gradient reaches it' if frozen else _GRADIENTS[draw.estimator]}."
    if options.importance and draws:
        yield f"The guide's gradient under the importance-weighted bound is {_IMPORTANCE[_weighted(state, draws)][0]}."


# How the guide's gradient is taken under a log-mean-exp: in words, and its source.
_IMPORTANCE = {
    "doubly": ("doubly reparameterized (DReG)", "Tucker et al. 2019"),
    "pathwise": ("pathwise; its signal-to-noise ratio falls with the particles", "Rainforth et al. 2018"),
    "vimco": (
        "VIMCO: in a particle's baseline the others' geometric mean stands for its weight",
        "Mnih and Rezende 2016",
    ),
}


def _weighted(state: State, draws: tuple[Draw, ...]) -> str:
    if doubly_reparameterized(state, draws):
        return "doubly"
    return "pathwise" if all(draw.estimator == "pathwise" for draw in draws) else "vimco"


_SOFT = {"gumbel": "Jang, Gu and Poole 2017", "straight_through": "Bengio, Leonard and Courville 2013"}


def _sources(state: State, draws: tuple[Draw, ...], options: BoundOptions) -> tuple[str, ...]:
    if not options.importance or not draws:
        return tuple(_SOFT[draw.estimator] for draw in draws if draw.estimator in _SOFT)
    return ("Burda, Grosse and Salakhutdinov 2016, section 3", _IMPORTANCE[_weighted(state, draws)][1])


def _notes(state: State, options: BoundOptions, draws: tuple[Draw, ...], bounded: bool) -> tuple[str, ...]:
    notes = list(_gradients(state, draws, options))
    if not bounded:
        notes.append(
            "Nothing is left to bound: every latent is eliminated exactly, so this is the log likelihood itself."
        )
    if options.beta != 1.0:
        notes.append("beta reweights the divergence from the prior: with beta below 1 the value bounds nothing.")
    notes += [
        f"Rows with {name} use the bound of the joint log p with it, the others take the expectation under q({name}); "
        f"q({name}) gets no gradient from the rows with {name} unless supervise({name}) is added."
        for name in state.structure.partly_observed
        if name in state.structure.guided
    ]
    return tuple(notes)


Chosen = tuple[str, tuple[tuple[str, Expression], ...]]


def _estimators(state: State, request: Request) -> dict[str, Chosen]:
    found: dict[str, Chosen] = {}
    for key, value in request.mapping("estimator"):
        name = state.structure.name_of(key)
        if name not in state.structure.guided:
            raise problem("objective-estimator", f"estimator names {key}, which the guide does not draw", value.span)
        _check_baseline(value, request)
        _check_pathwise(state, name, value)
        _check_indicator(state, name, value)
        found[name] = (called(value) or "", _options(value))
    return found


def _options(value: Expression) -> tuple[tuple[str, Expression], ...]:
    """An estimator's options by name, those with a default filled in."""
    call = value if isinstance(value, Call) else Call(called(value) or "")
    entry = ESTIMATORS[call.function]
    given = [(argument, entry.given(call, argument.name)) for argument in entry.arguments]
    filled = [
        (argument.name, Literal(argument.default) if option is None and isinstance(argument.default, float) else option)
        for argument, option in given
    ]
    return tuple((name, option) for name, option in filled if option is not None)


def _check_indicator(state: State, name: str, value: Expression) -> None:
    """What lies between classes is a vector of their weights: between two classes' numbers there is another class."""
    site = state.structure.guided[name].site
    indicator = isinstance(site.density, Elementary) and site.typed.support.kind == "binary"
    if called(value) in _BIASED and not indicator:
        raise problem(
            "objective-estimator",
            f"{called(value)} takes indicators, and {name} has none",
            value.span,
            expected="a latent that is Bernoulli or OneHotCategorical in the guide",
            fix="write the latent as OneHotCategorical, or take score_function or enumerate",
        )


def _check_pathwise(state: State, name: str, value: Expression) -> None:
    able = abilities(state.structure.program, state.structure.guided[name].site)
    if called(value) == "pathwise" and Ability.RSAMPLE not in able:
        raise problem(
            "objective-estimator",
            f"the guide of {name} has no pathwise gradient",
            value.span,
            found=f"it can {able.describe()}",
            expected="enumerate, score_function, gumbel or straight_through",
        )


def _check_baseline(value: Expression, request: Request) -> None:
    """A score function with one particle must name its baseline: there is no other particle to take it from."""
    single = request.whole("particles") == 1
    named = isinstance(value, Call) and value.keyword("baseline") is not None
    if called(value) == "score_function" and single and not named:
        raise problem(
            "objective-baseline",
            "a score function with one particle has no baseline",
            request.span,
            fix="take particles=2 or more",
        )


def vlb(state: State, request: Request) -> Share:
    """The variational bound of a diffusion, whatever weighting it was declared with."""
    if not any(isinstance(variable.site.density, DiffusionChain) for variable in state.structure.variables.values()):
        raise problem(
            "objective-needs-diffusion",
            "vlb() needs a diffusion, and the model has none",
            request.span,
            fix="write `elbo()` for other latents, or declare `x: Diffusion(denoiser, ...)`",
        )
    return bound(state, request, BoundOptions())


def supervise(state: State, request: Request) -> Share:
    """log q(y | ...) on the rows in which the data hold y (Kingma et al. 2014, eq. 9)."""
    name = called(request.get("site"))
    guide = state.structure.guided.get(state.structure.name_of(name)) if name is not None else None
    if guide is None or name not in state.structure.observed_names:
        what = "names no site" if name is None else f"{name!r} is not an observed site with a guide"
        raise problem(
            "objective-supervise",
            f"supervise(): {what}",
            request.span,
            expected="an observed site, missing in some rows, whose guide is declared",
        )
    term = PlayerTerm(
        Scale(-1.0, Supervision(guide.name, guide.given)),
        f"E_data[log q({name} | {', '.join(guide.given)})]",
        Direction.EQUAL,
        weight=request.weight,
    )
    player = Contribution("model", model_groups(state.structure), (term,))
    return Share("regression", None, (player,), (), ("Kingma, Rezende, Mohamed and Welling 2014, eq. 9",))

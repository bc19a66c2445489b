"""The likelihood as far as the rules get: the factors that are left, and a guide's expectation around them.

log p(z | a) - log q(z | b) becomes KL(q || p) only where that is an identity: the enclosing body is linear (never under
a logarithm of a mean), the factor log p(z | a) still stands alone, no variable of `a` is sampled after z in the guide,
and both sides have a closed form. It stays inside the expectation over whatever a and b still contain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dgmppl.ir.densities import Elementary
from dgmppl.ir.expressions import Expression
from dgmppl.objectives.algebra import (
    KL,
    DensityRatio,
    Draw,
    Expectation,
    LogDensity,
    LogMeanExp,
    LogNormalizer,
    Scale,
    Term,
)
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.closed_forms import closed_form
from dgmppl.objectives.expansion import rule_of
from dgmppl.objectives.rules.enumerate import LIMIT
from dgmppl.objectives.rules.implicit_latent import critic_of
from dgmppl.objectives.state import Factor, State, log_density, total
from dgmppl.objectives.structure import Variable


@dataclass(frozen=True)
class BoundOptions:
    """What `elbo` and `iwae` take.

    Attributes:
        particles: K; None for one, or two where a score function needs a baseline.
        importance: the logarithm stands outside the mean over particles.
        beta: weight of log q - log p of the guided latents.
        estimators: latent -> (estimator, its options), where the spec names one.
        normalizers: whether -log Z of unnormalized densities is written (in the likelihood) or lacking (in a loss).
    """

    particles: int | None = None
    importance: bool = False
    beta: float | Expression = 1.0
    estimators: Mapping[str, tuple[str, tuple[tuple[str, Expression], ...]]] = field(default_factory=dict)
    normalizers: bool = False


def guided_latents(state: State) -> tuple[str, ...]:
    """The latents that a guide's expectation removes, in sampling order."""
    return tuple(
        name for name in state.structure.guided if state.eliminated.get(name) in {"variational", "implicit_latent"}
    )


def likelihood(state: State, options: BoundOptions) -> Term:
    """log p(x | parameters), or its bound.

    Args:
        state: with every latent eliminated.
        options: how the guide's expectation is taken.
    """
    missing = [Scale(-1.0, LogNormalizer(name)) for name in unnormalized(state)] if options.normalizers else []
    latents = guided_latents(state)
    if not latents:
        return total([*(factor.term for factor in state.factors), *missing])
    draws = estimators(state, latents, options)
    body, outside = _split(state, latents, options)
    needed = _needed(state, body, latents)
    terms = total(factor.term for factor in body)
    if options.importance:
        terms = LogMeanExp(options.particles or 1, terms, doubly_reparameterized(state, draws))
    kept = tuple(draw for draw, name in zip(draws, latents, strict=True) if name in needed)
    count = 1 if options.importance else options.particles or _particles(kept)
    inside = Expectation(kept, terms, count) if kept else terms
    return total([inside, *outside, *missing])


def doubly_reparameterized(state: State, draws: tuple[Draw, ...]) -> bool:
    """Whether the guide's gradient is Tucker et al.'s (2019): pathwise draws, none given another, each of a formula."""
    names, guides = {draw.name for draw in draws}, state.structure.program.guide_by_name
    return all(
        draw.estimator == "pathwise"
        and not names & set(draw.given)
        and isinstance(guides[draw.name].density, Elementary)
        for draw in draws
    )


def unnormalized(state: State) -> tuple[str, ...]:
    """The sites whose density lacks log Z, a joint site by the name that its factor bears."""
    rules = (factor.term for factor in state.start)
    return tuple(term.site for term in rules if isinstance(term, LogDensity) and term.rule == "unnormalized")


def _split(state: State, latents: tuple[str, ...], options: BoundOptions) -> tuple[list[Factor], list[Term]]:
    """The factors under the guide's expectation, and the terms that need no draw."""
    structure = state.structure
    body = [factor for factor in state.factors if factor.site not in latents]
    body += [factor for factor in state.factors if factor.site in latents and factor.site in structure.partly_observed]
    inner: list[Factor] = []
    outside: list[Term] = []
    for name in latents:
        prior = next((factor for factor in state.factors if factor.site == name), None)
        guide = structure.guided[name]
        scope = frozenset(guide.given) & frozenset(latents)
        if state.eliminated[name] == "implicit_latent":
            number = critic_of(state, name)
            assert number is not None
            inner.append(Factor(_scaled(_ratio(state, name, number), options.beta), scope | {name}, name))
        elif prior is not None and not options.importance and _exchangeable(state, name, prior):
            assert isinstance(prior.term, LogDensity)
            term = _scaled(KL(log_density(guide, _rule(state, guide), "guide"), prior.term, True), options.beta)
            scope |= frozenset(prior.term.given) & frozenset(latents)
            inner += [Factor(term, scope, name)] if scope else []
            outside += [] if scope else [term]
        else:
            inner += _difference(state, name, prior, options)
    return body + inner, outside


def _difference(state: State, name: str, prior: Factor | None, options: BoundOptions) -> list[Factor]:
    """beta (log p(z | a) - log q(z | b)), as it stands."""
    guide = state.structure.guided[name]
    posterior = log_density(guide, _rule(state, guide), "guide")
    scope = frozenset({name, *guide.given}) & frozenset(guided_latents(state))
    found = [Factor(_scaled(posterior, options.beta), scope, name)]
    if prior is not None and name not in state.structure.partly_observed:
        term = prior.term if options.beta == 1 else Scale(options.beta, prior.term)
        found.insert(0, Factor(term, prior.scope, name))
    return found


def _ratio(state: State, name: str, number: int) -> DensityRatio:
    """The critic's log ratio: of q(z | x) and p(z) if it reads all that the guide conditions on, else of aggregates."""
    structure = state.structure
    critic = structure.program.critics[number]
    conditions = frozenset(structure.guided[name].given) & structure.observed_names
    return DensityRatio(number, critic.reads, not conditions <= structure.critic_reads(number))


def _scaled(term: Term, beta: float | Expression) -> Scale:
    return Scale(-float(beta), term) if isinstance(beta, (int, float)) else Scale(-1.0, Scale(beta, term))


def _exchangeable(state: State, name: str, prior: Factor) -> bool:
    """Whether log p - log q may be written as a closed-form KL divergence."""
    structure = state.structure
    if not isinstance(prior.term, LogDensity) or name in structure.partly_observed:
        return False
    if frozenset(prior.term.given) & structure.sampled_after(name):
        return False
    return closed_form(structure.guided[name].site.density, structure.program.by_name[prior.term.site].density)


def _rule(state: State, guide: Variable) -> str:
    return rule_of(state.structure.program, guide.site).name


def _needed(state: State, body: list[Factor], latents: tuple[str, ...]) -> frozenset[str]:
    """The latents that the body reads, with those that the guide samples them from."""
    needed = frozenset[str]().union(*(factor.scope for factor in body)) & frozenset(latents)
    for name in reversed(latents):
        if name in needed:
            needed |= frozenset(state.structure.guided[name].given) & frozenset(latents)
    return needed


# ---- gradient estimators --------------------------------------------------------------------------------------------


def estimators(state: State, latents: tuple[str, ...], options: BoundOptions) -> tuple[Draw, ...]:
    """How gradients pass through each draw: what the spec says, else by what the guide's densities can do.

    Pathwise where samples are reparameterized, a sum over the states where they are few, else the score function.
    """
    draws: list[Draw] = []
    states = 1
    for name in latents:
        guide = state.structure.guided[name]
        able = abilities(state.structure.program, guide.site)
        chosen, extra = options.estimators.get(name, ("", ()))
        if not chosen and Ability.RSAMPLE in able:
            chosen = "pathwise"
        if not chosen:
            few = able.states is not None and states * able.states <= LIMIT and not options.importance
            chosen = "enumerate" if few else "score_function"
        if chosen == "enumerate":
            states *= able.states or 1
        partly = name in state.structure.partly_observed
        draws.append(Draw(guide.name, "guide", guide.given, chosen, partly_observed=partly, options=extra))
    return tuple(draws)


def _particles(draws: tuple[Draw, ...]) -> int:
    """One particle, or two where a score function takes its baseline from the other ones."""
    return 2 if any(draw.estimator == "score_function" for draw in draws) else 1

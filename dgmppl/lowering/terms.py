"""Terms of the objective algebra -> straight-line values, one number per datum (and per particle), in nats."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dgmppl.errors import InternalError
from dgmppl.ir.densities import MarkovChain
from dgmppl.ir.expressions import Call, Expression, Literal, Name, text
from dgmppl.ir.kernel import Var
from dgmppl.ir.program import Site
from dgmppl.lowering.calls import as_real, literal_array
from dgmppl.lowering.densities import divergence, draw, log_prob
from dgmppl.lowering.densities.diffusion import regression
from dgmppl.lowering.energies import contrastive, free_energy, noise_contrast
from dgmppl.lowering.estimators import leave_one_out, surrogate
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.games import conjugate, density_ratio
from dgmppl.lowering.gaussian import log_marginal
from dgmppl.lowering.hidden_markov import log_forward
from dgmppl.lowering.layout import PARTICLES, Lowered, combine, negative, number, op, raise_rank, total
from dgmppl.lowering.penalties import penalty
from dgmppl.lowering.priors import log_prior
from dgmppl.lowering.relaxed import relaxed_draw, straight_through_draw
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.lowering.scores import score_matching
from dgmppl.lowering.state_space import log_filter
from dgmppl.lowering.summation import bind_states, log_sum
from dgmppl.lowering.transport import velocity_regression
from dgmppl.objectives.algebra import (
    KL,
    Conjugate,
    ContrastiveGradient,
    DenoisingTerm,
    DensityRatio,
    Draw,
    Expectation,
    FreeEnergy,
    LogDensity,
    LogIntegral,
    LogMeanExp,
    LogPrior,
    LogSum,
    NoiseContrast,
    Penalty,
    Scale,
    ScoreMatching,
    Squared,
    Sum,
    Supervision,
    Term,
    VelocityRegression,
    walk,
)


@dataclass(frozen=True, slots=True)
class Mode:
    """How a tree is lowered.

    Attributes:
        gradients: the value is a loss: surrogate terms for score-function and doubly reparameterized gradients count.
        importance: every KL is written as log q - log p at the drawn value, and a log-mean-exp as its body, so that the
            value is a log importance weight per particle.
        stop_guide: log q is evaluated with its parameters held fixed (doubly reparameterized gradients).
        partly: sites that the data hold in some rows.
    """

    gradients: bool = False
    importance: bool = False
    stop_guide: bool = False
    partly: frozenset[str] = field(default_factory=frozenset)


def lower_term(scope: Scope, term: Term, mode: Mode) -> Lowered:
    """The value of a term.

    Raises:
        UnsupportedError: the term needs a rule whose lowering does not exist yet; it names the site and its line.
    """
    match term:
        case Sum(terms=terms):
            return total([lower_term(scope, part, mode) for part in terms])
        case Scale(factor=factor, term=inner):
            return _scaled(factor, lower_term(scope, inner, mode))
        case LogDensity():
            return _log_density(scope, term, mode)
        case KL():
            return _kl(scope, term, mode)
        case Expectation():
            return _expectation(scope, term, mode)
        case LogMeanExp(count=count, body=body):
            if count > 1:
                _no_bounds(scope, body)
            value = lower_term(scope, body, mode)
            return value if mode.importance else _log_mean_exp(value)
        case LogSum(rule="forward_algorithm"):
            return log_forward(scope, term)
        case LogSum():
            return log_sum(scope, term, lambda inner: lower_term(scope, inner, mode))
        case LogIntegral(names=names):
            chain = any(isinstance(scope.program.by_name[name].density, MarkovChain) for name in names)
            return log_filter(scope, term) if chain else log_marginal(scope, term)
        case VelocityRegression():
            return velocity_regression(scope, term)
        case DenoisingTerm():
            return regression(scope, term)
        case FreeEnergy():
            return free_energy(scope, term)
        case ScoreMatching():
            return score_matching(scope, term, schedule)
        case ContrastiveGradient():
            return contrastive(scope, term)
        case NoiseContrast():
            return noise_contrast(scope, term)
        case Conjugate():
            return conjugate(scope, term)
        case DensityRatio():
            return density_ratio(scope, term)
        case Penalty():
            return penalty(scope, term)
        case Supervision():
            return _supervision(scope, term)
        case Squared(term=inner):
            return combine("call", lower_term(scope, inner, mode), function="square")
        case LogPrior(names=names):
            return _prior_share(scope, names)
        case _:
            raise _not_lowered(scope, term)


def _not_lowered(scope: Scope, term: Term) -> Exception:
    names = [getattr(term, "site", None), *getattr(term, "names", ()), *getattr(term, "reads", ())]
    sites = [scope.program.by_name[name] for name in names if name in scope.program.by_name]
    construct = f"the term {type(term).__name__}" + (f" of {sites[0].name!r}" if sites else "")
    return unsupported(construct, sites[0].span if sites else None)


def _no_bounds(scope: Scope, body: Term) -> None:
    """Refuses importance weights with a diffusion in them: exp of an estimate of a bound is no weight."""
    for node in walk(body):
        if isinstance(node, LogDensity) and node.rule == "diffusion_bound":
            span = site_of(scope, node).span
            raise unsupported(f"the importance-weighted bound over the diffusion {node.site!r}", span, "elbo()")


def site_of(scope: Scope, term: LogDensity) -> Site:
    """The site whose density a factor is."""
    sites = scope.program.guide_by_name if term.section == "guide" else scope.program.by_name
    return sites[term.site]


def _log_density(scope: Scope, term: LogDensity, mode: Mode) -> Lowered:
    site = site_of(scope, term)
    guided = term.section == "guide"
    if term.at is not None:
        with scope.branch():
            scope.bind(term.site, lookup(scope, term.at))
            return log_prob(scope, site)
    value = log_prob(scope, site, stop=guided and mode.stop_guide)
    if guided and term.site in mode.partly:
        return combine("mul", value, _hidden(scope, term.site))
    return value


def _hidden(scope: Scope, name: str) -> Lowered:
    """1 in the rows whose value the data lack, else 0."""
    return combine("sub", number(1.0), as_real(scope.mask(name)))


def _kl(scope: Scope, term: KL, mode: Mode) -> Lowered:
    sampled = mode.importance or not term.closed_form
    if sampled:
        return combine("sub", _log_density(scope, term.posterior, mode), _log_density(scope, term.prior, mode))
    value = divergence(scope, site_of(scope, term.posterior), site_of(scope, term.prior))
    value = scope.assign(f"kl_{term.posterior.site}", value)
    if isinstance(value.value, Var):
        scope.report.append(value.value)
    if term.posterior.site not in mode.partly:
        return value
    with scope.branch():
        scope.bind(term.prior.site, _column(scope, term.prior.site))
        given = negative(log_prob(scope, site_of(scope, term.prior)))
    return combine("call", scope.mask(term.prior.site), given, value, function="where")


def _column(scope: Scope, name: str) -> Lowered:
    return scope.column(name, scope.program.by_name[name].typed)


def _scaled(factor: float | Expression, value: Lowered) -> Lowered:
    if isinstance(factor, int | float):
        if factor == 1:
            return value
        return negative(value) if factor == -1 else combine("mul", number(float(factor)), value)
    return combine("mul", schedule(factor), value)


def schedule(factor: Expression) -> Lowered:
    """A scalar option: a number, or `linear(start, end, steps=)` read at the present step."""
    constant = literal_array(factor)
    if constant is not None:
        return number(float(constant))
    if isinstance(factor, Call) and factor.function == "linear":
        start, end = (float(literal_array(argument)) for argument in factor.arguments)  # type: ignore[arg-type]
        steps = factor.keyword("steps")
        if isinstance(steps, Literal) and isinstance(steps.value, int):
            return Lowered(op("schedule", start=start, end=end, steps=steps.value))
    raise unsupported("this schedule", factor.span, "linear(0, 1, steps=5000)")


def _prior_share(scope: Scope, names: tuple[str, ...]) -> Lowered:
    rows = scope.program.rows
    if rows is None:
        raise InternalError("a prior's share of a loss needs the number of rows")
    return combine("div", log_prior(scope, names), number(float(rows)))


def _supervision(scope: Scope, term: Supervision) -> Lowered:
    """log q(y | ...) in the rows that hold y, 0 elsewhere."""
    with scope.branch():
        scope.bind(term.site, _column(scope, term.site))
        value = log_prob(scope, scope.program.guide_by_name[term.site])
    value = combine("mul", value, as_real(scope.mask(term.site)))
    return scope.assign(f"log_q_{term.site}", value)


# ---- expectations ---------------------------------------------------------------------------------------------------


def _expectation(scope: Scope, term: Expectation, mode: Mode) -> Lowered:
    """E_draws[body]: draws in order, then the body; enumerated draws become weighted sums over a left axis."""
    mode = replace(mode, partly=mode.partly | {entry.name for entry in term.draws if entry.partly_observed})
    scored = [entry for entry in term.draws if entry.estimator == "score_function"]
    if mode.gradients:
        _check_baselines(scope, scored)
    with scope.branch():
        enumerated = [entry for entry in term.draws if _sample(scope, entry)]
        if mode.gradients and isinstance(term.body, LogMeanExp) and term.body.doubly_reparameterized:
            return _doubly_reparameterized(scope, term, mode)
        if mode.gradients and isinstance(term.body, LogMeanExp) and scored:
            return _vimco(scope, scored, lower_term(scope, term.body.body, mode))
        value = _weighted(scope, enumerated, [lower_term(scope, part, mode) for part in _terms(term.body)], mode)
        return _score_function(scope, scored, value) if mode.gradients and scored else value


def _terms(term: Term) -> list[Term]:
    return [leaf for part in term.terms for leaf in _terms(part)] if isinstance(term, Sum) else [term]


def _sample(scope: Scope, entry: Draw) -> bool:
    """Binds a draw's value; True where it is enumerated instead of drawn."""
    site = scope.program.guide_by_name.get(entry.name)
    if site is None:
        raise unsupported(f"a draw of {entry.name!r} from {entry.source}", scope.program.by_name[entry.name].span)
    if entry.estimator == "enumerate":
        bind_states(scope, site)
        return True
    if entry.estimator in {"gumbel", "straight_through"}:
        _soft_draw(scope, site, entry)
    else:
        draw(scope, site, stop=entry.stop or entry.estimator == "score_function")
    return False


def _soft_draw(scope: Scope, site: Site, entry: Draw) -> None:
    if entry.partly_observed:
        raise unsupported(f"{entry.estimator} for the partly observed {site.name!r}", site.span, "enumerate")
    if entry.estimator == "straight_through":
        straight_through_draw(scope, site)
    else:
        relaxed_draw(scope, site, schedule(dict(entry.options)["temperature"]))


def _weighted(scope: Scope, enumerated: list[Draw], parts: list[Lowered], mode: Mode) -> Lowered:
    """sum_y q(y) body(y), axis by axis from the left; parts that do not vary over y are added as they are."""
    for entry in reversed(enumerated):
        name = entry.name
        inside = [part for part in parts if name in part.axes]
        outside = [part for part in parts if name not in part.axes]
        if not inside:
            continue
        weight = scope.assign(f"q_{name}", _probabilities(scope, name, name in mode.partly))
        body = combine("mul", weight, scope.assign(f"given_{name}", total(inside)))
        summed = body.with_value(op("reduce_leading", body.value, function="sum"))
        parts = [*outside, replace(summed, axes=summed.axes - {name})]
    return total(parts)


def _probabilities(scope: Scope, name: str, partly: bool) -> Lowered:
    logits = log_prob(scope, scope.program.guide_by_name[name])
    weight = logits.with_value(op("call", logits.value, function="exp"))
    if not partly:
        return weight
    same = as_real(combine("eq", lookup(scope, name), _column(scope, name)))
    return combine("call", scope.mask(name), same, weight, function="where")


def _check_baselines(scope: Scope, scored: list[Draw]) -> None:
    """Baselines are the other particles' mean: another one, or no other particle, is refused."""
    for entry in scored:
        asked = dict(entry.options).get("baseline", Name("leave_one_out"))
        if text(asked) != "leave_one_out" or not scope.particles:
            what = (
                f"the baseline {text(asked)} of {entry.name!r}" if scope.particles else "a score function of one draw"
            )
            raise unsupported(what, scope.program.by_name[entry.name].span, "elbo(particles=2), without `baseline`")


def _score_function(scope: Scope, scored: list[Draw], value: Lowered) -> Lowered:
    """Adds (signal - baseline) grad log q, with leave-one-out baselines; its value is zero."""
    value = scope.assign("signal", value)
    return combine("add", value, _surrogate(scope, scored, leave_one_out(value)))


def _vimco(scope: Scope, scored: list[Draw], log_weights: Lowered) -> Lowered:
    """The importance-weighted bound with the score-function gradient of Mnih and Rezende (2016).

    Each particle's baseline is the bound with its own weight replaced by the geometric mean of the others.
    """
    log_weights = scope.assign("log_weights", log_weights)
    bound = scope.assign("bound", _log_mean_exp(log_weights))
    centred = combine("sub", bound, log_weights.with_value(op("vimco", log_weights.value)))
    surrogate = _surrogate(scope, scored, centred)
    summed = surrogate.with_value(op("reduce_leading", surrogate.value, function="sum"))
    return combine("add", bound, replace(summed, axes=summed.axes - {PARTICLES}))


def _log_mean_exp(value: Lowered) -> Lowered:
    return replace(value.with_value(op("logmeanexp", value.value)), axes=value.axes - {PARTICLES})


def _surrogate(scope: Scope, scored: list[Draw], signal: Lowered) -> Lowered:
    """The surrogate of log q at all draws that carry no gradient."""
    logs = scope.assign("log_q", total([log_prob(scope, scope.program.guide_by_name[entry.name]) for entry in scored]))
    return surrogate(logs, signal)


def _doubly_reparameterized(scope: Scope, term: Expectation, mode: Mode) -> Lowered:
    """The bound whose gradient by the guide is that of Tucker et al. (2019).

    With normalized weights w, the guide's gradient is sum w^2 d log w / dz dz / dphi: q's parameters are held fixed in
    log q, and the cotangent of each draw is multiplied by its weight.
    """
    assert isinstance(term.body, LogMeanExp)
    inner = replace(mode, stop_guide=True)
    scope.remark("normalized importance weights, held fixed")
    with scope.branch():
        log_weights = lower_term(scope, term.body.body, inner)
        weight = scope.assign("weight", log_weights.with_value(op("stop", op("softmax_leading", log_weights.value))))
    scope.remark("the same terms, each draw's gradient multiplied by its weight (doubly reparameterized)")
    for entry in term.draws:
        value = lookup(scope, entry.name)
        scale = raise_rank(weight, value.rank)
        scope.bind(
            entry.name, scope.assign(entry.name, value.with_value(op("scale_gradient", value.value, scale.value)))
        )
    return lower_term(scope, term.body, inner)

"""Emitted functions that evaluate: losses, densities, bounds, posteriors, samples."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import Elementary, MarkovChain
from dgmppl.ir.expressions import Call, Name
from dgmppl.ir.kernel import Function, Group, Return, ReturnLoss, Value
from dgmppl.ir.program import Program, Role, Site
from dgmppl.lowering import hidden_markov, state_space
from dgmppl.lowering.densities import density_of
from dgmppl.lowering.densities.diffusion import flow_log_density
from dgmppl.lowering.energies import (
    hidden_probabilities,
    normalizer_functions,
    normalizers,
    without_normalizers,
)
from dgmppl.lowering.gaussian import linear_gaussian
from dgmppl.lowering.latents import bind_latents, entries_of, sampled
from dgmppl.lowering.layout import Lowered, combine, number, op, total
from dgmppl.lowering.penalties import clamped
from dgmppl.lowering.priors import log_prior
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.lowering.summation import factors
from dgmppl.lowering.terms import Mode, lower_term, schedule
from dgmppl.objectives.algebra import (
    Expectation,
    FreeEnergy,
    LogDensity,
    LogIntegral,
    LogMeanExp,
    LogPrior,
    LogSum,
    NoiseContrast,
    Sum,
    Term,
    walk,
)
from dgmppl.objectives.derivation import Derivation, Player
from dgmppl.objectives.printers import text

# ---- losses ---------------------------------------------------------------------------------------------------------


def loss_function(program: Program, groups: dict[str, Group], player: Player) -> Function:
    """`loss_PLAYER`: the mean over the batch of the player's terms, minimized; nats per datum."""
    count = _particles(player)
    scope = Scope(program, groups, particles=count is not None)
    scope.training = True
    mode = Mode(gradients=True)
    losses = []
    for term in player.terms:
        value = lower_term(scope, term.expression, mode)
        if value.batched:
            value = Lowered(op("mean_all", value.value))
        weight = number(float(term.weight)) if isinstance(term.weight, int | float) else schedule(term.weight)
        losses.append(value if weight.literal == 1 else combine("mul", weight, value))
    loss = scope.assign("loss", total(losses))
    report = [("loss", loss.value), *((part.name, op("mean_all", part)) for part in dict.fromkeys(scope.report))]
    scope.statements.append(ReturnLoss(loss.value, tuple(report), tuple(scope.updates.items())))
    mathematics = " + ".join(text(term.expression) for term in player.terms).replace("+ −", "− ")
    doc, clamp = f"minimize  {mathematics}    (nats per datum)", tuple(clamped(program, player).items())
    for bound in sorted({bound for _, bound in clamp}):
        names = ", ".join(dict.fromkeys(name.split(".")[0] for name, own in clamp if own == bound))
        doc += f"; after each update the arrays of {names} are clamped to [-{bound:g}, {bound:g}]"
    made = scope.function(f"loss_{player.name}", "loss", doc, particles=count, owns=player.owns)
    return replace(made, clamp=clamp)


def _particles(player: Player) -> int | None:
    """The size of the particle axis that a player's terms need; None for none."""
    counts = [
        node.count
        for term in player.terms
        for node in walk(term.expression)
        if isinstance(node, LogMeanExp) and node.count > 1
    ]
    counts += [
        node.particles
        for term in player.terms
        for node in walk(term.expression)
        if isinstance(node, Expectation) and node.particles > 1
    ]
    counts += [
        node.ratio
        for term in player.terms
        for node in walk(term.expression)
        if isinstance(node, NoiseContrast) and node.ratio > 1
    ]
    return max(counts, default=None)


# ---- densities ------------------------------------------------------------------------------------------------------


def density_functions(program: Program, groups: dict[str, Group], derivation: Derivation) -> list[Function]:
    """`log_prob` of an exact model, `elbo` and `log_weights` of a bound, `log_joint` of a Bayesian one."""
    likelihood = derivation.objective.likelihood
    result = normalizer_functions(program, groups, derivation)
    joint = derivation.objective.log_joint
    if likelihood is None and joint is not None and (latents := sampled(program, derivation)):
        result.append(_log_joint(program, groups, _unguided(program, joint), latents))
    if likelihood is not None:
        likelihood = without_normalizers(likelihood)
        bounded = any(isinstance(node, Expectation) or diffused(node) for node in walk(likelihood))
        known = not normalizers(derivation.objective.likelihood)
        made = _bounds(program, groups, likelihood) if bounded else [_log_prob(program, groups, likelihood)]
        result += made if known else [_up_to_log_z(function) for function in made]
        if not bounded and (posterior := _posterior(program, groups, likelihood)) is not None:
            result.append(posterior)
        if joint is not None and not bounded:
            result.append(_log_joint(program, groups, joint))
    return result


def _unguided(program: Program, joint: Term) -> Term:
    """A log joint that no expectation under a guide is left in.

    Raises:
        UnsupportedError: a guide stands beside latents that the engine samples.
    """
    for node in walk(joint):
        if isinstance(node, Expectation):
            names = ", ".join(entry.name for entry in node.draws)
            raise unsupported(f"a guide of {names} beside latents that are sampled", program.guide[0].span)
    return joint


def _log_prob(program: Program, groups: dict[str, Group], likelihood: Term) -> Function:
    scope = Scope(program, groups)
    value = lower_term(scope, likelihood, Mode())
    scope.statements.append(Return((value.value,)))
    return scope.function("log_prob", "density", f"{text(likelihood)}: [B], nats, exact.")


def diffused(term: Term) -> bool:
    """Whether a term is a diffusion's bound."""
    return isinstance(term, LogDensity) and term.rule == "diffusion_bound"


def flow_log_prob(program: Program, groups: dict[str, Group], term: Term) -> Function | None:
    """`ode_log_prob`: with each diffusion's probability-flow ODE in its place; None where `evaluate` asks for none."""
    asked = program.evaluate.get("log_prob")
    name = asked.function if isinstance(asked, Call) else asked.id if isinstance(asked, Name) else None
    parts = term.terms if isinstance(term, Sum) else (term,)
    if name != "ode" or any(isinstance(node, Expectation) for node in walk(term)):
        return None
    scope = Scope(program, groups)
    values = [
        flow_log_density(scope, program.by_name[part.site])
        if isinstance(part, LogDensity) and diffused(part)
        else lower_term(scope, part, Mode())
        for part in parts
    ]
    scope.statements.append(Return((total(values).value,)))
    doc = f"{text(term)} with the probability-flow ODE's own density: [B], nats, exact to the solver's tolerance."
    return scope.function("ode_log_prob", "density", doc)


def _up_to_log_z(function: Function) -> Function:
    """A value of a model whose log Z is not known, under a name that says so."""
    name = "log_unnormalized" if function.name == "log_prob" else f"unnormalized_{function.name}"
    doc = f"{function.doc.removesuffix('.').removesuffix(', exact')}, up to log Z."
    return replace(function, name=name, doc=doc)


def _bounds(program: Program, groups: dict[str, Group], likelihood: Term) -> list[Function]:
    term = _single(likelihood)
    elbo, weights = Scope(program, groups, particles=True), Scope(program, groups, particles=True)
    value = lower_term(elbo, term, Mode())
    elbo.statements.append(Return((op("reduce_leading", value.value, function="mean"),)))
    bound = f"{text(term)}, averaged over particles: [B], nats, a lower bound on log p in expectation."
    if any(map(diffused, walk(term))):
        flows = flow_log_prob(program, groups, term)
        return [elbo.function("elbo", "density", bound, particles=0), *([flows] if flows is not None else [])]
    weights.statements.append(Return((lower_term(weights, term, Mode(importance=True)).value,)))
    ratio = "log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."
    return [
        elbo.function("elbo", "density", bound, particles=0),
        weights.function("log_weights", "density", ratio, particles=0),
    ]


def _single(term: Term) -> Term:
    """The bound with one particle per datum and everything inside the expectation, where the draws have values."""
    if isinstance(term, Sum):
        expectations = [part for part in term.terms if isinstance(part, Expectation)]
        if len(expectations) == 1:
            rest = tuple(part for part in term.terms if part is not expectations[0])
            inner = expectations[0]
            return _single(replace(inner, body=Sum((inner.body, *rest))))
    if isinstance(term, Expectation) and isinstance(term.body, LogMeanExp):
        return replace(term, body=term.body.body)
    return term


def _log_joint(program: Program, groups: dict[str, Group], joint: Term, latents: tuple[Site, ...] = ()) -> Function:
    """The log joint over all rows; of `latents` too, at the values that an engine has moved them to."""
    scope, terms = Scope(program, groups), joint.terms if isinstance(joint, Sum) else (joint,)
    priors = [term for term in terms if isinstance(term, LogPrior)]
    parts = [log_prior(scope, term.names) for term in priors]
    bind_latents(scope, latents)
    value = total([lower_term(scope, term, Mode()) for term in terms if term not in priors])
    parts.append(Lowered(op("sum_all", value.value)) if value.batched else value)
    scope.statements.append(Return((total(parts).value,)))
    names = "".join(f", {entries_of(site.name) if site.role is Role.OBSERVED else site.name}" for site in latents)
    doc = f"log p(parameters) + the sum over all data of log p{f' (with{names[1:]})' if names else ''}: a scalar, nats."
    return scope.function("log_joint", "density", doc)


def _posterior(program: Program, groups: dict[str, Group], likelihood: Term) -> Function | None:
    """What the exact rules removed, given the data: class probabilities, Gaussian mean and covariance."""
    scope = Scope(program, groups)
    names: list[str] = []
    values: list[Value] = []
    for node in walk(likelihood):
        if isinstance(node, LogSum) and node.rule == "forward_algorithm":
            found = hidden_markov.posteriors(scope, node)
            names, values = [name for name, _ in found], [value for _, value in found]
            break
        if isinstance(node, LogIntegral) and _in_time(program, node):
            found = state_space.posteriors(scope, node)
            names, values = [name for name, _ in found], [value for _, value in found]
            break
        if isinstance(node, FreeEnergy):
            names += [f"{name}.probs" for name in node.names]
            values += [hidden_probabilities(scope, node, name).value for name in node.names]
            break
        if isinstance(node, LogSum) and node.rule == "enumerate" and not node.elementwise:
            for name, probabilities in _class_probabilities(scope, node):
                names.append(f"{name}.probs")
                values.append(probabilities.value)
            break
        if isinstance(node, LogIntegral):
            for name, mean, covariance in _gaussian_posterior(scope, node):
                names += [f"{name}.loc", f"{name}.covariance"]
                values += [mean, covariance]
            break
    if not names:
        return None
    scope.statements.append(Return(tuple(values), tuple(names)))
    return scope.function("posterior", "density", "the posterior of the latents that were integrated out, exact.")


def _in_time(program: Program, term: LogIntegral) -> bool:
    """Whether a recursion over time integrates a term's latents."""
    return any(isinstance(program.by_name[name].density, MarkovChain) for name in term.names)


def _class_probabilities(scope: Scope, term: LogSum) -> list[tuple[str, Lowered]]:
    """p(k | data) for each summed latent: [B, states]; joint states of a vector are listed in row-major order."""
    parts = factors(scope, term, lambda inner: lower_term(scope, inner, Mode()))
    table = scope.assign("log_joint", total(parts))
    result = []
    count = len(term.names)
    for position, name in enumerate(term.names):
        others = [place for place in range(count) if place != position]
        value: Value = table.value
        if others:
            axes = tuple(place - count - 1 for place in others)
            value = op("reduce", value, function="logsumexp", axes=axes)
        moved = op("moveaxis", value, source=0, target=-1)
        probabilities = Lowered(op("cumulative", moved, function="softmax", axis=-1), (), True)
        result.append((name, scope.assign(f"{name}_probs", probabilities)))
    return result


def _gaussian_posterior(scope: Scope, term: LogIntegral) -> list[tuple[str, Value, Value]]:
    parts = linear_gaussian(scope, term, latent=True)
    operands = (parts.value.value, parts.offset.value, parts.loading.value, parts.variance.value)
    both = scope.assign("eps_posterior", Lowered(op("gaussian_posterior", *operands), (), True))
    mean, root = op("item", both.value, number=0), op("item", both.value, number=1)
    result: list[tuple[str, Value, Value]] = []
    for name, offset, loading in parts.latents:
        location = op("add", offset.value, op("matvec", loading.value, mean))
        factor = scope.assign(f"{name}_factor", Lowered(op("matmul", loading.value, root), loading.shape, True))
        result.append((name, location, op("matmul", factor.value, op("transpose", factor.value))))
    return result


def decode_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`decode`: the observed sites' distribution parameters at given latents, as `x.logits`."""
    latents = [site for site in program.latents if program.children(site.name)]
    if not latents or not all(isinstance(site.density, Elementary) for site in program.observed):
        return None
    scope = Scope(program, groups)
    for site in latents:
        scope.bind(site.name, scope.column(site.name, site.typed))
    names: list[str] = []
    values: list[Value] = []
    for site in program.observed:
        density, _ = density_of(scope, site)
        for name, value in density.parameters:
            names.append(f"{site.name}.{name}")
            values.append(value)
    scope.statements.append(Return(tuple(values), tuple(names)))
    return scope.function("decode", "density", "parameters of the observed sites' distributions at given latents.")

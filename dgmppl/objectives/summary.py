"""What a derivation says besides its objective: status, factorization, capabilities, notes, references, warnings."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.analyses import expressions, sources
from dgmppl.ir.chains import first_general, lags
from dgmppl.ir.densities import (
    Density,
    DiffusionChain,
    Factorized,
    MarkovChain,
    Pushforward,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.diffusions import learns_schedule, variance_cost
from dgmppl.ir.expressions import Call, Expression, Index, Literal, Name, text, walk
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import SAMPLERS
from dgmppl.ir.program import Role, Site
from dgmppl.objectives.bounds import guided_latents, unnormalized
from dgmppl.objectives.capabilities import Ability, abilities, directions_of
from dgmppl.objectives.contributions import Share
from dgmppl.objectives.derivation import Capability
from dgmppl.objectives.engines import copies
from dgmppl.objectives.expansion import expansion_of
from dgmppl.objectives.frozen import run_notes
from dgmppl.objectives.posteriors import joint_latents
from dgmppl.objectives.rules import RULES
from dgmppl.objectives.rules.implicit_data import implicit
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Structure, Variable, random_parameters
from dgmppl.source import Diagnostic

_BOUNDED = frozenset({"variational", "implicit_latent", "joint"})


def status_of(state: State) -> str:
    """What is known of log p(data | parameters), whatever is trained: `exact bound unnormalized implicit`."""
    structure = state.structure
    if _silent(structure) or "implicit_data" in state.eliminated.values():
        return "implicit"
    observed = [name for name in structure.variables if name in structure.observed_names]
    levels = {name: _level(structure, structure.variables[name]) for name in structure.variables}
    if any(levels[name] == "unnormalized" for name in observed):
        return "unnormalized"
    if "bound" in levels.values() or _BOUNDED & set(state.eliminated.values()):
        return "bound"
    return "exact"


def _silent(structure: Structure) -> bool:
    """Whether some observed variable has samples but no density."""
    return any(implicit(structure, name) for name in structure.observed_names if name in structure.variables)


def _level(structure: Structure, variable: Variable) -> str:
    rule = expansion_of(structure.program, variable.site)
    return "implicit" if rule is None else rule.level


# ---- factorization --------------------------------------------------------------------------------------------------


def factorization(structure: Structure) -> str:
    """The joint density as the product that the spec declares: `p(x, z) = p(z) p(x | z)`."""
    program = structure.program
    priors = [structure.variable(site) for site in program.with_role(Role.PARAMETER)]
    variables = [*priors, *structure.variables.values()]
    weights = [name for name, network in program.networks.items() if network.prior is not None]
    observed = [variable.name for variable in variables if variable.name in structure.observed_names]
    rest = [variable.name for variable in variables if variable.name not in structure.observed_names]
    known = [site.name for site in program.with_role(Role.COVARIATE) if any(site.name in v.given for v in variables)]
    left = ", ".join([*observed, *rest, *weights])
    condition = f" | {', '.join(known)}" if known else ""
    factors = [f"p({name})" for name in weights]
    factors += [_factor(structure, variable) for variable in variables if _leads(variable, observed)]
    right = " ".join(f"[{one}]" if one.endswith("/ Z") and len(factors) > 1 else one for one in factors)
    product = right if len(variables) + len(weights) > 1 or not right.startswith(f"p({left}{condition})") else ""
    meant = "".join(f", {one}" for one in map(_preimage, variables) if one)
    return f"p({left}{condition})" + (f" = {product}{meant}" if product else "")


def _leads(variable: Variable, observed: list[str]) -> bool:
    """Whether a variable's factor is written under its name: a joint site has one factor for all of its names."""
    if not variable.joint:
        return True
    return variable.name == next((name for name in variable.joint if name in observed), variable.joint[0])


def _preimage(variable: Variable) -> str:
    """What the base of a change of variables is, which its factor is written in: `z = flow⁻¹(x)`."""
    match variable.site.density:
        case Pushforward(base=base, bijector=bijector, inverse=inverse):
            return f"{base} = {bijector}{'' if inverse else '⁻¹'}({variable.name})"
        case _:
            return ""


def _factor(structure: Structure, variable: Variable) -> str:
    name = ", ".join(variable.joint) or variable.name
    given = f" | {', '.join(variable.given)}" if variable.given else ""
    match variable.site.density:
        case Pushforward(base=base):
            inner = structure.variable(structure.program.by_name[base])
            return f"{_factor(structure, inner)} |det ∂{base}/∂{name}|"
        case Factorized():
            return f"∏ᵢ p({name}[i] | {name}[<i]{', ' + ', '.join(variable.given) if variable.given else ''})"
        case MarkovChain() as chain:
            return _chain(structure, variable, chain)
        case Unnormalized(base=base):
            tilted = "" if base is None else f"p₀({name}) "
            return f"{tilted}exp(−E({name}{given})) / Z"
        case DiffusionChain(steps=steps):
            condition = ", ".join(variable.given)
            last = f"∫ p({name}_T) ∏ₜ p({name}ₜ₋₁ | {name}ₜ{', ' + condition if condition else ''}) d{name}₁…d{name}_T"
            return last if steps is not None else f"p({name}(0){given})"
        case _:
            return f"p({name}{given})"


def _chain(structure: Structure, variable: Variable, chain: MarkovChain) -> str:
    index, name = chain.index, variable.name
    own = [f"{name}[{index}−{lag}]" for lag in range(1, chain.lag + 1)]
    direct = frozenset(variable.site.parents)
    if name not in direct and name in sources(structure.program, direct):
        own.append(f"{name}[<{index}]")
    others = [_step(structure, other, chain) for other in variable.given]
    condition = ", ".join(part for part in (*own, *others) if part)
    first = "".join(f"p({name}[{position}]{_before(structure, variable, part)}) " for position, part in chain.initial)
    return f"{first}∏{_subscript(index)} p({name}[{index}]{' | ' + condition if condition else ''})"


def _before(structure: Structure, variable: Variable, start: Density) -> str:
    """What a first step of its own is conditioned on: steps before it, and those of other chains, by position."""
    parts = [part for expression in expressions(start) for part in walk(expression)]
    steps = {
        f"{part.value.id}[{part.items[0].value}]": part.value.id
        for part in parts
        if isinstance(part, Index) and isinstance(part.value, Name) and isinstance(part.items[0], Literal)
        if part.value.id in {variable.name, *variable.given}
    }
    whole = sources(structure.program, frozenset(part.id for part in parts if isinstance(part, Name)))
    given = [*steps, *(name for name in variable.given if name in whole and name not in steps.values())]
    return f" | {', '.join(given)}" if given else ""


def _step(structure: Structure, other: str, chain: MarkovChain) -> str:
    """A condition of a chain: by its steps where it is read step by step, else whole; empty where a start reads it."""
    found = lags(structure.program, chain.transition, other, chain.index)
    steps = [f"{other}[{chain.index}{f'−{lag}' if lag else ''}]" for lag in found or ()]
    return ", ".join(steps) if steps or (found is not None and chain.initial) else other


def _subscript(index: str) -> str:
    return {"t": "ₜ", "i": "ᵢ", "n": "ₙ", "k": "ₖ"}.get(index, f"_{index}")


# ---- capabilities ---------------------------------------------------------------------------------------------------


def capabilities(state: State, status: str) -> dict[str, Capability]:
    """What can be asked of the model, and how good the answer is."""
    return {"log_prob": _log_prob(state, status), "sample": _sample(state), "posterior": _posterior(state)}


def _log_prob(state: State, status: str) -> Capability:
    rules = ", ".join(dict.fromkeys(state.eliminated.values()))
    if "implicit_latent" in state.eliminated.values():
        return Capability("estimate", "importance sampling from the prior: the guide has no density")
    if joint_latents(state):
        return Capability("estimate", "latents stay in the log joint: integrating them out takes a sampler")
    match status:
        case "exact":
            found = f"computed by {rules}" if rules else "every density is normalized"
            return Capability("exact", found + (", to the ODE solver's tolerance" if _solved(state) else ""))
        case "bound" if unnormalized(state):
            return Capability("estimate", "the bound lacks log Z, which annealed importance sampling estimates")
        case "bound":
            return Capability("bound", f"a lower bound by {rules}" if rules else "a lower bound: the diffusion's VLB")
        case "unnormalized":
            return Capability("estimate", "known up to log Z, which annealed importance sampling estimates")
        case _ if _silent(state.structure):
            return Capability("none", "the model has samples but no density")
        case _:
            return Capability("none", "critics alone train the model; a declared guide would give a lower bound")


def _solved(state: State) -> bool:
    """Whether some density is known by the solution of a differential equation."""
    program = state.structure.program
    written = (part for site in program.sites for whole in expressions(site.density) for part in walk(whole))
    called = any(isinstance(part, Call) and part.function == "ode_solve" for part in written)
    return called or any(used.rule == "instantaneous_change_of_variables" for used in state.rules)


def _sample(state: State) -> Capability:
    structure = state.structure
    for name, variable in structure.variables.items():
        if Ability.SAMPLE in abilities(structure.program, variable.site):
            continue
        density = variable.site.density
        if isinstance(density, Pushforward) and directions_of(structure.program, density.bijector)["forward"] == "none":
            return Capability("none", f"{density.bijector} runs from {name} to {density.base} only")
        return Capability("estimate", f"{name} is sampled by a Markov chain: exact only in the limit")
    return Capability("exact", "ancestral, in generative order")


def _unscored(structure: Structure) -> str:
    return "the data have no density, and " if _silent(structure) else ""


def _posterior(state: State) -> Capability:
    latents = {name: rule for name, rule in state.eliminated.items() if name in state.structure.unknown}
    if not latents and random_parameters(state.structure.program):
        return Capability("estimate", "of the parameters, by the inference engine; no datum has a latent")
    if not latents:
        return Capability("none", "the model has no latent")
    guided = guided_latents(state)
    if "implicit_data" in latents.values():
        known = [name for name in state.structure.guided if latents.get(name) == "implicit_data"]
        return (
            Capability("estimate", f"the guide's samples of {', '.join(known)}")
            if known
            else Capability("none", f"{_unscored(state.structure)}no guide inverts the model")
        )
    if guided:
        return Capability("estimate", f"the guide's q({', '.join(guided)}) approximates it")
    if joint_latents(state):
        return Capability("estimate", "draws of the inference engine")
    return Capability("exact", f"given the parameters, by {', '.join(dict.fromkeys(latents.values()))}")


# ---- notes ----------------------------------------------------------------------------------------------------------


def _chain_of(name: str, density: DiffusionChain) -> Iterator[str]:
    """What a diffusion's bound rests on: the reverse variances, the decoder, the prior's divergence."""
    if density.steps is None:
        yield (
            f"In continuous time the bound of {name} falls short of log p by KL(q({name}(1) | {name}) ‖ p({name}(1))), "
            f"and by its decoder Normal({name}(0) / α₀, σ₀ / α₀), which reads no network."
        )
        if learns_schedule(density):
            yield (
                f"The bound of {name} learns the ends of its schedule and does not depend on what lies between: a "
                "player of its own moves that, so that the bound's estimate varies least (Kingma et al. 2021)."
            )
        return
    deviation = f"{'√e₁ ' if density.variance == 'learned' else ''}σ₁ / α₁"
    yield (
        f"The reverse steps of {name} have {_VARIANCES[density.variance].format(name=name)}, its decoder is "
        f"Normal(denoised {name}₁, {deviation}), and KL(q({name}_T | {name}) ‖ p({name}_T)) is in the bound."
    )
    cost = variance_cost(density)
    if cost >= _COST:
        yield (
            f"Fixed, they cost the bound {cost:.2g} nats per element of {name} where the data are unit normal: "
            "`variance=learned` and continuous time, without `steps`, do not."
        )


# Nats per element from which on it is said what fixed reverse variances cost.
_COST = 0.01
_VARIANCES = {
    "posterior": "the fixed variances of q({name}ₛ | {name}ₜ, {name})",
    "beta": "the fixed variances of q({name}ₜ | {name}ₛ)",
    "learned": "one learned variance each, at best the optimal one (Bao et al. 2022)",
}


def _guidance(name: str, sampler: Expression | None) -> Iterator[str]:
    """That draws of another sampler are not the chain's own, and that guided ones have no density."""
    if not isinstance(sampler, Call):
        return
    if bind(sampler, SAMPLERS, "sampler").get("guidance", 1.0) != 1.0:
        yield f"{text(sampler)} draws {name} with guidance: from no density of the model."
    elif sampler.function != "ancestral":
        yield f"{text(sampler)} draws {name}: its draws are not distributed as the chain's, whose bound is given."


def notes(state: State, status: str) -> Iterator[str]:
    """Statements about the model that must be printed."""
    structure = state.structure
    for name, variable in structure.variables.items():
        density = variable.site.density
        if isinstance(density, MarkovChain) and name in structure.observed_names:
            yield from _conditioned(name, density)
        if isinstance(density, DiffusionChain):
            yield from _chain_of(name, density)
            yield from _guidance(name, structure.program.evaluate.get("sampler"))
        if isinstance(density, DiffusionChain) and density.drop:
            yield f"Training drops the condition of {name} with probability {density.drop:g}: a reweighted bound."
        if isinstance(density, TrainedDensity):
            yield (
                f"The run {density.run} of {name} is not there: its densities, their shapes and supports are unknown, "
                "and nothing of it was checked. It must be fitted before this model can be."
            )
    yield from run_notes(structure)
    for name, bijector in structure.program.bijectors.items():
        for bound in dict.fromkeys(step.bound for step in bijector.walk() if step.bound is not None):
            yield f"The splines of {name} are the identity outside of [-{bound:g}, {bound:g}]."
    for name in structure.incomplete:
        yield _missing(structure, state, name)
    if structure.dropped:
        yield f"{', '.join(sorted(structure.dropped))}: no datum descends from it, so it is no part of the marginal."
    for column in structure.program.columns.values():
        if column.discrete_bins and status in {"exact", "bound"}:
            yield f"{column.name} is dequantized: E_u log p({column.name} + u) bounds the discrete log P from below."
    if unnormalized(state):
        yield "Values are up to log Z until log Z is evaluated."
    for name in joint_latents(state):
        yield _beside(structure, name)


def _conditioned(name: str, chain: MarkovChain) -> Iterator[str]:
    """Which first values of a series have no density: those that its lags reach back before, and that have no line."""
    count, start = first_general(chain), len(chain.initial)
    which = f"first {count} values" if not start else f"values {start} to {count - 1}"
    if count > start:
        verb = "are"
        if count - start == 1:
            which, verb = ("first value" if not start else f"value {start}"), "is"
        rest = "that of the rest given them" if verb == "are" else "that of the rest given it"
        yield f"The {which} of {name} {verb} conditioned on: log p is {rest}."


def _beside(structure: Structure, name: str) -> str:
    """What a latent that stays in the log joint costs."""
    count, gaps = copies(structure, name), name in structure.partly_observed
    if count is None:
        return f"{name}: a copy for each row, sampled beside the parameters: the more rows, the more dimensions."
    what = "its missing entries" if gaps else f"a copy for each of {structure.program.rows} rows"
    return f"{name}: {what}, sampled beside the parameters: {count} more dimensions."


def _missing(structure: Structure, state: State, name: str) -> str:
    if name not in structure.partly_observed:
        return f"Missing entries of {name} drop out of its density (missing at random is assumed)."
    rule = state.eliminated.get(name, "no rule")
    way = "sampled with the parameters" if rule == "joint" else f"removed by {rule}"
    return f"Missing entries of {name} are latent in their rows, {way} (missing at random is assumed)."


def references(state: State, shares: tuple[Share, ...]) -> tuple[str, ...]:
    """The sources of the rules and of the objective, each once."""
    used = dict.fromkeys(application.rule for application in state.rules)
    found = [f"{name}: {RULES[name].reference}" for name in used if name in RULES and name != "normalized"]
    found += [reference for share in shares for reference in share.references]
    return tuple(dict.fromkeys(found))


def warnings(structure: Structure) -> tuple[Diagnostic, ...]:
    """What is suspicious about the model, though derivable."""
    return tuple(_unbounded(variable.site) for variable in structure.variables.values() if _may_diverge(variable.site))


def _may_diverge(site: Site) -> bool:
    density = site.density
    bounded = site.typed.support.discrete or site.typed.support.confined
    return isinstance(density, Unnormalized) and density.base is None and not bounded


def _unbounded(site: Site) -> Diagnostic:
    return Diagnostic(
        "energy-unbounded",
        f"Z of {site.name} may be infinite: its support is unbounded and the energy has no base",
        site.span,
        fix="tilt a base that decays: `Energy(potential, base=Normal(0, 2))`",
        severity="warning",
    )

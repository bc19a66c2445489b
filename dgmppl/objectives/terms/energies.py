"""Objectives for densities that are known up to their normalizer."""

from __future__ import annotations

import math

from dgmppl.ir.expressions import Literal
from dgmppl.ir.program import Site
from dgmppl.objectives.algebra import ContrastiveGradient, Draw, LogDensity, NoiseContrast, Scale
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.contributions import Contribution, Share, evidence, model_groups, site_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.expansion import rule_of
from dgmppl.objectives.requests import Request, called, number, problem
from dgmppl.objectives.rules.unnormalized_data import RULE as UNNORMALIZED_DATA
from dgmppl.objectives.state import State, Verdict
from dgmppl.objectives.structure import Variable
from dgmppl.objectives.terms.densities import chain
from dgmppl.objectives.terms.likelihoods import restricted


def energy_site(state: State, request: Request) -> Variable:
    """The observed site that an energy objective speaks of: `site=`, else the only one with an unnormalized density."""
    named = called(request.get("site"))
    verdicts: dict[str, Verdict] = {
        name: UNNORMALIZED_DATA.predicate(state, name) for name in state.structure.variables
    }
    found = [name for name, verdict in verdicts.items() if verdict.applies and named in {None, name}]
    if not found:
        reasons = [
            f"{name}: {verdict.why}" for name, verdict in verdicts.items() if name in state.structure.observed_names
        ]
        raise problem(
            "objective-needs-energy",
            f"{request.call.function}() needs an observed site with an unnormalized density",
            request.span,
            found="; ".join(reasons),
            fix="declare it as `x: Energy(potential)`, or leave `objective` out",
        )
    return state.structure.variables[found[0]]


def alternatives(variable: Variable) -> str:
    """What else could train an energy by default, with its bias and its cost."""
    name, size = variable.name, math.prod(variable.site.typed.shape)
    others = "noise_contrastive(noise=...): consistent where the noise covers data and model; E at data and at noise."
    if variable.site.typed.support.discrete:
        return (
            f"{name} is discrete, so by default its energy follows the likelihood's gradient, biased by a finite chain "
            f"of as many evaluations of E. Alternative: {others}"
        )
    return (
        f"{name} is real, so by default its score is matched: one gradient of E, biased by the smoothing. "
        "Alternatives: sliced_score_matching(): no bias, more variance; one second derivative along a random "
        f"direction. implicit_score_matching(): no bias; {size} second derivatives. contrastive_divergence(): the "
        f"likelihood's gradient, biased by a finite chain; a gradient of E for each of its steps. {others}"
    )


def contrastive_divergence(state: State, request: Request) -> Share:
    """E_p[dE] - E_data[dE] by a short chain, started at the data or persistent (Hinton 2002; Tieleman 2008)."""
    variable = energy_site(state, request)
    options = ("steps", "step_size", "persistent", "sampler", "buffer", "reinit")
    given = {key: value for key in options if (value := request.get(key)) is not None}
    persistent = _persistent(state, request)
    given["persistent"] = Literal(persistent)
    sampler = chain(state, variable, given, request.span)
    visible = variable.name
    term = ContrastiveGradient(
        variable.name,
        sampler,
        Draw(visible, "data", estimator="none", stop=True),
        Draw(visible, "sampler", estimator="none", stop=True),
        _summed(state),
    )
    part = PlayerTerm(
        term,
        f"the gradient of −{evidence(state.structure)}",
        Direction.NONE,
        "gradient",
        value_unbiased=False,
        gradient_unbiased=False,
        weight=request.weight,
    )
    kind = "Persistent contrastive divergence" if persistent else "Contrastive divergence"
    note = f"{kind} follows the likelihood's gradient, biased by its finite chain: the gradient of no function."
    rest = tuple(
        PlayerTerm(Scale(-1.0, factor.term), f"E_data[log p({factor.site})]", Direction.EQUAL, weight=request.weight)
        for factor in restricted(state, None)
        if request.get("site") is None
    )
    player = Contribution("model", model_groups(state.structure), (part, *rest))
    source = "Hinton 2002; Tieleman 2008" if persistent else "Hinton 2002"
    return Share("mixed" if rest else "gradient_only", None, (player,), (note,), (source,))


def _persistent(state: State, request: Request) -> bool:
    """Whether chains go on between updates.

    Raises:
        SpecError: the buffer of chains is smaller than a batch, or there is nothing that could begin anew.
    """
    buffer, rows = request.get("buffer"), state.structure.program.train.batch_size
    persistent = request.flag("persistent") or buffer is not None
    if not persistent and request.get("reinit") is not None:
        raise problem(
            "objective-buffer",
            "every chain begins at the data: there is no persistent one that `reinit` could begin anew",
            request.span,
            fix="add `persistent=True`, or leave `reinit` out",
        )
    kept = number(buffer)
    if kept is not None and rows is not None and kept < rows:
        raise problem(
            "objective-buffer",
            f"a buffer of {kept:g} chains is smaller than a batch of {rows} rows, each of which takes one",
            request.span,
            fix=f"`buffer={rows}` or more, or a smaller batch",
        )
    return persistent


def _summed(state: State) -> tuple[str, ...]:
    """The units that have been summed out of the energy."""
    return tuple(name for name, rule in state.eliminated.items() if rule == "energy_marginal")


def noise_contrastive(state: State, request: Request) -> Share:
    """Logistic discrimination of data against a normalized noise site, log Z learned (Gutmann and Hyvarinen 2012)."""
    variable = energy_site(state, request)
    noise = normalized_site(state, request, "noise", variable)
    x, ranking = variable.name, bool(variable.given) or request.flag("ranking")
    term = PlayerTerm(
        NoiseContrast(variable.name, noise.name, request.whole("ratio") or 1, ranking),
        f"log p_data({x}) − log p_{noise.name}({x}), by {'ranking' if ranking else 'logistic regression'}",
        Direction.NONE,
        weight=request.weight,
    )
    player = Contribution("model", model_groups(state.structure), (term,))
    reach = "given what it is conditioned on" if ranking else "with its learned log-normalizer"
    notes: tuple[str, ...] = (
        f"Noise-contrastive estimation is consistent where the noise covers the data and the model, {reach}, can reach "
        "them.",
    )
    if ranking:
        notes += (f"Log Z of {x} falls out: each datum is ranked among noise of its own.",)
    source = "Ma and Collins 2018" if ranking else "Gutmann and Hyvärinen 2012, section 2"
    return Share("regression", None, (player, *fitted(state, noise, variable)), notes, (source,))


def normalized_site(state: State, request: Request, option: str, variable: Variable) -> Site:
    """The normalized site that an option names, which nothing else reads and which has the variable's shape.

    Raises:
        SpecError: it is none.
    """
    name, program = called(request.get(option)), state.structure.program
    site = program.by_name.get(name) if name is not None else None
    if site is None or site.name in state.structure.variables or not _normalized(state, site.name):
        raise problem(
            "objective-noise",
            f"{option}={name}: {option} must be a normalized site of the model that nothing else reads",
            request.span,
            expected=f"a site with a density and samples, such as `{option}: Normal(0, 1, shape=2)`",
        )
    latents = {latent.name for latent in program.latents}
    hidden = [parent for parent in state.structure.variable(site).given if parent in latents]
    if hidden:
        raise problem(
            "objective-noise",
            f"{option}={name} is random given {hidden[0]}, which is random too: its own density is an integral",
            request.span,
            fix=f"give {name} numbers, learned parameters or covariates in the place of {hidden[0]}",
        )
    others = [peer for peer in variable.joint if peer in state.structure.observed_names and peer != variable.name]
    if others:
        raise problem(
            "objective-noise",
            f"{option}={name} is one site, and {variable.name} has a joint density with {', '.join(others)}",
            request.span,
            fix="stack the data in one column: `x: Energy(...)`",
        )
    if site.typed.shape != variable.site.typed.shape:
        raise problem(
            "objective-noise",
            f"{option}={name} has the shape {list(site.typed.shape)}, {variable.name} has another",
            request.span,
            expected=str(list(variable.site.typed.shape)),
        )
    return site


def _normalized(state: State, name: str) -> bool:
    able = abilities(state.structure.program, state.structure.program.by_name[name])
    return Ability.LOG_PROB in able and Ability.SAMPLE in able


def fitted(state: State, site: Site, variable: Variable) -> tuple[Contribution, ...]:
    """Who fits a side density to the data by its likelihood; nobody where it has no parameters."""
    program = state.structure.program
    owned = site_groups(program, site)
    if not owned:
        return ()
    read = state.structure.variable(site)
    density = LogDensity(site.name, read.given, "model", rule_of(program, site).name, at=variable.name)
    fit = PlayerTerm(Scale(-1.0, density), f"E_data[log p_{site.name}({variable.name})]", Direction.EQUAL)
    return (Contribution("noise", owned, (fit,)),)

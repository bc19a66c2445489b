"""Objectives for densities that are known up to their normalizer."""

from __future__ import annotations

from dgmppl.objectives.algebra import (
    ContrastiveGradient,
    Direction,
    Draw,
    LogDensity,
    NoiseContrast,
    PlayerTerm,
    Scale,
    ScoreMatching,
)
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.contributions import Contribution, Share, evidence, model_groups, site_groups
from dgmppl.objectives.expansion import rule_of
from dgmppl.objectives.requests import Request, called, problem
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


def _score(state: State, request: Request, kind: str) -> Variable:
    variable = energy_site(state, request)
    if variable.site.typed.support.discrete:
        raise problem(
            "objective-needs-real",
            f"{kind} score matching needs real support, and {variable.name} is discrete",
            request.span,
            found=str(variable.site.typed.support),
            fix="write `contrastive_divergence()`",
        )
    return variable


def _score_share(state: State, request: Request, term: ScoreMatching, estimates: str, notes: tuple[str, ...]) -> Share:
    part = PlayerTerm(term, estimates, Direction.EQUAL, weight=request.weight)
    player = Contribution("model", model_groups(state.structure), (part,))
    divergence = "D_F(p_data ∗ N(0, σ²I) ‖ p_model)" if term.kind == "denoising" else "D_F(p_data ‖ p_model)"
    return Share("score_divergence", divergence, (player,), notes)


def denoising_score_matching(state: State, request: Request) -> Share:
    """Half E || score(x + sigma eps) + eps / sigma ||^2 (Vincent 2011, eq. 9)."""
    variable = _score(state, request, "denoising")
    note = (
        "Denoising score matching fits the data smoothed by the noise: at its optimum the model is p_data ∗ N(0, σ²I)."
    )
    term = ScoreMatching(variable.name, "denoising", request.scalar("sigma"))
    return _score_share(state, request, term, "D_F(p_data ∗ N(0, σ²I) ‖ p_model) + const", (note,))


def sliced_score_matching(state: State, request: Request) -> Share:
    """E v^T (d score) v + half (v^T score)^2 over random directions v (Song et al. 2020, eq. 8)."""
    variable = _score(state, request, "sliced")
    term = ScoreMatching(variable.name, "sliced", projections=request.whole("projections") or 1)
    return _score_share(state, request, term, "D_F(p_data ‖ p_model) + const", ())


def implicit_score_matching(state: State, request: Request) -> Share:
    """E tr(d score) + half || score ||^2 (Hyvarinen 2005, theorem 1)."""
    variable = _score(state, request, "implicit")
    term = ScoreMatching(variable.name, "implicit")
    return _score_share(state, request, term, "D_F(p_data ‖ p_model) + const", ())


def contrastive_divergence(state: State, request: Request) -> Share:
    """E_p[dE] - E_data[dE] by a short chain, started at the data or persistent (Hinton 2002; Tieleman 2008)."""
    variable = energy_site(state, request)
    given = {
        key: value for key in ("steps", "step_size", "persistent", "sampler") if (value := request.get(key)) is not None
    }
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
    persistent = request.flag("persistent")
    kind = "Persistent contrastive divergence" if persistent else "Contrastive divergence"
    note = f"{kind} follows the likelihood's gradient, biased by its finite chain: the gradient of no function."
    rest = tuple(
        PlayerTerm(Scale(-1.0, factor.term), f"E_data[log p({factor.site})]", Direction.EQUAL, weight=request.weight)
        for factor in restricted(state, None)
        if request.get("site") is None
    )
    player = Contribution("model", model_groups(state.structure), (part, *rest))
    return Share("mixed" if rest else "gradient_only", None, (player,), (note,))


def _summed(state: State) -> tuple[str, ...]:
    """The units that have been summed out of the energy."""
    return tuple(name for name, rule in state.eliminated.items() if rule == "energy_marginal")


def noise_contrastive(state: State, request: Request) -> Share:
    """Logistic discrimination of data against a normalized noise site, log Z learned (Gutmann and Hyvarinen 2012)."""
    variable = energy_site(state, request)
    program = state.structure.program
    name = called(request.get("noise"))
    noise = program.by_name.get(name) if name is not None else None
    if noise is None or noise.name in state.structure.variables or not _normalized(state, noise.name):
        raise problem(
            "objective-noise",
            f"noise={name}: noise must be a normalized site of the model that nothing else reads",
            request.span,
            expected="a site with a density and samples, such as `noise: Normal(0, 1, shape=2)`",
        )
    x = variable.name
    term = PlayerTerm(
        NoiseContrast(variable.name, noise.name, request.whole("ratio") or 1),
        f"log p_data({x}) − log p_{noise.name}({x}), by logistic regression",
        Direction.NONE,
        weight=request.weight,
    )
    parts = [Contribution("model", model_groups(state.structure), (term,))]
    owned = site_groups(program, noise)
    if owned:
        read = state.structure.variable(noise)
        density = LogDensity(noise.name, read.given, "model", rule_of(program, noise).name, at=variable.name)
        fit = PlayerTerm(Scale(-1.0, density), f"E_data[log p_{noise.name}({variable.name})]", Direction.EQUAL)
        parts.append(Contribution("noise", owned, (fit,)))
    notes = (
        "Noise-contrastive estimation is consistent where the noise covers the data and the model, with its learned "
        "log-normalizer, can reach them.",
    )
    return Share("regression", None, tuple(parts), notes)


def _normalized(state: State, name: str) -> bool:
    able = abilities(state.structure.program, state.structure.program.by_name[name])
    return Ability.LOG_PROB in able and Ability.SAMPLE in able

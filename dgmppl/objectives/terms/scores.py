"""Score matching: Fisher divergences between data and a density that is known up to its normalizer."""

from __future__ import annotations

from dgmppl.ir.densities import Deterministic
from dgmppl.ir.program import Role
from dgmppl.objectives.algebra import NoiseLadder, ScoreMatching
from dgmppl.objectives.contributions import Contribution, Share, model_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.requests import Request, called, number, problem
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Variable
from dgmppl.objectives.terms.energies import energy_site, fitted, normalized_site

# The largest of several noises over the smallest, where the spec does not say.
_SPAN = 100.0
# The coordinates in which the scores of bounded supports are matched.
_COORDINATES = {
    "positive": "logarithm",
    "unit": "logit",
    "interval": "logit between its ends",
    "simplex": "stick-breaking logits",
}


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


def _share(
    state: State,
    request: Request,
    term: ScoreMatching,
    divergence: str,
    *notes: str,
    constant: bool = True,
    others: tuple[Contribution, ...] = (),
    source: str,
) -> Share:
    coordinates = _COORDINATES.get(state.structure.variables[term.site].site.typed.support.kind)
    if coordinates is not None:
        notes += (f"Scores and noise of {term.site} are those of its {coordinates}, which nothing bounds.",)
    estimates = f"{divergence} + const" if constant else divergence
    part = PlayerTerm(term, estimates, Direction.EQUAL, weight=request.weight)
    player = Contribution("model", model_groups(state.structure), (part,))
    return Share("score_divergence", divergence, (player, *others), notes, (source,))


def denoising_score_matching(state: State, request: Request) -> Share:
    """Half E || score(x + sigma eps) + eps / sigma ||^2 (Vincent 2011), at one noise or several."""
    variable = _score(state, request, "denoising")
    sigma, ladder = request.scalar("sigma"), _ladder(state, request)
    term = ScoreMatching(variable.name, "denoising", sigma, ladder=ladder)
    if ladder is None:
        note = (
            "Denoising score matching fits the data smoothed by the noise: at its optimum the model is "
            "p_data ∗ N(0, σ²I)."
        )
        return _share(state, request, term, "D_F(p_data ∗ N(0, σ²I) ‖ p_model)", note, source="Vincent 2011")
    source = "Vincent 2011; Song and Ermon 2019, eq. 6"
    if ladder.level is not None:
        note = (
            f"At each level the optimum is p_data ∗ N(0, σₖ²I); the model's own density is that at {ladder.level}. "
            "Langevin samples walk down the levels (Song and Ermon 2019, algorithm 1)."
        )
        fitted = f"∑ₖ wₖ D_F(p_data ∗ N(0, σₖ²I) ‖ p_model({ladder.level} = σₖ))"
        return _share(state, request, term, fitted, note, source=source)
    note = (
        "One density is fitted to the data under every noise, which none equals: name a constant of the model that "
        "the energy reads, `level=NAME`, to fit each."
    )
    return _share(state, request, term, "∑ₖ wₖ D_F(p_data ∗ N(0, σₖ²I) ‖ p_model)", note, source=source)


def _ladder(state: State, request: Request) -> NoiseLadder | None:
    """The noises that a request asks for; None for one."""
    levels, sigma = request.whole("levels") or 1, request.scalar("sigma")
    level = _level(state, request)
    smallest, power = number(request.get("smallest")), number(request.get("power"))
    if levels == 1:
        return None if level is None and not power else NoiseLadder(1, None, power or 0.0, level)
    if smallest is None:
        if not isinstance(sigma, float):
            raise problem("objective-noise", "a sigma that changes needs `smallest=`", request.span)
        smallest = sigma / _SPAN
    if isinstance(sigma, float) and smallest >= sigma:
        raise problem(
            "objective-noise",
            f"the noises fall from sigma={sigma:g} to smallest={smallest:g}, which is not below it",
            request.span,
            fix="write the largest noise as `sigma=` and the smallest as `smallest=`",
        )
    return NoiseLadder(levels, smallest, 2.0 if power is None else power, level)


def _level(state: State, request: Request) -> str | None:
    """The constant of the model that takes the noise's value.

    Raises:
        SpecError: the name is that of something else.
    """
    name = called(request.get("level"))
    if name is None:
        return None
    site = state.structure.program.by_name.get(name)
    if site is None or site.role is not Role.DETERMINISTIC or site.typed.shape or not _constant(site.density):
        raise problem(
            "objective-noise",
            f"level={name}: the energy reads the noise's level from a scalar constant of the model",
            request.span,
            expected="such as `s: 0.01` in `model`, read by `Energy(potential, s)`",
        )
    return name


def _constant(density: object) -> bool:
    return isinstance(density, Deterministic) and number(density.expression) is not None


def sliced_score_matching(state: State, request: Request) -> Share:
    """E v^T (d score) v + half (v^T score)^2 over random directions v (Song et al. 2020)."""
    variable = _score(state, request, "sliced")
    term = ScoreMatching(variable.name, "sliced", projections=request.whole("projections") or 1)
    return _share(state, request, term, "D_F(p_data ‖ p_model)", source="Song, Garg, Shi and Ermon 2020")


def implicit_score_matching(state: State, request: Request) -> Share:
    """E tr(d score) + half || score ||^2 (Hyvarinen 2005, theorem 1)."""
    variable = _score(state, request, "implicit")
    term = ScoreMatching(variable.name, "implicit")
    return _share(state, request, term, "D_F(p_data ‖ p_model)", source="Hyvärinen 2005, theorem 1")


def explicit_score_matching(state: State, request: Request) -> Share:
    """Half E || score of the model - score of a known density ||^2 at the data (Hyvarinen 2005, eq. 2)."""
    variable = _score(state, request, "explicit")
    reference = normalized_site(state, request, "density", variable)
    term = ScoreMatching(variable.name, "explicit", density=reference.name)
    note = f"Explicit score matching takes the data's score from {reference.name}: it is right where that is right."
    others, source = fitted(state, reference, variable), "Hyvärinen 2005, eq. 2"
    return _share(state, request, term, "D_F(p_data ‖ p_model)", note, constant=False, others=others, source=source)

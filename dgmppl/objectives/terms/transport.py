"""Regressions that train a transport: `flow_matching`, and a diffusion's own denoising loss."""

from __future__ import annotations

from dgmppl.ir.densities import DiffusionChain, Pushforward
from dgmppl.ir.diffusions import interior
from dgmppl.objectives.algebra import DenoisingTerm, Squared, Term, VelocityRegression
from dgmppl.objectives.capabilities import continuous_time
from dgmppl.objectives.contributions import Contribution, Share, model_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.requests import Request, called, problem
from dgmppl.objectives.state import State

_SOURCES = {"linear": "Lipman et al. 2023, eq. 9", "variance_preserving": "Albergo and Vanden-Eijnden 2023"}
_SOURCES_OF_PAIRS = {"optimal_transport": ("Tong et al. 2024",)}


def flow_matching(state: State, request: Request) -> Share:
    """E || field(x_t, t) - d x_t / dt ||^2 along paths from base to data (Lipman et al. 2023, eq. 9).

    Straight lines, or arcs that keep the variance (Albergo and Vanden-Eijnden 2023); with
    `coupling=optimal_transport` each batch is paired by the plan of least squared distance (Tong et al. 2024).
    """
    path, coupling, named = request.word("path"), request.word("coupling"), called(request.get("site"))
    program = state.structure.program
    found = [
        name
        for name, variable in state.structure.variables.items()
        if name in state.structure.observed_names
        and named in {None, name}
        and isinstance(variable.site.density, Pushforward)
        and continuous_time(program, variable.site.density.bijector)
    ]
    if not found:
        raise problem(
            "objective-needs-ode",
            "flow_matching() needs an observed site that is the image of a base under `ode(field)`",
            request.span,
            fix="declare `bijectors: {flow: ode(field)}` and `x: flow(z)`, or leave `objective` out",
        )
    term = PlayerTerm(
        VelocityRegression(found[0], path, coupling),
        "E‖field(xₜ, t) − E[∂ₜxₜ | xₜ]‖² + const",
        Direction.EQUAL,
        weight=request.weight,
    )
    note = "Flow matching is a regression on velocities, not a divergence of densities; the likelihood is the ODE's."
    notes: tuple[str, ...] = (note,)
    if coupling == "optimal_transport":
        notes += ("Pairs come from each batch's optimal transport plan: the target depends on the batch's size.",)
    player = Contribution("model", model_groups(state.structure), (term,))
    return Share("regression", None, (player,), notes, (_SOURCES[path], *_SOURCES_OF_PAIRS.get(coupling, ())))


def denoising(state: State, request: Request, name: str) -> Share:
    """A diffusion's weighted regression, where its declaration asks for another weighting than the bound's."""
    density = state.structure.variables[name].site.density
    assert isinstance(density, DiffusionChain)
    term = PlayerTerm(
        DenoisingTerm(name, density.weighting),
        "a reweighting of the variational bound's terms",
        Direction.NONE,
        weight=request.weight,
    )
    note = (
        f"weighting={density.weighting} trains a reweighted bound; log p is still bounded by the VLB, "
        "which `score` and `evaluate` report."
    )
    player = Contribution("model", model_groups(state.structure), (term,))
    return Share("reweighted_bound", None, (player,), (note,), ("Ho, Jain and Abbeel 2020, eq. 14",))


def steadying(state: State, loss: Term) -> tuple[Contribution, ...]:
    """The player of learned schedules in continuous time: it makes the bound's estimate vary least.

    The bound does not depend on a schedule between its ends, its estimate at one random time does; with the mean
    fixed, the least square is the least variance (Kingma et al. 2021, section 5.1 and appendix I.2).

    Args:
        state: what is left of the log joint.
        loss: the negated bound.
    """
    owned = frozenset(filter(None, (interior(variable.site) for variable in state.structure.variables.values())))
    term = PlayerTerm(Squared(loss), "the variance of the bound's estimate, plus what does not move", Direction.NONE)
    return (Contribution("schedule", owned, (term,)),) if owned else ()

"""Objectives by a critic: a divergence between data and model, estimated by its variational dual."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.expressions import Call, Expression, Literal
from dgmppl.objectives.algebra import Conjugate, Direction, Penalty, PlayerTerm, Scale
from dgmppl.objectives.capabilities import Ability, abilities
from dgmppl.objectives.contributions import Contribution, Share, critic_groups, model_groups
from dgmppl.objectives.divergences import ALPHA, DIVERGENCES, Divergence, alpha_divergence
from dgmppl.objectives.requests import Request, called, number, problem
from dgmppl.objectives.state import State
from dgmppl.objectives.terms.densities import critic_name

# Penalties that are no term of a loss, but change the critic itself.
_CONSTRAINTS = {"spectral": "The critic's weights are divided by their largest singular values (Miyato et al. 2018)."}

# What a Wasserstein critic is held to where nothing is asked for (Gulrajani et al. 2017).
_LIPSCHITZ = Call("gradient", (Literal(10.0),))


def adversarial(state: State, request: Request) -> Share:
    """A divergence between data and model, estimated by a critic (Goodfellow et al. 2014; Nowozin et al. 2016)."""
    index = _critic(state, request)
    divergence, settings = _divergence(request)
    held = _constraint(request)
    options = (*settings, *_fake(state, request, index), *held)
    reads = state.structure.program.critics[index].reads
    symbol = _symbol(state, divergence, reads)
    variant = _variant(divergence, request)
    saturating = variant == "saturating"
    joint = any(state.structure.name_of(name) not in state.structure.observed_names for name in reads)
    played = Conjugate(divergence.name, index, reads, "critic", options=options, joint=joint)
    dual = PlayerTerm(Scale(-1.0, played), symbol, Direction.LOWER)
    loss = PlayerTerm(
        replace(played, player="model", variant=variant),
        symbol if saturating else f"a variant of descending {symbol}",
        Direction.LOWER if saturating else Direction.NONE,
        weight=request.weight,
    )
    terms = (dual, *_penalty(divergence, played, request))
    critic = Contribution(critic_name(state, index), critic_groups(state.structure.program, index), terms)
    steps = request.whole("critic_steps") or 1
    model = Contribution("model", model_groups(state.structure) - critic.owns, (loss,), steps)
    notes = (*_notes(divergence, symbol, variant), *(_CONSTRAINTS[called(asked) or ""] for _, asked in held))
    return Share("divergence_lower_bound", symbol, (critic, model), notes, (divergence.reference,))


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


def _fake(state: State, request: Request, index: int) -> tuple[tuple[str, Expression], ...]:
    """How samples of the model reach the critic; refuses what would send no gradient to the generator."""
    fake, source = request.get("fake"), request.word("source")
    structure = state.structure
    for name in (structure.name_of(read) for read in structure.program.critics[index].reads):
        if name not in structure.variables or name not in structure.observed_names or fake is not None:
            continue
        able = abilities(structure.program, structure.variables[name].site)
        if Ability.RSAMPLE not in able:
            raise problem(
                "objective-fake",
                f"adversarial({name}): samples of {name} carry no gradient",
                request.span,
                found=f"{name} can {able.describe()}",
                expected="a site with RSAMPLE, or fake=mean | straight_through | score_function",
                fix=f"write `adversarial({name}, fake=mean)`",
            )
    chosen = (("fake", fake),) if fake is not None else ()
    return chosen if source == "prior" else (*chosen, ("source", Literal(source)))


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
    asked = request.get("penalty") or (_LIPSCHITZ if divergence.lipschitz else None)
    if asked is None or called(asked) in _CONSTRAINTS:
        return ()
    return (PlayerTerm(Penalty(dual.critic, asked, dual), "the critic's constraint", Direction.NONE),)


def _constraint(request: Request) -> tuple[tuple[str, Expression], ...]:
    """What the critic is held to by its form, in the losses of both players."""
    asked = request.get("penalty")
    return (("penalty", asked),) if asked is not None and called(asked) in _CONSTRAINTS else ()


def _notes(divergence: Divergence, symbol: str, variant: str) -> tuple[str, ...]:
    notes = [f"The critic gives a lower bound on {symbol}, which the generator lowers: no guarantee on the divergence."]
    if divergence.limit:
        notes.append(f"{divergence.name}: {divergence.limit}.")
    if variant == "non_saturating" and "saturating" in divergence.variants:
        notes.append("The generator's update is the non-saturating variant; saturating=True descends the dual itself.")
    return tuple(notes)

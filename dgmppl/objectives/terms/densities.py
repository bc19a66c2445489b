"""What stands in for a missing density: chains for unnormalized ones, critics for the ratio of implicit ones."""

from __future__ import annotations

from collections.abc import Mapping

from dgmppl.ir.densities import Unnormalized
from dgmppl.ir.expressions import Call, Expression, Literal
from dgmppl.ir.options import SAMPLERS
from dgmppl.objectives.algebra import Conjugate, ContrastiveGradient, Draw, Scale
from dgmppl.objectives.bounds import guided_latents, unnormalized
from dgmppl.objectives.contributions import Contribution, critic_groups, energy_groups
from dgmppl.objectives.derivation import Direction, PlayerTerm
from dgmppl.objectives.requests import called, problem
from dgmppl.objectives.rules.implicit_latent import critic_of
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Variable
from dgmppl.source import Span

# Chains that a contrastive gradient can take, by what the support allows; the first is the default.
_REAL = ("langevin", "mala", "hmc")
_DISCRETE = ("gibbs_with_gradients", "gibbs")
_BLOCK = ("gibbs", "gibbs_with_gradients")

# The dual's own critic as a function of the ratio, f'(r) of the Jensen-Shannon divergence.
_JS = "½ log(2 r/(1 + r))"

# Steps of a chain where nothing says otherwise; block Gibbs needs one (Hinton 2002).
_STEPS, _BLOCK_STEPS = 60, 1


def chain(state: State, variable: Variable, given: Mapping[str, Expression], span: Span | None) -> Call:
    """The chain's call with its length: as the objective says, else the site's own sampler, else by the support."""
    block = "energy_marginal" in state.eliminated.values()
    known = (_BLOCK if block else _DISCRETE) if variable.site.typed.support.discrete else _REAL
    declared = given.get("sampler") or getattr(variable.site.density, "sampler", None)
    word = called(declared)
    if word is not None and word not in known:
        raise problem(
            "objective-sampler",
            f"{word} does not sample {variable.name}",
            declared.span if declared else span,
            expected=", ".join(known),
            found=f"support {variable.site.typed.support}",
        )
    own = _given(declared) if isinstance(declared, Call) else {}
    named = {key: value for key, value in given.items() if key != "sampler"}
    settings: dict[str, Expression] = {
        "steps": Literal(_BLOCK_STEPS if block else _STEPS),
        "persistent": Literal(False),
    }
    return Call(word or known[0], keywords=tuple({**settings, **own, **named}.items()))


def _given(sampler: Call) -> dict[str, Expression]:
    """The settings that a sampler's call gives, positional ones by their names."""
    names = (argument.name for argument in SAMPLERS[sampler.function].arguments)
    return {**dict(zip(names, sampler.arguments, strict=False)), **dict(sampler.keywords)}


def energy_player(state: State, name: str) -> Contribution:
    """The owner of an unnormalized prior: its contrastive gradient between the guide's draws and its own chain's."""
    variable = state.structure.variables[name]
    density = variable.site.density
    assert isinstance(density, Unnormalized)
    positive = Draw(state.structure.guided[name].name, "guide", state.structure.guided[name].given, "none", stop=True)
    negative = Draw(name, "sampler", variable.given, "none", stop=True)
    term = PlayerTerm(
        ContrastiveGradient(name, chain(state, variable, {}, variable.site.span), positive, negative),
        f"the gradient of −E_q[log p({name})]",
        Direction.NONE,
        "gradient",
        value_unbiased=False,
        gradient_unbiased=False,
    )
    return Contribution("energy", energy_groups(state.structure.program, variable.site), (term,))


def critic_name(state: State, number: int) -> str:
    """The critic player's name; numbered where there are several."""
    return "critic" if len(state.structure.program.critics) == 1 else f"critic_{number}"


def ratio_critic(state: State, name: str) -> Contribution:
    """The critic whose raw output estimates log q(z | x) - log p(z): it discriminates draws of guide and prior."""
    number = critic_of(state, name)
    assert number is not None
    reads = state.structure.program.critics[number].reads
    dual = Conjugate("js", number, reads, "critic", positive="guide", negative="prior")
    conditions = _conditions(state, name)
    given = ", ".join(sorted(conditions)) if conditions <= state.structure.critic_reads(number) else ""
    sides = f"p_data({given}) q({name} | {given}) ‖ p_data({given}) p({name})" if given else f"q({name}) ‖ p({name})"
    term = PlayerTerm(Scale(-1.0, dual), f"D_JS({sides})", Direction.LOWER)
    return Contribution(critic_name(state, number), critic_groups(state.structure.program, number), (term,))


def _conditions(state: State, name: str) -> frozenset[str]:
    """The data that a latent's guide reads; a critic that reads them too compares q(z | x) with p(z), else q(z)."""
    return frozenset(state.structure.guided[name].given) & state.structure.observed_names


def special_notes(state: State) -> tuple[str, ...]:
    """What must be said of bounds that lack a normalizer or a density."""
    notes = [
        f"The bound lacks log Z of {name}. Encoder's and decoder's gradients are unbiased; the energy's is biased by "
        "its finite chain. With log Z by reverse AIS the value is a bound in expectation, by forward AIS it is biased "
        "upward."
        for name in unnormalized(state)
    ]
    for name in guided_latents(state):
        if state.eliminated[name] != "implicit_latent":
            continue
        number = critic_of(state, name)
        assert number is not None
        conditions = _conditions(state, name)
        notes.append(
            f"The critic's output is log r({name}), r the ratio of the two densities that it compares; T is {_JS}."
        )
        if conditions <= state.structure.critic_reads(number):
            notes.append(f"The density ratio of {name} is estimated by a critic: an estimate of the ELBO, no bound.")
        else:
            notes.append(
                f"The critic reads {name} alone, so it compares the aggregate q({name}) with p({name}): the objective "
                f"equals ELBO + I_q({', '.join(sorted(conditions))}; {name}) and bounds nothing."
            )
    return tuple(notes)

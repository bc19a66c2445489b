"""From structure to objective: `derive(program)`.

The order: what is one random variable is named once; exact eliminations run innermost over only the factors that
contain the latent; latents with guides are removed last, outermost; then the target is chosen where a density is
missing, or where parameters are random; then every parameter group gets exactly one owner.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.errors import SpecError
from dgmppl.ir.densities import DiffusionChain
from dgmppl.ir.expressions import Call, Expression, Name
from dgmppl.ir.program import Program
from dgmppl.objectives.bounds import BoundOptions, guided_latents, likelihood
from dgmppl.objectives.contributions import Share, all_groups, declared_span, players
from dgmppl.objectives.derivation import Derivation, Objective, Player
from dgmppl.objectives.eliminate import eliminate
from dgmppl.objectives.engines import MODES, SAMPLERS, engine_of, engine_reason
from dgmppl.objectives.expansion import initial_state
from dgmppl.objectives.metrics import check_metrics
from dgmppl.objectives.posteriors import joint_latents, log_joint, posterior, with_prior
from dgmppl.objectives.requests import called, problem, request, requests
from dgmppl.objectives.rules import TARGETS
from dgmppl.objectives.rules.implicit_data import implicit
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Structure, random_parameters
from dgmppl.objectives.summary import capabilities, factorization, notes, references, status_of, warnings
from dgmppl.objectives.terms import TERMS
from dgmppl.objectives.terms.energies import alternatives
from dgmppl.objectives.terms.likelihoods import restricted
from dgmppl.objectives.terms.transport import denoising
from dgmppl.objectives.validation import check, no_objective


def derive(program: Program) -> Derivation:
    """Everything that follows from a program's structure.

    Args:
        program: typed, its guide complete (`dgmppl.objectives.guides.complete_guide`).

    Raises:
        SpecError: guide, objective or ownership contradict the model.
        NoObjectiveError: some unknown, or some density, is covered by no rule; each rule says why not.
    """
    structure = Structure(program)
    check(structure)
    engine = engine_of(structure)
    sampler = called(engine) in SAMPLERS | MODES
    state = _targets(eliminate(initial_state(structure, sampler=sampler)))
    no_objective(state)
    shares = _shares(state, engine)
    order = (*all_groups(program), *joint_latents(state))
    movers = players((part for share in shares for part in share.contributions), order)
    _owned(structure, movers, order)
    status = status_of(state)
    check_metrics(program, status)
    body = None if status == "implicit" or _estimated(state) else likelihood(state, BoundOptions(normalizers=True))
    objective = Objective(
        _combined(shares),
        _divergence(shares),
        movers,
        None if joint_latents(state) else body,
        log_joint(state) if engine is not None else None,
    )
    said = [*(note for share in shares for note in share.notes), *notes(state, status)]
    if engine is not None and program.infer is None and called(program.objective) != "map":
        said.append(engine_reason(engine))
    return Derivation(
        status,
        factorization(structure),
        objective,
        dict(state.eliminated),
        state.rules,
        state.refusals,
        capabilities(state, status),
        engine,
        references(state, shares),
        tuple(dict.fromkeys(said)),
        _discrete(program, status),
        warnings(structure),
    )


def _discrete(program: Program, status: str) -> str | None:
    """What is known of the discrete data's own likelihood, where a density of dequantized data is evaluated."""
    dequantized = any(column.discrete_bins for column in program.columns.values())
    return "bound" if dequantized and status in {"exact", "bound"} else None


def _targets(state: State) -> State:
    """Records the target rules that apply: they decide what is trained where a density is missing."""
    program = state.structure.program
    for name in state.structure.variables:
        for rule in (TARGETS["unnormalized_data"], TARGETS["unnormalized_prior"]):
            verdict = rule.predicate(state, name)
            state = state.used(rule.name, name, verdict.why) if verdict.applies else state
    for name in random_parameters(program):
        state = state.used("parameter_prior", name, TARGETS["parameter_prior"].predicate(state, name).why)
    return state


# ---- what is trained ------------------------------------------------------------------------------------------------


def _shares(state: State, engine: Expression | None) -> tuple[Share, ...]:
    program = state.structure.program
    asked = () if called(program.objective) == "map" else requests(program.objective)
    if asked:
        found = tuple(TERMS[term.call.function](state, term) for term in asked)
        return (with_prior(state, found[0], engine), *found[1:]) if random_parameters(program) else found
    if isinstance(engine, Call):
        if not (random_parameters(program) or joint_latents(state)):
            raise problem(
                "infer-without-unknowns",
                f"{engine.function} has nothing to infer: no parameter is random, and no latent is left",
                engine.span,
                fix="give a parameter a prior, or leave `infer` out",
            )
        return (posterior(state, engine),)
    return _default(state)


def _default(state: State) -> tuple[Share, ...]:
    """The objective that the structure calls for, where the spec asks for none."""
    structure = state.structure
    energies = _energies(state)
    if any(implicit(structure, name) for name in structure.variables if name in structure.observed_names):
        return (*_adversarial(state), *_rest(state, frozenset()))
    if energies:
        return (*(_energy(state, name) for name in energies), *_rest(state, frozenset(energies)))
    if guided_latents(state):
        return (TERMS["elbo"](state, request("elbo")),)
    reweighted = [name for name in structure.variables if _reweighted(structure, name)]
    if reweighted:
        shares = tuple(denoising(state, request("vlb"), name) for name in reweighted)
        return (*shares, *_rest(state, frozenset(reweighted)))
    bounded = any(isinstance(variable.site.density, DiffusionChain) for variable in structure.variables.values())
    name = "vlb" if bounded else "mle"
    return (TERMS[name](state, request(name)),)


def _adversarial(state: State) -> tuple[Share, ...]:
    """One adversarial term for each critic that reads data."""
    structure = state.structure
    critics = [
        critic.reads[0]
        for critic in structure.program.critics
        if structure.observed_names & {structure.name_of(name) for name in critic.reads}
    ]
    return tuple(TERMS["adversarial"](state, request("adversarial", site=Name(name))) for name in critics)


def _energies(state: State) -> list[str]:
    """The observed unnormalized densities, each by the first of its observed names."""
    structure = state.structure
    found = [name for name in structure.variables if TARGETS["unnormalized_data"].predicate(state, name).applies]
    first: dict[tuple[str, ...], str] = {}
    for name in found:
        first.setdefault(structure.variables[name].joint or (name,), name)
    return list(first.values())


def _energy(state: State, name: str) -> Share:
    """Score matching on real support, contrastive divergence on discrete."""
    discrete = state.structure.variables[name].site.typed.support.discrete
    function = "contrastive_divergence" if discrete else "denoising_score_matching"
    share = TERMS[function](state, request(function, site=Name(name)))
    return replace(share, notes=(*share.notes, alternatives(state.structure.variables[name])))


def _rest(state: State, trained: frozenset[str]) -> tuple[Share, ...]:
    """Maximum likelihood for the normalized observed sites that no other term trains."""
    names = [factor.site for factor in restricted(state, None) if factor.site not in trained]
    observed = [name for name in names if name in state.structure.observed_names]
    return tuple(TERMS["mle"](state, request("mle", site=Name(name))) for name in observed)


def _reweighted(structure: Structure, name: str) -> bool:
    density = structure.variables[name].site.density
    return isinstance(density, DiffusionChain) and density.weighting != "vlb" and name in structure.observed_names


def _combined(shares: tuple[Share, ...]) -> str:
    found = {share.status for share in shares}
    return found.pop() if len(found) == 1 else "mixed"


def _divergence(shares: tuple[Share, ...]) -> str | None:
    named = [share.divergence for share in shares if share.divergence is not None]
    return " + ".join(dict.fromkeys(named)) or None


def _estimated(state: State) -> bool:
    """Whether some latent's share of the bound is a critic's estimate, so that nothing evaluates it."""
    return "implicit_latent" in state.eliminated.values()


# ---- ownership ------------------------------------------------------------------------------------------------------


def _owned(structure: Structure, movers: tuple[Player, ...], order: tuple[str, ...]) -> None:
    """Refuses parameter groups that no player moves."""
    owned = {name for player in movers for name in player.owns}
    lost = [name for name in order if name not in owned]
    errors = [
        problem(
            "group-unowned",
            f"nothing trains {name}",
            declared_span(structure.program, name),
            expected="every network, bijector and learned parameter is read by something that a player minimizes",
            fix=f"read {name} in the model, guide or critics, or drop it (`{name}: null` under `extends`)",
        ).diagnostics[0]
        for name in lost
    ]
    if errors:
        raise SpecError(errors)

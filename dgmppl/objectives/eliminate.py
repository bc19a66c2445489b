"""Removing the unknowns from the log joint, in the order that keeps every step exact as long as possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dgmppl.ir.program import Role
from dgmppl.objectives.expansion import initial_state
from dgmppl.objectives.rules import EXACT, INEXACT, TARGETS
from dgmppl.objectives.rules.implicit_data import compared, implicit, jointly, latents_of
from dgmppl.objectives.state import State
from dgmppl.objectives.structure import Structure


def eliminate_exactly(state: State) -> State:
    """Exact rules by priority, each over the latents in reverse generative order, until none applies any more."""
    for rule in EXACT.values():
        for name in reversed(state.remaining):
            if name in state.eliminated or name in state.structure.guided:
                continue
            verdict = rule.predicate(state, name)
            state = rule.rewrite(state, name) if verdict.applies else state.refused(rule.name, name, verdict.why)
    return state


def exact_state(structure: Structure) -> State:
    """The log joint after everything that needs no guide: implicit data, the exact rules, what samples alone train."""
    return _compared(eliminate_exactly(_implicit(initial_state(structure))))


def eliminate(state: State) -> State:
    """All rules: implicit data, exact ones innermost, then the joint and the guide, outermost.

    Unknowns that no rule removes are left in `state.remaining`.
    """
    state = _compared(eliminate_exactly(_implicit(state)))
    state = _switched_off(state)
    sampled = [name for name in state.structure.guided if name in state.remaining]
    unguided = [name for name in state.remaining if name not in state.structure.guided]
    return _first_that_applies(state, (*unguided, *sampled))


def _first_that_applies(state: State, names: Iterable[str]) -> State:
    for name in names:
        for rule in INEXACT.values():
            verdict = rule.predicate(state, name)
            if verdict.applies:
                state = rule.rewrite(state, name)
                break
            state = state.refused(rule.name, name, verdict.why)
    return state


def _implicit(state: State) -> State:
    """Takes the latents of implicit data, and whatever shares them, out of the log joint: they come from the prior."""
    structure = state.structure
    for name in structure.variables:
        if name not in structure.observed_names or not implicit(structure, name):
            continue
        together = jointly(structure, name)
        latents = frozenset[str]().union(*(latents_of(structure, other) for other in together))
        gone = latents | set(together)
        state = replace(
            state,
            factors=tuple(factor for factor in state.factors if factor.site not in gone),
            eliminated={
                **state.eliminated,
                **{latent: "implicit_data" for latent in structure.unknown if latent in latents},
            },
        )
        verdict = TARGETS["implicit_data"].predicate(state, name)
        state = state.used("implicit_data", name, verdict.why) if verdict.applies else state.refused(
            "implicit_data", name, verdict.why
        )  # fmt: skip
    return state


def _compared(state: State) -> State:
    """Takes latents that no exact rule removes, and what reads them, out of the log joint where critics alone train."""
    structure = state.structure
    latents = [name for name in state.remaining if structure.variables[name].site.role is Role.LATENT]
    if not latents or not compared(structure):
        return state
    gone = {*latents, *(reader.name for name in latents for reader in structure.readers(name))}
    why = "critics alone train the model, from samples of it: it is drawn from its prior and needs no guide"
    for name in latents:
        state = state.used("implicit_data", name, why)
    return replace(
        state,
        factors=tuple(factor for factor in state.factors if factor.site not in gone),
        eliminated={**state.eliminated, **dict.fromkeys(latents, "implicit_data")},
    )


def _switched_off(state: State) -> State:
    """Records the exact rules that a declared guide switches off."""
    structure = state.structure
    if not structure.guided:
        return state
    free = Structure(replace(structure.program, guide=(), auto_guide=None))
    without = exact_state(free)
    for name, rule in without.eliminated.items():
        guided = next((other for other in structure.guided if free.name_of(other) == name), None)
        if guided is not None and guided not in state.eliminated:
            state = state.refused(
                rule, guided, f"its guide switches it off: without one, {rule} would remove it exactly"
            )
    return state

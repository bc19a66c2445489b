"""Which expansion rule computes a site's density, and the list of factors that the log joint starts as."""

from __future__ import annotations

from dgmppl.errors import InternalError
from dgmppl.ir.program import Program, Site
from dgmppl.objectives.rules import EXPANSIONS
from dgmppl.objectives.rules.rule import Expansion
from dgmppl.objectives.state import Factor, State, log_density
from dgmppl.objectives.structure import Structure


def expansion_of(program: Program, site: Site) -> Expansion | None:
    """The rule that computes log p(site | parents); None where there is no density."""
    return next((rule for rule in EXPANSIONS.values() if rule.predicate(program, site).applies), None)


def rule_of(program: Program, site: Site) -> Expansion:
    """The rule that computes a density which is known to exist."""
    found = expansion_of(program, site)
    if found is None:
        raise InternalError(f"no expansion rule for {site.name!r}, whose density was taken to exist")
    return found


def initial_state(structure: Structure, *, sampler: bool = False) -> State:
    """The log joint as a list of factors, observed ones first, each with the unknowns that it reads.

    Variables without a density (implicit ones) have no factor.
    """
    observed = [name for name in structure.variables if name in structure.observed_names]
    latent = [name for name in structure.variables if name not in structure.observed_names]
    factors: list[Factor] = []
    state = State(structure, (), sampler)
    for name in (*observed, *latent):
        variable = structure.variables[name]
        rule = expansion_of(structure.program, variable.site)
        if rule is None or (variable.joint and name != _first(structure, variable.joint)):
            continue
        term = log_density(variable, rule.name, "model")
        factors.append(Factor(term, structure.scope(variable), name))
        state = state.used(rule.name, name, rule.predicate(structure.program, variable.site).why)
    for inlined in structure.program.runs:
        state = state.used("trained", inlined.site, f"it comes from the run {inlined.run}, frozen")
    return State(structure, tuple(factors), sampler, rules=state.rules, start=tuple(factors))


def _first(structure: Structure, names: tuple[str, ...]) -> str:
    """The member of a joint site that its one factor is written under: the first observed one, else the first."""
    return next((name for name in names if name in structure.observed_names), names[0])

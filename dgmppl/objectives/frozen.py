"""What is said of finished runs that stand in a model: what came along, and what is left to train."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.objectives.contributions import site_groups
from dgmppl.objectives.structure import Structure, Variable


def run_notes(structure: Structure) -> Iterator[str]:
    """One line for each run, and one for what its parameters leave to be trained."""
    program = structure.program
    for inlined in program.runs:
        groups = ", ".join(sorted(inlined.groups)) or "it has no parameters"
        yield f"{inlined.site} comes from the finished run {inlined.run}, its parameters frozen: {groups}."
    if program.runs:
        terms = _trained(structure)
        what = f"only {', '.join(terms)}" if terms else "nothing"
        yield f"What is trained here is {what}: whatever else stands in the objective is a constant of the training."


def frozen_guide(structure: Structure, name: str) -> bool:
    """Whether all that a latent's guide reads is frozen, so that no gradient passes through its draw."""
    variable = structure.guided.get(name)
    if variable is None or not structure.program.runs:
        return False
    found = site_groups(structure.program, variable.site)
    return bool(found) and found <= structure.program.frozen_groups


def _trained(structure: Structure) -> tuple[str, ...]:
    """The densities of model and guide that read a parameter which is trained."""
    model = (f"log {_density('p', one)}" for one in structure.variables.values() if _moves(structure, one))
    guide = (_density("q", one) for one in structure.guided.values() if _moves(structure, one))
    return (*model, *guide)


def _moves(structure: Structure, variable: Variable) -> bool:
    return bool(site_groups(structure.program, variable.site) - structure.program.frozen_groups)


def _density(letter: str, variable: Variable) -> str:
    return f"{letter}({variable.name}{' | ' + ', '.join(variable.given) if variable.given else ''})"

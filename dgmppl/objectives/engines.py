"""Inference engines for random parameters, and the rule that chooses one where `infer` is left out.

The rule: NUTS where every parameter and every remaining latent is continuous and has a prior, no guide is declared, and
there are at most `SMALL` unknown numbers; stochastic variational inference elsewhere.
"""

from __future__ import annotations

from dgmppl.ir.expressions import Call, Expression
from dgmppl.ir.parameters import count
from dgmppl.ir.program import Role
from dgmppl.objectives.contributions import model_groups
from dgmppl.objectives.eliminate import eliminate_exactly
from dgmppl.objectives.expansion import initial_state
from dgmppl.objectives.requests import called, problem
from dgmppl.objectives.structure import Structure, random_parameters

SAMPLERS = frozenset({"nuts", "hmc", "smc", "sgld", "sghmc"})
MODES = frozenset({"map", "laplace"})

# The largest number of unknowns that NUTS is chosen for unasked.
SMALL = 1000


def engine_of(structure: Structure) -> Expression | None:
    """The inference engine's call; None where no parameter is random and none is asked for."""
    program = structure.program
    asked = program.infer
    if asked is None and called(program.objective) == "map":
        asked = Call("map")
    if asked is None:
        return default_engine(structure) if random_parameters(program) else None
    word = called(asked) or ""
    if word in SAMPLERS:
        _refuse_learned(structure, word, asked)
    return asked if isinstance(asked, Call) else Call(word, span=asked.span)


def _point_parameters(structure: Structure) -> list[str]:
    """The parameter groups without a prior."""
    return sorted(model_groups(structure) - set(random_parameters(structure.program)))


def _refuse_learned(structure: Structure, word: str, asked: Expression) -> None:
    points = _point_parameters(structure)
    if points:
        raise problem(
            "learned-beside-sampler",
            f"{word} samples a posterior, but {points[0]} is a point parameter",
            asked.span,
            found=", ".join(points),
            fix=f"give {points[0]} a prior (`Flat()` is one), or write `infer: svi()` or `infer: map()`",
        )


def default_engine(structure: Structure) -> Call:
    """The engine where `infer` is left out; the module's docstring states the rule."""
    program = structure.program
    if program.objective is not None or structure.guided or _point_parameters(structure):
        return Call("svi")
    remaining = eliminate_exactly(initial_state(structure)).remaining
    sites = [*program.with_role(Role.PARAMETER), *(structure.variables[name].site for name in remaining)]
    if any(site.typed.support.discrete for site in sites):
        return Call("svi")
    unknowns = _unknowns(structure, remaining)
    return Call("nuts" if unknowns is not None and unknowns <= SMALL else "svi")


def _unknowns(structure: Structure, remaining: tuple[str, ...]) -> int | None:
    """How many numbers are unknown; None where the data, and so their number, come at run time."""
    program = structure.program
    levels = {name: len(labels) for name, labels in program.levels.items()}
    sites = program.with_role(Role.PARAMETER)
    total = sum(site.typed.size * levels.get(site.level or "", 1) for site in sites)
    total += sum(
        count(program.networks[name].parameters) for name in random_parameters(program) if name in program.networks
    )
    if remaining and program.rows is None:
        return None
    return total + sum(copies(structure, name) or 0 for name in remaining)


def copies(structure: Structure, name: str) -> int | None:
    """How many numbers an unknown has: its missing entries, or a copy for each row; None before rows are known."""
    program = structure.program
    if name in structure.partly_observed:
        return program.columns[name].gaps
    return None if program.rows is None else structure.variables[name].site.typed.size * program.rows


def engine_reason(engine: Expression) -> str:
    """Why an engine was chosen unasked."""
    if called(engine) == "nuts":
        return f"`infer` is left out: every unknown is continuous and there are at most {SMALL} of them, so NUTS"
    return "`infer` is left out: there are point parameters, discrete or many unknowns, or a guide, so stochastic VI"

"""Derivation -> straight-line kernels: everything that both backends share about the emitted program."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from dgmppl.ir import option_calls
from dgmppl.ir.expressions import Call
from dgmppl.ir.kernel import Function, Module
from dgmppl.ir.program import Program
from dgmppl.lowering.densities.diffusion import learned_groups
from dgmppl.lowering.energies import initial_state_function, normalizer_groups, with_normalizers
from dgmppl.lowering.functions import decode_function, density_functions, loss_function
from dgmppl.lowering.groups import groups_of, held
from dgmppl.lowering.latents import latent_groups, sampled
from dgmppl.lowering.moving import with_moving_bounds
from dgmppl.lowering.programs import guide_function, model_function
from dgmppl.lowering.sampling import complete_function, encode_function, prior_function, sample_function
from dgmppl.lowering.scope import unsupported
from dgmppl.lowering.scores import on_ladders
from dgmppl.lowering.starting import warm_start_function
from dgmppl.objectives.derivation import Derivation
from dgmppl.objectives.printers import text

__all__ = ["lower"]


def lower(program: Program, derivation: Derivation) -> Module:
    """The kernels of a program: library programs, losses, densities, samples.

    Args:
        program: typed, with its guide completed.
        derivation: what follows from its structure.

    Raises:
        UnsupportedError: a construct that is derived but not lowered yet, named with its line.
    """
    for metric in option_calls.calls(program.evaluate.get("metrics")):
        if metric.function in _NOT_COMPUTED:
            raise unsupported(f"the metric {metric.function!r}", metric.span)
    players = tuple(map(with_normalizers, derivation.objective.players)) if _by_gradient(program, derivation) else ()
    declared = groups_of(program) | normalizer_groups(players) | learned_groups(program)
    groups = with_moving_bounds(program, held(program, declared))
    groups |= latent_groups(program, derivation)
    walked = on_ladders(program, derivation)
    functions: list[Function | None] = [model_function(walked, groups, derivation), guide_function(program, groups)]
    functions.append(initial_state_function(program, groups, players))
    functions += [loss_function(program, groups, player) for player in players]
    functions += density_functions(program, groups, derivation)
    functions += [encode_function(program, groups), sample_function(walked, groups)]
    functions += [complete_function(walked, groups), prior_function(walked, groups)]
    functions += [decode_function(program, groups), warm_start_function(program, groups)]
    return Module(
        program,
        _heading(program, derivation),
        tuple(groups.values()),
        tuple((player.name, player.owns, player.every) for player in players),
        tuple(function for function in functions if function is not None),
    )


# Metrics that take a bound's parts or fits to simulated data.
_NOT_COMPUTED = frozenset({"reconstruction", "kl", "calibration"})


def _by_gradient(program: Program, derivation: Derivation) -> bool:
    """Whether an emitted loss is descended; an engine that samples or fits a posterior reads the log joint instead.

    So does the mode of a model whose rows have latents of their own: no batch of rows has a loss by itself.
    """
    engine = derivation.engine
    if sampled(program, derivation):
        return False
    return engine is None or (isinstance(engine, Call) and engine.function == "map")


def _heading(program: Program, derivation: Derivation) -> tuple[str, ...]:
    """The emitted module's docstring: origin, factorization, what is trained and what that estimates."""
    digest = hashlib.sha256(program.source.text.encode()).hexdigest()[:12]
    origin = Path(program.source.name).name
    lines = [f"{program.name}: compiled by dgmppl {version('dgmppl')} from {origin} (sha256 {digest}).", ""]
    lines.append(derivation.factorization)
    for player in derivation.objective.players:
        lines += [f"minimize  {text(term.expression)}    {term.estimates}" for term in player.terms]
    # `initial` starts every group alike; these have their values in the run's checkpoint.
    lines += [f"frozen    {', '.join(sorted(run.groups))}    from {run.run}" for run in program.runs if run.groups]
    return tuple(lines)

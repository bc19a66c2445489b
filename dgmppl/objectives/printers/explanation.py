"""`explain`: everything that follows from a spec's structure, as stable JSON data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.diffusions import learned_parts
from dgmppl.ir.expressions import text as written
from dgmppl.ir.networks import Network
from dgmppl.ir.parameters import count
from dgmppl.ir.program import Program, Role
from dgmppl.objectives.algebra import Scale, Term
from dgmppl.objectives.derivation import Derivation, Objective, Player, PlayerTerm
from dgmppl.objectives.printers.data import to_dict
from dgmppl.objectives.printers.terms import latex, text


def explain(program: Program, derivation: Derivation) -> dict[str, Any]:
    """The derivation as JSON data with stable keys.

    Args:
        program: typed, its guide complete.
        derivation: what follows from it.

    Returns:
        `name, factorization, status, divergence, objective, rules, capabilities, parameters, references, ...`; which
        backend supports the program is for the compiler to add, as `backend_support`.
    """
    objective = derivation.objective
    return {
        "name": program.name,
        "backend_support": {},
        "factorization": derivation.factorization,
        "status": derivation.status,
        "discrete_log_prob": derivation.discrete_log_prob,
        "divergence": objective.divergence,
        "objective": {
            "status": objective.status,
            "text": objective_text(objective),
            "latex": objective_latex(objective),
            "players": [_player(player) for player in objective.players],
        },
        "engine": None if derivation.engine is None else written(derivation.engine),
        "eliminated": dict(derivation.eliminated),
        "rules": [{"rule": used.rule, "site": used.site, "why": used.why} for used in derivation.rules],
        "why_not": [{"rule": entry.rule, "site": entry.site, "why": entry.why} for entry in derivation.refusals],
        "capabilities": {
            name: {"level": capability.level, "why": capability.why}
            for name, capability in derivation.capabilities.items()
        },
        "parameters": parameter_count(program),
        "references": list(derivation.references),
        "notes": list(derivation.notes),
    }


def _player(player: Player) -> dict[str, Any]:
    return {
        "name": player.name,
        "owns": list(player.owns),
        "every": player.every,
        "terms": [_term(term) for term in player.terms],
    }


def _term(term: PlayerTerm) -> dict[str, Any]:
    """One term; a term that only has a gradient has no value."""
    shown = text(term.expression)
    return {
        "text": shown,
        "latex": latex(term.expression),
        "value": None if term.role == "gradient" else shown,
        "weight": to_dict(term.weight),
        "estimates": term.estimates,
        "direction": term.direction.value,
        "role": term.role,
        "value_unbiased": term.value_unbiased,
        "gradient_unbiased": term.gradient_unbiased,
        "tree": to_dict(term.expression),
    }


def parameter_count(program: Program) -> int:
    """How many numbers are learned or have a prior, not frozen; copies per level counted."""
    modules: tuple[Network | Bijector, ...] = (*program.networks.values(), *program.bijectors.values())
    total = sum(count(module.parameters) for module in modules if module.name not in program.frozen_groups)
    for site in (*program.sites, *program.guide):
        if site.name in program.frozen_groups:
            continue
        total += count(part for part in learned_parts(site) if part.name not in program.frozen_groups)
        if site.role in {Role.LEARNED, Role.PARAMETER} and site.section != "guide":
            total += site.typed.size * (len(program.levels.get(site.level, ())) or 1 if site.level else 1)
        elif site.role is Role.LEARNED:
            total += site.typed.size
    return total


# ---- the objective on one line per player ---------------------------------------------------------------------------


def objective_text(objective: Objective) -> str:
    """The objective in Unicode: what is maximized where it is a single likelihood, else each player's line."""
    return _objective(objective, text, "\n")


def objective_latex(objective: Objective) -> str:
    """The same in LaTeX, for math mode; players on lines of their own."""
    return _objective(objective, latex, r" \\ ")


def _objective(objective: Objective, show: Callable[[Term], str], line: str) -> str:
    players = objective.players
    if len(players) == 1 and maximized(players[0]):
        return total(players[0], show)
    word = r"\text{{{} {} }} " if show is latex else "{} {} "
    return line.join(word.format(player.name, verb(player)) + total(player, show) for player in players)


def maximized(player: Player) -> bool:
    """Whether a player's loss reads better as what it maximizes: each of its terms is negated."""
    return all(isinstance(term.expression, Scale) and term.expression.factor == -1 for term in player.terms)


def verb(player: Player) -> str:
    """What a player does with the sum of its terms; of a loss that is a gradient alone, no value goes down."""
    if all(term.role == "gradient" for term in player.terms):
        return "descends along"
    return "maximizes" if maximized(player) else "minimizes"


def total(player: Player, show: Callable[[Term], str] = text) -> str:
    """The sum of a player's terms, as what is maximized or minimized."""
    positive = maximized(player)
    parts = []
    for term in player.terms:
        body = term.expression.term if positive and isinstance(term.expression, Scale) else term.expression
        parts.append(show(body) if term.weight == 1 else show(Scale(term.weight, body)))
    return "".join(parts[:1] + [_signed(part) for part in parts[1:]])


def _signed(part: str) -> str:
    """A further summand with its sign."""
    return f" {part[0]} {part[1:]}" if part[0] in "−-" else f" + {part}"

"""`explain` as a page of plain text for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from dgmppl.ir.expressions import text as written
from dgmppl.ir.program import Program
from dgmppl.objectives.algebra import Derivation, Player, PlayerTerm
from dgmppl.objectives.printers.explanation import maximized, parameter_count, total

_WIDTH = 100

_STATUS = {
    "exact": "log p(data | parameters) is computed exactly",
    "bound": "log p(data | parameters) is bounded from below",
    "unnormalized": "log p(data | parameters) is known up to log Z",
    "implicit": "the model has samples, but no density",
}

_DIRECTION = {
    "equal": "equals",
    "lower": "is a lower bound on",
    "upper": "is an upper bound on",
    "none": "neither equals nor bounds; it estimates",
}


def explain_text(program: Program, derivation: Derivation) -> str:
    """A readable page: graph, rules with reasons, objective, players, what can be asked, what was not used and why."""
    parts = [
        [program.name, "=" * len(program.name)],
        [derivation.factorization, f"{derivation.status}: {_STATUS[derivation.status]}"],
        _section("Rules", _rows((used.rule, used.site, used.why) for used in derivation.rules)),
        _section("Objective", _objective(derivation)),
        _section(
            "What can be asked",
            _rows((name, value.level, value.why) for name, value in derivation.capabilities.items()),
        ),
        [f"{parameter_count(program)} parameters"],
        _section("Notes", [line for note in derivation.notes for line in _wrap(note, "- ")]),
        _section("Rules not used", _rows((entry.rule, entry.site, entry.why) for entry in derivation.refusals)),
        _section("References", [line for source in derivation.references for line in _wrap(source, "- ")]),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [title, "-" * len(title), *found] if found else []


def _wrap(line: str, start: str = "") -> list[str]:
    return textwrap.wrap(line, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False)


def _rows(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Three columns; the last one is wrapped under itself."""
    found = list(rows)
    first = max((len(row[0]) for row in found), default=0)
    second = max((len(row[1]) for row in found), default=0)
    for name, site, why in found:
        yield from _wrap(why, f"{name:<{first}}  {site:<{second}}  ")


def _objective(derivation: Derivation) -> Iterator[str]:
    objective = derivation.objective
    yield objective.status.replace("_", " ") + (f", descends {objective.divergence}" if objective.divergence else "")
    if derivation.engine is not None:
        yield f"engine: {written(derivation.engine)}"
    for player in objective.players:
        yield from _player(player)


def _player(player: Player) -> Iterator[str]:
    verb = "maximizes" if maximized(player) else "minimizes"
    pace = "" if player.every == 1 else f", every {player.every} steps"
    yield f"{player.name} {verb}{pace}"
    yield f"    {total(player)}"
    yield f"    owns {', '.join(player.owns) or 'nothing'}"
    for term in player.terms:
        yield from _wrap(_term(term), "    ")


def _term(term: PlayerTerm) -> str:
    if term.role == "gradient":
        return f"a gradient without a value; it estimates {term.estimates}{_biases(term)}"
    relation = _DIRECTION[term.direction.value]
    return f"its value, sign reversed where maximized, {relation} {term.estimates}{_biases(term)}"


def _biases(term: PlayerTerm) -> str:
    found = [] if term.value_unbiased else ["value biased"]
    found += [] if term.gradient_unbiased else ["gradient biased"]
    return f" ({', '.join(found)})" if found else ""

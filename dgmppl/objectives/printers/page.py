"""`explain` as a page of plain text for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from dgmppl.ir.expressions import text as written
from dgmppl.ir.program import Program
from dgmppl.objectives.algebra import Penalty, Scale
from dgmppl.objectives.derivation import Derivation, Player, PlayerTerm
from dgmppl.objectives.engines import SAMPLERS
from dgmppl.objectives.printers.explanation import maximized, parameter_count, total, verb
from dgmppl.objectives.requests import called

WIDTH = 100

_STATUS = {
    "exact": "log p(data | parameters) is computed exactly",
    "bound": "log p(data | parameters) is bounded from below",
    "unnormalized": "log p(data | parameters) is known up to log Z",
    "implicit": "the model has samples, but no density",
}

# Where latents are removed by a sampler or a critic, or log Z is missing from the bound.
_ESTIMATED = "estimate: neither log p(data | parameters) nor a bound on it can be evaluated; it is estimated"

_DIRECTION = {
    "equal": "equals",
    "lower": "is a lower bound on",
    "upper": "is an upper bound on",
    "none": "is no bound: it stands for",
}

# How an objective lies against the divergence that it is about; elsewhere it descends the divergence itself.
_AIM = {
    "lower_bound": "descends an upper bound on",
    "reweighted_bound": "aims at",
    "divergence_lower_bound": "aims at",
    "mixed": "aims at",
}


def explain_text(program: Program, derivation: Derivation, width: int = WIDTH) -> str:
    """A readable page: graph, rules with reasons, objective, players, what can be asked, what was not used and why.

    Args:
        program: typed, its guide complete.
        derivation: its.
        width: columns of a line; what has no place to break is longer.
    """
    asked = ((name, value.level, value.why) for name, value in derivation.capabilities.items())
    parts = [
        [program.name, "=" * len(program.name)],
        [*_formula(derivation.factorization, width), *_wrap(_status(derivation), width)],
        _section("Rules", _rows(((used.rule, used.site, used.why) for used in derivation.rules), width)),
        _section("Objective", _objective(derivation, width)),
        _section("What can be asked", _rows(asked, width)),
        [f"{parameter_count(program):,} parameters"],
        _section("Notes", _list(derivation.notes, width)),
        _section("Rules not used", _rows(((one.rule, one.site, one.why) for one in derivation.refusals), width)),
        _section("References", _list(derivation.references, width)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _status(derivation: Derivation) -> str:
    estimated = derivation.status == "bound" and derivation.capabilities["log_prob"].level == "estimate"
    return _ESTIMATED if estimated else f"{derivation.status}: {_STATUS[derivation.status]}"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [title, "-" * len(title), *found] if found else []


def _wrap(line: str, width: int, start: str = "", under: int | None = None) -> list[str]:
    """Lines of a text that opens with `start`; the later ones are set in by as much, or by `under`."""
    indent = " " * (len(start) if under is None else under)
    return textwrap.wrap(
        line, width, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _list(lines: Iterable[str], width: int) -> list[str]:
    return [part for line in lines for part in _wrap(line, width, "- ")]


def _formula(line: str, width: int, start: str = "") -> list[str]:
    """A formula, broken after a closed bracket alone: between terms or factors, those of an expectation included."""
    opened: list[bool] = []
    kept: list[str] = []
    for sign in line:
        if sign in "([{":
            opened.append(sign == "[" and kept[-1:] == ["}"])
        elif sign in ")]}" and opened:
            opened.pop()
        breaks = all(opened) and kept[-1:] in ([")"], ["]"])
        kept.append("\u00a0" if sign == " " and not breaks else sign)
    found = _wrap("".join(kept), width, start, len(start) + 4)
    return [part.replace("\u00a0", " ") for part in found]


def _rows(rows: Iterable[tuple[str, str, str]], width: int) -> Iterator[str]:
    """Three columns; the last one is wrapped under itself."""
    found = list(rows)
    first = max((len(row[0]) for row in found), default=0)
    second = max((len(row[1]) for row in found), default=0)
    for name, site, why in found:
        yield from _wrap(why, width, f"{name:<{first}}  {site:<{second}}  ")


def _objective(derivation: Derivation, width: int) -> Iterator[str]:
    objective = derivation.objective
    aim = _AIM.get(objective.status, "descends")
    yield objective.status.replace("_", " ") + (f", {aim} {objective.divergence}" if objective.divergence else "")
    if derivation.engine is not None:
        yield f"engine: {written(derivation.engine)}"
    sampled = derivation.engine is not None and called(derivation.engine) in SAMPLERS
    for player in objective.players:
        does = "draws from the density whose logarithm, divided by N, is" if sampled else verb(player)
        yield f"{player.name} {does}{'' if player.every == 1 else f', every {player.every} steps'}"
        yield from _player(player, width)


def _player(player: Player, width: int) -> Iterator[str]:
    """What it minimizes or maximizes, what it owns, and what each of its terms is worth."""
    yield from _formula(total(player), width, "    ")
    yield f"    owns {', '.join(player.owns) or 'nothing'}"
    for number, term in enumerate(player.terms, 1):
        name = "it" if len(player.terms) == 1 else f"term {number}"
        turned = isinstance(term.expression, Scale) and term.expression.factor == -1 and not maximized(player)
        yield from _wrap(f"{name}{', its sign reversed,' if turned else ''} {_term(term)}", width, "    ")


def _term(term: PlayerTerm) -> str:
    if isinstance(term.expression, Penalty):
        return f"is {term.estimates}"
    if term.role == "gradient":
        return f"is a gradient without a value: it estimates {term.estimates}{_biases(term)}"
    return f"{_DIRECTION[term.direction.value]} {term.estimates}{_biases(term)}"


def _biases(term: PlayerTerm) -> str:
    found = [] if term.value_unbiased else ["value biased"]
    found += [] if term.gradient_unbiased else ["gradient biased"]
    return f" ({', '.join(found)})" if found else ""

"""What several lints ask of a program."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.densities import (
    Density,
    Deterministic,
    Elementary,
    Factorized,
    Learned,
    MarkovChain,
    MixtureOf,
    Restricted,
)
from dgmppl.ir.expressions import Apply, Expression, Name, walk
from dgmppl.ir.program import Program, Role
from dgmppl.passes.supports import Proof
from dgmppl.source import Diagnostic, Span


def warning(code: str, message: str, span: Span | None, fix: str) -> Diagnostic:
    """A lint's diagnostic."""
    return Diagnostic(code, message, span, fix=fix, severity="warning")


def proof(program: Program) -> Proof:
    """Intervals of the program's expressions."""
    return Proof(program.columns, frozenset(site.name for site in program.with_role(Role.COVARIATE)))


def parameters(density: Density | None) -> Iterator[tuple[str, Expression]]:
    """The named parameters of a density of the closed table, and of the densities that it is made of."""
    match density:
        case Elementary(parameters=given):
            yield from given
        case MixtureOf(components=components):
            for part in components:
                yield from parameters(part)
        case MarkovChain(transition=part) | Factorized(conditional=part) | Restricted(base=part):
            yield from parameters(part)


def nodes(program: Program, expression: Expression) -> Iterator[Expression]:
    """An expression and all below it, computed sites of the model looked through."""
    for node in walk(expression):
        yield node
        site = program.by_name.get(node.id) if isinstance(node, Name) else None
        if site is not None and isinstance(site.density, Deterministic):
            yield from nodes(program, site.density.expression)


def trained(program: Program, expression: Expression) -> bool:
    """Whether an expression reads a network or a learned parameter."""
    return any(
        isinstance(node, Apply)
        or (
            isinstance(node, Name)
            and node.id in program.by_name
            and isinstance(program.by_name[node.id].density, Learned)
        )
        for node in nodes(program, expression)
    )

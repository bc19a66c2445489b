"""What is declared, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from dgmppl.ir.analyses import expressions, groups
from dgmppl.ir.expressions import free_names
from dgmppl.ir.program import Program, Role
from dgmppl.passes.analyses import has_observed_descendant
from dgmppl.passes.lints.facts import warning
from dgmppl.source import Diagnostic

_DROP = "drop its line"


def _everything_read(program: Program) -> frozenset[str]:
    """Names and networks that some density or critic reads, local functions and bijectors included."""
    named: set[str] = set()
    for site in (*program.sites, *program.guide):
        named |= set(site.parents) | groups(program, site.density)
        for expression in expressions(site.density):
            named |= free_names(expression)
    for _, body in program.functions.values():
        named |= free_names(body)
    for critic in program.critics:
        named |= free_names(critic.expression)
    return frozenset(named)


def unused_names(program: Program) -> Iterator[Diagnostic]:
    """Parameters with priors, computed ones, and columns that nothing reads; what is trained and unread is an error."""
    read = _everything_read(program)
    for site in program.sites:
        if site.section == "parameters" and site.name not in read:
            yield warning("unused-parameter", f"nothing reads the parameter {site.name!r}", site.span, _DROP)
    levels = {site.level for site in program.sites}
    for name, column in program.columns.items():
        site = program.by_name[name]
        if site.role is Role.COVARIATE and name not in read | levels:
            yield warning("unused-column", f"nothing reads the column {name!r}", column.span, _DROP)


def dead_sites(program: Program) -> Iterator[Diagnostic]:
    """Sites of the model without an observed descendant that no term of the objective names."""
    named = set() if program.objective is None else free_names(program.objective)
    wanted = named | {name for other in named if other in program.by_name for name in program.by_name[other].parents}
    for site in program.sites:
        if site.section == "model" and site.name not in wanted and not has_observed_descendant(program, site.name):
            yield warning(
                "dead-site",
                f"nothing observed depends on {site.name!r}: it is left out of the marginal",
                site.span,
                "drop its line, unless predictions of it are wanted",
            )

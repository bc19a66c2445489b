"""Lints: what compiles, and is probably not meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dgmppl.ir.analyses import expressions, groups
from dgmppl.ir.densities import Density, Elementary, Learned, MarkovChain, MixtureOf
from dgmppl.ir.expressions import Apply, Expression, Name, free_names, walk
from dgmppl.ir.program import Program, Role, Site
from dgmppl.passes.analyses import has_observed_descendant
from dgmppl.passes.problems import place
from dgmppl.source import Diagnostic, Span

# Fewer distinct values than this look like classes or counts.
_FEW_VALUES = 20
_SCALES = frozenset({"scale", "scale_tril", "covariance_matrix"})


def lint(program: Program) -> list[Diagnostic]:
    """Every warning about a typed program, in the order of their places."""
    return sorted((warning for check in _CHECKS for warning in check(program)), key=place)


def _warning(code: str, message: str, span: Span | None, fix: str) -> Diagnostic:
    return Diagnostic(code, message, span, fix=fix, severity="warning")


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


def _unused_names(program: Program) -> Iterator[Diagnostic]:
    read = _everything_read(program)
    for site in program.sites:
        if site.section == "parameters" and site.name not in read:
            yield _warning("unused-parameter", f"nothing reads the parameter {site.name!r}", site.span, "drop its line")
    for network in program.networks.values():
        if not network.heads:
            yield _warning(
                "unused-network", f"nothing applies the network {network.name!r}", network.span, "drop its line"
            )
    levels = {site.level for site in program.sites}
    for name, column in program.columns.items():
        site = program.by_name[name]
        if site.role is Role.COVARIATE and name not in read | levels:
            yield _warning("unused-column", f"nothing reads the column {name!r}", column.span, "drop its line")


def _dead_sites(program: Program) -> Iterator[Diagnostic]:
    noise = set() if program.objective is None else free_names(program.objective)
    wanted = noise | {name for other in noise if other in program.by_name for name in program.by_name[other].parents}
    for site in program.sites:
        if site.section == "model" and site.name not in wanted and not has_observed_descendant(program, site.name):
            yield _warning(
                "dead-site",
                f"nothing observed depends on {site.name!r}: it is left out of the marginal",
                site.span,
                "drop its line, unless predictions of it are wanted",
            )


def _scales(density: Density | None) -> Iterator[Expression]:
    """The scale parameters of a density of real data, with those of its components."""
    match density:
        case Elementary(parameters=parameters):
            yield from (value for name, value in parameters if name in _SCALES)
        case MixtureOf(components=components):
            for part in components:
                yield from _scales(part)
        case MarkovChain(transition=transition):
            yield from _scales(transition)


def _collapsing_scales(program: Program) -> Iterator[Diagnostic]:
    """A point estimate of a scale that is learned per component or per datum: the likelihood has no maximum."""
    for site in program.observed:
        if site.typed.support.discrete:
            continue
        for scale in _scales(site.density):
            reason = _collapses(program, site, scale)
            if reason is not None:
                yield _warning(
                    "scale-can-collapse",
                    f"a scale of {site.name!r} is {reason}: the likelihood is unbounded as it shrinks to zero",
                    scale.span or site.span,
                    "give it a prior such as `HalfNormal(1)`, a floor, `0.01 + ...`, or share one scale",
                )


def _collapses(program: Program, site: Site, scale: Expression) -> str | None:
    if isinstance(scale, Apply):
        return (
            "a network's own head" if any(program.by_name[name].role is Role.LATENT for name in site.parents) else None
        )
    latent = {name for name in site.parents if program.by_name[name].typed.support.discrete}
    for node in walk(scale):
        if isinstance(node, Name) and node.id in program.by_name:
            density = program.by_name[node.id].density
            per_component = isinstance(site.density, MixtureOf) or bool(latent & free_names(scale))
            if isinstance(density, Learned) and density.kind == "positive" and per_component:
                return "learned for each component"
    return None


def _discrete_as_continuous(program: Program) -> Iterator[Diagnostic]:
    for site in program.observed:
        column = program.columns[site.name]
        few = column.distinct is not None and column.distinct <= _FEW_VALUES and (program.rows or 0) > 2 * _FEW_VALUES
        if few and not site.typed.support.discrete and column.discrete_bins is None:
            yield _warning(
                "discrete-as-continuous",
                f"{site.name!r} has {column.distinct} distinct values and a continuous density, unbounded there",
                site.span,
                "add `dequantize(n)` to its transforms, or use a discrete distribution",
            )


_CHECKS: tuple[Callable[[Program], Iterator[Diagnostic]], ...] = (
    _unused_names, _dead_sites, _collapsing_scales, _discrete_as_continuous,
)  # fmt: skip

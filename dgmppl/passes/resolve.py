"""Spec -> Program: one namespace, every name resolved, every right-hand side a density node.

The first stage of the compiler after reading. What comes out has no types yet: `passes.infer` fills them in.
"""

from __future__ import annotations

from dgmppl.ir.data import DataSchema
from dgmppl.ir.densities import Learned
from dgmppl.ir.expressions import Apply, Expression, Name, walk
from dgmppl.ir.program import Critic, IndexKind, Program, Role, Site
from dgmppl.passes.bijections import resolve_bijector
from dgmppl.passes.declarations import resolve_network
from dgmppl.passes.problems import Problems
from dgmppl.passes.running import (
    resolve_evaluate,
    resolve_guide_option,
    resolve_infer,
    resolve_objective,
    resolve_train,
)
from dgmppl.passes.scope import Context, Scope, declare
from dgmppl.passes.sections import resolve_section
from dgmppl.passes.terms import resolve_expression
from dgmppl.spec.syntax import Declaration, Spec


def resolve(spec: Spec, schema: DataSchema, *, trust_code: bool = False) -> Program:
    """The program of a spec: sites in generative order, with roles, densities and parents, but no types.

    Args:
        spec: the sections as read.
        schema: the data columns.
        trust_code: `python(...)` may import code of the user's own.

    Raises:
        SpecError: with every diagnostic of this stage, in the order of their places.
    """
    problems = Problems()
    scope = Scope(schema, problems, trusted=trust_code)
    declare(spec, scope)
    guide = spec.guide if isinstance(spec.guide, tuple) else ()
    scope.indexed = _indexed((*spec.model, *guide), scope)
    scope.compared = frozenset(name for declaration in spec.critics for name in declaration.key.names)
    _declare_modules(spec, scope)
    _covariates(spec, scope)
    resolve_section("parameters", spec.parameters, scope)
    resolve_section("model", spec.model, scope)
    resolve_section("guide", guide, scope)
    critics = tuple(_critic(declaration, scope) for declaration in spec.critics)
    sites = (*scope.sites, *scope.guide)
    program = Program(
        name=spec.name,
        description=spec.description,
        sites=tuple(scope.sites.values()),
        guide=(*_hoisted(scope), *scope.guide.values()),
        auto_guide=_auto_guide(spec, problems),
        networks=scope.networks,
        bijectors=scope.bijectors,
        critics=critics,
        columns=dict(schema),
        levels=_levels(scope, schema),
        rows=schema.rows if schema.train_rows is None else schema.train_rows,
        functions=scope.functions,
        objective=resolve_objective(spec.objective, sites, problems),
        train=resolve_train(spec.train, _groups(scope), problems),
        infer=resolve_infer(spec.infer, sites, problems),
        evaluate=resolve_evaluate(spec.evaluate, sites, problems),
        source=spec.source,
    )
    _check_whole(spec, program, problems)
    problems.raise_if_any()
    return program


def _auto_guide(spec: Spec, problems: Problems) -> Expression | None:
    if spec.guide is None or isinstance(spec.guide, tuple):
        return None
    return resolve_guide_option(spec.guide, problems)


def _indexed(declarations: tuple[Declaration, ...], scope: Scope) -> frozenset[str]:
    """Sites with a free index, and data: their lags may be read before their own line."""
    return frozenset(
        name for part in declarations if part.key.index is not None for name in part.key.names
    ) | frozenset(scope.columns)


def _declare_modules(spec: Spec, scope: Scope) -> None:
    for declaration in spec.networks:
        scope.networks[declaration.key.name] = resolve_network(declaration.key.name, declaration.value, scope)
    for declaration in spec.bijectors:
        scope.bijectors[declaration.key.name] = resolve_bijector(declaration.key.name, declaration.value, scope)


def _covariates(spec: Spec, scope: Scope) -> None:
    modelled = {name for declaration in spec.model for name in declaration.key.names}
    for name, column in scope.columns.items():
        if name not in modelled:
            scope.sites[name] = Site(name, "data", Role.COVARIATE, None, span=column.span)


def _hoisted(scope: Scope) -> tuple[Site, ...]:
    return tuple(
        Site(name, "guide", Role.LEARNED, density, span=density.span) for name, density in scope.hoisted.items()
    )


def _critic(declaration: Declaration, scope: Scope) -> Critic:
    reads = declaration.key.names
    visible = {**scope.guide, **scope.sites}
    for name in reads:
        if name not in visible:
            scope.problems.unknown("site", name, visible, declaration.key.span)
    value = declaration.value
    if isinstance(value, Name) and value.id in scope.networks:
        expression: Expression = Apply(value.id, tuple(Name(name, span=value.span) for name in reads), span=value.span)
    else:
        expression = resolve_expression(value, scope, Context("critics"))
    read = {node.id for node in walk(expression) if isinstance(node, Name)}
    if absent := [name for name in reads if name not in read]:
        scope.problems.add(
            "critic-misses-site",
            f"the critic of {declaration.key.name!r} does not read {', '.join(map(repr, absent))}",
            value.span or declaration.key.span,
            expected="every name of its key",
            fix=f"pass it to the network: `net({', '.join(reads)})`",
        )
    return Critic(reads, expression, span=declaration.key.span)


def _levels(scope: Scope, schema: DataSchema) -> dict[str, tuple[str, ...]]:
    used = {site.level for site in scope.sites.values() if site.level is not None}
    used |= {column.per for column in schema.values() if column.per is not None}
    return {name: column.levels or () for name, column in schema.items() if name in used}


def _groups(scope: Scope) -> tuple[str, ...]:
    """The top-level names that own parameters."""
    learned = [name for name, site in scope.sites.items() if isinstance(site.density, Learned)]
    guide = {name.rsplit(".", 1)[0] for name in scope.hoisted}
    return (*scope.networks, *scope.bijectors, *learned, *sorted(guide))


def _check_whole(spec: Spec, program: Program, problems: Problems) -> None:
    """What only the whole spec shows: nothing observed, and settings that exclude each other."""
    if not program.observed and not any(site.index is IndexKind.LEVEL for site in program.sites) and spec.model:
        names = ", ".join(program.columns) or "nothing"
        problems.add(
            "nothing-observed",
            "no name in `data` stands in `model`",
            spec.model[0].key.span,
            expected="at least one observed site",
            found=f"data: {names}",
            fix="give a site of `model` the name of a data column",
        )
    if not spec.model:
        problems.add(
            "empty-model", "the spec has no `model`", None, fix="write the generative story of one datum under `model:`"
        )

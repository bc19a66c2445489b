"""The sections `parameters`, `model` and `guide`: declarations in order become sites."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from dgmppl.ir.densities import Density, Deterministic, Implicit, Learned, MarkovChain
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation, free_names, walk
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.ir.program import IndexKind, Role, Site
from dgmppl.ir.types import Shape
from dgmppl.passes.elementary import reads_before, shape_hint
from dgmppl.passes.potentials import support_shapes
from dgmppl.passes.problems import shown
from dgmppl.passes.rhs import is_random, lags, parents_of, resolve_density
from dgmppl.passes.scope import Context, Scope
from dgmppl.passes.terms import resolve_expression
from dgmppl.spec.syntax import Declaration, Key

_SHOWN_STARTS = 4


def resolve_section(section: str, declarations: tuple[Declaration, ...], scope: Scope) -> None:
    """Read a section's declarations in order; a chain's lines are read together, where its general one stands."""
    chains = _chains(declarations)
    for declaration in declarations:
        key = declaration.key
        if key.arguments is not None:
            _local_function(key, declaration.value, section, scope)
            continue
        group = chains[key.names]
        general = [part for part in group if not _is_start(part.key)] or group
        if declaration is general[0]:
            _site(section, [part for part in group if part not in general[1:]], scope)
        elif not _is_start(key):
            scope.problems.add(
                "duplicate-name",
                f"{key.name!r} has two general lines",
                key.span,
                expected="starts, `z[0]`, and one general line",
                fix="keep one of the two",
            )


def _chains(declarations: tuple[Declaration, ...]) -> dict[tuple[str, ...], list[Declaration]]:
    grouped: dict[tuple[str, ...], list[Declaration]] = {}
    for declaration in declarations:
        if declaration.key.arguments is None:
            grouped.setdefault(declaration.key.names, []).append(declaration)
    return grouped


def _is_start(key: Key) -> bool:
    return isinstance(key.index, Literal)


def _local_function(key: Key, body: Expression, section: str, scope: Scope) -> None:
    context = Context(section, own=key.names, local=key.arguments or ())
    scope.functions[key.name] = (key.arguments or (), resolve_expression(body, scope, context))


# ---- one site ----------------------------------------------------------------------------------------------------


def _site(section: str, group: list[Declaration], scope: Scope) -> None:
    general = next((part for part in group if not _is_start(part.key)), group[0])
    context = _context(section, general, scope)
    starts = [part for part in group if part is not general or _is_start(part.key)]
    if context.kind is IndexKind.TIME:
        density: Density = _chain(general, starts, scope, context)
    else:
        density = resolve_density(general.value, scope, context)
    own = general.key.names
    if section == "guide":
        _check_guided(general.key, scope)
    density = _implicit(density, section, own, scope)
    hint = _hint(group, scope)
    shapes = support_shapes(general.value, scope, context) if isinstance(general.value, Call) else {}
    visible = frozenset(scope.visible(section)) | frozenset(scope.later) | frozenset(scope.hoisted)
    known = visible - frozenset((*scope.networks, *scope.bijectors, *scope.functions))
    parents = parents_of(density, own, known, scope)
    table = scope.guide if section == "guide" else scope.sites
    for name in own:
        table[name] = Site(
            name=name,
            section=section,
            role=_role(name, section, density, scope),
            density=density,
            index=context.kind,
            level=context.level,
            parents=parents,
            joint=own if len(own) > 1 else (),
            shape_hint=shapes.get(name, hint),
            span=general.key.span,
        )


def _hint(group: list[Declaration], scope: Scope) -> Shape | None:
    hints = [
        hint for part in group if isinstance(part.value, Call) and (hint := shape_hint(part.value, scope)) is not None
    ]
    return hints[0] if hints else None


def _context(section: str, declaration: Declaration, scope: Scope) -> Context:
    key = declaration.key
    prefix = f"guide.{key.names[0]}" if section == "guide" else None
    base = Context(section, own=key.names, prefix=prefix)
    match key.index:
        case None:
            return base
        case Literal(value=int(position)):
            if section != "parameters" and position >= 0:
                return replace(base, kind=IndexKind.TIME, index="t")
        case Name(id=name):
            if section == "parameters":
                return _level_context(base, key, name, scope)
            if name in scope.later:
                scope.problems.add(
                    "index-is-a-name",
                    f"the index {name!r} of {key.name!r} is the name of something else",
                    key.span,
                    expected="a free name",
                    fix=f"write `{key.name}[t]`",
                )
            kind = IndexKind.ELEMENT if reads_before(declaration.value, name, key.names) else IndexKind.TIME
            return replace(base, kind=kind, index=name)
    expected = "`theta[level]`" if section == "parameters" else "`x[i]`, `z[t]` or `z[0]`"
    scope.problems.add("index-form", f"the key {key.name!r} has an index of another kind", key.span, expected=expected)
    return base


def _level_context(base: Context, key: Key, name: str, scope: Scope) -> Context:
    column = scope.columns[name]
    later = column.bound_at_run_time and column.shape == () and (column.support is None or column.support.discrete)
    if column.levels is None and not later:
        scope.problems.add(
            "not-a-level",
            f"the column {name!r} has no levels",
            key.span,
            expected="a column of integers or strings",
            found=f"{column.dtype.value} values of shape {list(column.shape)}",
        )
    return replace(base, kind=IndexKind.LEVEL, level=name)


def _check_guided(key: Key, scope: Scope) -> None:
    """The guide names latents and parameters; an observed site only where some of its rows are missing."""
    for name in key.names:
        site, column = scope.sites.get(name), scope.columns.get(name)
        if column is not None and (site is None or not column.missing):
            scope.problems.add(
                "guided-data",
                f"the guide defines {name!r}, which is data",
                key.span,
                expected="latents of the model, parameters with a prior, or new names",
                fix=f"drop the line of `{name}`",
            )
        elif site is not None and site.role in {Role.DETERMINISTIC, Role.LEARNED}:
            scope.problems.add(
                "guided-deterministic",
                f"the guide defines {name!r}, which is not random",
                key.span,
                expected="latents of the model, parameters with a prior, or new names",
                found=f"a {site.role.value} site",
                fix=f"drop the line of `{name}`, or rename it",
            )


def _role(name: str, section: str, density: Density, scope: Scope) -> Role:
    random = is_random(density)
    match section:
        case "parameters" if isinstance(density, Learned):
            return Role.LEARNED
        case "parameters":
            return Role.PARAMETER if random else Role.DETERMINISTIC
        case "guide":
            return Role.GUIDE if random else Role.DETERMINISTIC
    if name in scope.columns:
        return Role.OBSERVED
    return Role.LATENT if random else Role.DETERMINISTIC


# ---- chains ------------------------------------------------------------------------------------------------------


def _chain(general: Declaration, starts: list[Declaration], scope: Scope, context: Context) -> Density:
    key = general.key
    if _is_start(key):
        scope.problems.add(
            "chain-without-step",
            f"{key.name!r} has a start but no general line",
            key.span,
            expected=f"`{key.name}[t]: ...`",
            fix=f"add `{key.name}[t]: Normal({key.name}[t-1], 1)`",
        )
        return resolve_density(general.value, scope, context)
    start_context = replace(context, index=None, kind=IndexKind.NONE)
    initial: list[tuple[int, Density]] = []
    for part in starts:
        position = part.key.index.value if isinstance(part.key.index, Literal) else None
        assert isinstance(position, int)
        initial.append((position, resolve_density(part.value, scope, replace(start_context, position=position))))
    transition = resolve_density(general.value, scope, context)
    largest, furthest = lags(transition, context.index or "t", key.names)
    _check_starts(general, {position for position, _ in initial}, furthest, scope, context)
    return MarkovChain(
        tuple(sorted(initial, key=lambda pair: pair[0])),
        transition,
        context.index or "t",
        largest,
        span=general.value.span,
    )


def _check_starts(general: Declaration, given: set[int], furthest: int, scope: Scope, context: Context) -> None:
    name = general.key.name
    # A lag may be any number: only the first few starts that it asks for are looked at.
    missing = list(islice((position for position in range(furthest) if position not in given), _SHOWN_STARTS))
    if missing and not any(own in scope.columns for own in context.own):
        scope.problems.add(
            "chain-without-start",
            f"the chain {name!r} does not say how it starts",
            general.key.span,
            expected=", ".join(f"`{name}[{position}]: ...`" for position in missing),
            found=shown(general.value),
            fix=f"add `{name}[{missing[0]}]: {_like(general.value)}`, with the distribution that is meant",
        )


def _like(value: Expression) -> str:
    """A start of the family of a general step, as a fix shows it."""
    family = value.function if isinstance(value, Call) else "Normal"
    return f"{family}(...)" if family in DISTRIBUTIONS and family != "Normal" else "Normal(0, 1)"


# ---- implicit sites ----------------------------------------------------------------------------------------------


def _implicit(density: Density, section: str, own: tuple[str, ...], scope: Scope) -> Density:
    """A computed value that stands for a random one: an observed site of the model, a latent of the guide."""
    match density:
        case Deterministic(expression=expression) if _needs_density(section, own, scope):
            _check_noise(density, section, own, scope)
            names = {node.id: None for node in walk(expression) if isinstance(node, Name) and node.id not in own}
            inputs = tuple(name for name in names if name in scope.visible(section))
            return Implicit(expression, inputs, span=density.span)
        case MarkovChain(transition=Deterministic() as transition) if any(name in scope.columns for name in own):
            changed = _implicit(transition, section, own, scope)
            return replace(density, transition=changed)
    return density


def _needs_density(section: str, own: tuple[str, ...], scope: Scope) -> bool:
    if section == "model":
        return any(name in scope.columns for name in own)
    return section == "guide" and any(name in scope.sites and scope.sites[name].role is Role.LATENT for name in own)


def _check_noise(density: Deterministic, section: str, own: tuple[str, ...], scope: Scope) -> None:
    """An observed site must be random; a guide may be a point mass (an encoder without noise)."""
    if section != "model":
        return
    if _reads_noise(density.expression, scope, section):
        _check_not_invertible(density, own, scope)
        return
    calls = [node.function for node in walk(density.expression) if isinstance(node, Call)]
    if set(calls) - set(scope.callables()) or _rows_of_other_data(density.expression, own, scope):
        return  # what an unknown function was meant to be is not known, and its name is reported
    scope.problems.add(
        "observed-not-random",
        f"{own[0]!r} is observed, and nothing random stands in {shown(density.expression)}",
        density.span,
        expected="a distribution, or a function of a latent",
        fix=f"write `{own[0]}: Normal({shown(density.expression)[1:-1]}, sigma)`",
    )


def _rows_of_other_data(expression: Expression, own: tuple[str, ...], scope: Scope) -> bool:
    """Whether samples are made of another data set's rows, and a critic compares the two sets."""
    return bool(scope.compared & set(own)) and bool(free_names(expression) & scope.columns.keys() - set(own))


def _check_not_invertible(density: Deterministic, own: tuple[str, ...], scope: Scope) -> None:
    """An invertible function of one random site has a density: it must not pass for an implicit model."""
    random = [name for name in free_names(density.expression) if _is_drawn(name, scope)]
    if len(random) == 1 and invertible_in(density.expression, random[0]):
        scope.problems.add(
            "invertible-expression",
            f"{own[0]!r} is observed, and is an invertible expression of {random[0]!r}",
            density.span,
            expected="its distribution, or a bijector of the table",
            found=shown(density.expression),
            fix=f"write its distribution, or declare `flow: affine()` in `bijectors` and write `flow({random[0]})`",
        )


def _is_drawn(name: str, scope: Scope) -> bool:
    site = scope.sites.get(name)
    return site is not None and site.section == "model" and site.density is not None and is_random(site.density)


def invertible_in(expression: Expression, name: str) -> bool:
    """Whether an expression is, elementwise, a strictly monotone function of one name that stands in it once."""
    match expression:
        case Name(id=found):
            return found == name
        case Operation(operator="neg", operands=(operand,)):
            return invertible_in(operand, name)
        case Operation(operator="+" | "-" | "*" | "/", operands=(left, right)):
            inside, other = (left, right) if name in free_names(left) else (right, left)
            return name not in free_names(other) and invertible_in(inside, name)
        case Call(function=function, arguments=(argument,)) if function in FUNCTIONS:
            return FUNCTIONS[function].monotone != 0 and invertible_in(argument, name)
    return False


def _reads_noise(expression: Expression, scope: Scope, section: str) -> bool:
    visible = scope.visible(section)
    pending = [node.id for node in walk(expression) if isinstance(node, Name)]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        site = visible.get(name)
        if name in seen or site is None:
            continue
        seen.add(name)
        if site.density is not None and is_random(site.density) and site.section == section:
            return True
        pending.extend(site.parents)
    return False

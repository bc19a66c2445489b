"""Expressions: every name resolved, every call checked against its table, network calls turned into `Apply`."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.distributions import COMBINATORS, DISTRIBUTIONS
from dgmppl.ir.expressions import (
    Apply,
    Call,
    Expression,
    Index,
    Literal,
    Mapping,
    Name,
    Operation,
    Sequence,
    Slice,
    rebuild,
    substitute,
)
from dgmppl.ir.functions import FUNCTIONS, Function
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.program import IndexKind, Role, Site
from dgmppl.ir.types import KINDS
from dgmppl.passes.learned import hoist
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope

# Positions of function arguments that hold no tensor: (function, parameter) -> what stands there.
_SORTS = {
    ("checked", "support"): "support", ("ode_solve", "rate"): "rate", ("observed", "x"): "column",
    ("inverse", "bijector"): "bijector",
}  # fmt: skip
# Parameters of functions that have a default.
_OPTIONAL = frozenset({"axis", "rtol", "atol"})


def resolve_expression(expression: Expression, scope: Scope, context: Context) -> Expression:
    """The expression with its calls resolved; what is wrong goes to the scope's problems."""
    match expression:
        case Name():
            return _name(expression, scope, context)
        case Call():
            return _call(expression, scope, context)
        case Index():
            return _index(expression, scope, context)
        case Mapping():
            scope.problems.add("misplaced-option", f"{shown(expression)} is an option, not a value", expression.span)
            return expression
        case Literal(value=None | str()) | Sequence(items=()):
            scope.problems.add(
                "not-a-value",
                f"{shown(expression)} is no number",
                expression.span,
                expected="a number, a name or a call",
            )
            return expression
        case Literal() | Operation() | Sequence() | Slice() | Apply():
            return rebuild(expression, lambda child: resolve_expression(child, scope, context))


# ---- names -------------------------------------------------------------------------------------------------------


def _name(name: Name, scope: Scope, context: Context) -> Expression:
    identifier = name.id
    if identifier in context.local or identifier == context.index:
        return name
    if identifier in context.own:
        if not context.potential:
            _self_reference(name, scope, context)
        return name
    site = scope.site(identifier, context.section)
    if site is not None:
        _check_level_use(name, site, scope, context)
        return name
    _not_readable(name, scope, context)
    return name


def _self_reference(name: Name, scope: Scope, context: Context) -> None:
    identifier = name.id
    fix = {
        IndexKind.ELEMENT: f"write `{identifier}[:{context.index}]`: the elements before this one",
        IndexKind.TIME: f"write `{identifier}[{context.index}-1]`: the value before this one",
    }.get(context.kind, "leave it out; only `x[:i]`, lags and energies may name their own site")
    causal = any(NETWORKS[network.kind].causal for network in scope.networks.values())
    if causal and context.section == "model" and context.kind is IndexKind.TIME:
        fix = f"write `{identifier}[:{context.index}]`, the elements before this one, in a causal network"
    if context.position:
        fix = f"write `{identifier}[{context.position - 1}]`: a value before this one"
    scope.problems.add("self-reference", f"{identifier!r} is defined by itself", name.span, fix=fix)


def _check_level_use(name: Name, site: Site, scope: Scope, context: Context) -> None:
    """A level-indexed parameter, or a `per:` column, without its index; `_index` handles the good uses."""
    level = level_of(site, scope)
    if level is None or (level == context.level) or context.section == "guide":
        return
    scope.problems.add(
        "level-without-index",
        f"{name.id!r} has one value per {level}, and stands here without its index",
        name.span,
        fix=f"write `{name.id}[{level}]`",
    )


def level_of(site: Site, scope: Scope) -> str | None:
    """The level that a parameter or a `per:` column has one copy for, or None."""
    if site.role is Role.COVARIATE:
        return scope.columns[site.name].per
    return site.level if site.index is IndexKind.LEVEL else None


def _not_readable(name: Name, scope: Scope, context: Context) -> None:
    identifier, problems = name.id, scope.problems
    if identifier in scope.networks or identifier in scope.bijectors:
        kind = "network" if identifier in scope.networks else "bijector"
        problems.add(
            "not-applied", f"{identifier!r} is a {kind}, not a value", name.span, fix=f"apply it: `{identifier}(...)`"
        )
    elif identifier in scope.functions:
        problems.add(
            "not-applied", f"{identifier!r} is a local function", name.span, fix=f"call it: `{identifier}(...)`"
        )
    elif identifier in scope.sites:
        problems.add(
            "not-in-guide",
            f"the guide reads the latent {identifier!r}, which it has not sampled",
            name.span,
            expected="data, parameters, or a name that the guide defines above",
            fix=f"define `{identifier}` before it",
        )
    elif identifier in scope.later and (section := scope.later[identifier]) != "guide":
        _out_of_order(name, section, scope, context)
    elif scope.later.get(identifier) == "guide" and context.section == "guide":
        _out_of_order(name, "guide", scope, context)
    else:
        problems.unknown("name", identifier, (*scope.visible(context.section), *context.local), name.span)


def _out_of_order(name: Name, section: str, scope: Scope, context: Context) -> None:
    if section == context.section:
        message = f"{name.id!r} is used before it is defined"
        fix = f"move the line of `{name.id}` above this one"
    else:
        message = f"{name.id!r} belongs to `{section}`, which `{context.section}` cannot read"
        fix = f"declare what `{context.section}` needs there, or in a section before it"
    scope.problems.add("use-before-definition", message, name.span, expected="names in generative order", fix=fix)


# ---- indices -----------------------------------------------------------------------------------------------------


def _index(index: Index, scope: Scope, context: Context) -> Expression:
    match index:
        case Index(value=Name(id=name), items=(item,)) if context.kind is IndexKind.TIME:
            step = lag(item, context.index)
            if step is not None:
                return _lagged(index, name, step, scope, context)
        case Index(value=Name(id=name), items=(Literal(value=int(earlier)),)) if name in context.own:
            if context.position is not None and 0 <= earlier < context.position:
                return index
        case Index(value=Name(id=name), items=(Slice(start=None, stop=Name(id=stop), step=None),)):
            if context.kind is IndexKind.ELEMENT and stop == context.index:
                scope.problems.add(
                    "misplaced-factorization",
                    f"{shown(index)} stands outside a causal network",
                    index.span,
                    expected=f"the first argument of a network, `net({name}[:{stop}])`",
                )
                return index
    if isinstance(index.value, Name) and len(index.items) == 1:
        site = scope.site(index.value.id, context.section)
        level = None if site is None else level_of(site, scope)
        if level is not None:
            return _level(index, level, scope)
    items = tuple(resolve_expression(item, scope, context) for item in index.items)
    return replace(index, value=resolve_expression(index.value, scope, context), items=items)


def lag(item: Expression, index: str | None) -> int | None:
    """K where the item is `t - k` (0 for `t`); None where it does not hold the chain's index so."""
    match item:
        case Name(id=name) if name == index:
            return 0
        case Operation(operator="-", operands=(Name(id=name), Literal(value=int(step)))) if name == index:
            return step
        case Operation(operator="+", operands=(Name(id=name), Literal(value=int(step)))) if name == index:
            return -step
    return None


def _lagged(index: Index, name: str, step: int, scope: Scope, context: Context) -> Expression:
    if step < 0:
        scope.problems.add(
            "future-index",
            f"{shown(index)} reads the future",
            index.span,
            expected=f"`{name}[{context.index}]` or a lag",
            fix=f"write `{name}[{context.index}-1]`, or shift the chain",
        )
    elif name in context.own and step == 0:
        _self_reference(Name(name, span=index.span), scope, context)
    elif name not in context.own and not (step > 0 and name in scope.indexed):
        _name(Name(name, span=index.value.span), scope, context)
    return index


def _level(index: Index, level: str, scope: Scope) -> Expression:
    item = index.items[0]
    if isinstance(item, Name) and item.id == level:
        return index
    name = index.value.id if isinstance(index.value, Name) else ""
    scope.problems.add(
        "level-mismatch",
        f"{name!r} has one value per {level}, and is indexed by something else",
        item.span,
        expected=f"`{name}[{level}]`",
        found=shown(index),
        fix=f"write `{name}[{level}]`, or declare `{name}[...]:` for that column",
    )
    return index


# ---- calls -------------------------------------------------------------------------------------------------------


def _call(call: Call, scope: Scope, context: Context) -> Expression:
    name = call.function
    if name in scope.networks:
        return apply_network(call, scope, context)
    if name in scope.functions:
        return _inline(call, scope, context)
    if name == "learned":
        return hoist(call, scope, context)
    if name in scope.bijectors:
        return _check_plain(replace(call, arguments=_resolve_all(call.arguments, scope, context)), scope)
    if name in FUNCTIONS:
        return _function_call(call, FUNCTIONS[name], scope, context)
    _not_callable(call, scope, context)
    return call


def _resolve_all(parts: tuple[Expression, ...], scope: Scope, context: Context) -> tuple[Expression, ...]:
    return tuple(resolve_expression(part, scope, context) for part in parts)


def _check_plain(call: Call, scope: Scope) -> Call:
    """Networks and bijectors take values by position only."""
    for key, value in call.keywords:
        scope.problems.add("unknown-argument", f"{call.function!r} takes no argument {key!r}", value.span or call.span)
    if call.splats or not call.arguments:
        scope.problems.add("wrong-arguments", f"{call.function!r} takes one or more values by position", call.span)
    return call


def apply_network(call: Call, scope: Scope, context: Context, head: str | None = None) -> Expression:
    """`net(a, b)` as an `Apply`; `net(x[:i], c)` reads its first input causally."""
    network = scope.networks[call.function]
    _check_plain(call, scope)
    first, causal = (call.arguments[0] if call.arguments else None), False
    match first:
        case Index(value=Name(id=name, span=span), items=(Slice(start=None, stop=Name(id=stop), step=None),)):
            causal = context.kind is IndexKind.ELEMENT and stop == context.index and name in context.own
            first = Name(name, span=span) if causal else first
    if causal and not NETWORKS[network.kind].causal:
        allowed = ", ".join(kind for kind, entry in NETWORKS.items() if entry.causal)
        scope.problems.add(
            "not-causal",
            f"a factorization needs a causal network, and {call.function!r} is `{network.kind}`",
            call.span,
            expected=allowed,
            found=network.kind,
            fix=f"declare `{call.function}: made([256, 256])`",
        )
    rest = _resolve_all(call.arguments[1:], scope, context)
    inputs = (first, *rest) if causal and first is not None else _resolve_all(call.arguments, scope, context)
    return Apply(call.function, _with_masks(inputs, causal, scope, context), head, causal, span=call.span)


def _with_masks(inputs: tuple[Expression, ...], causal: bool, scope: Scope, context: Context) -> tuple[Expression, ...]:
    """A column with missing entries enters zero-filled, its mask after it."""
    wide: list[Expression] = []
    for position, part in enumerate(inputs):
        wide.append(part)
        if isinstance(part, Name) and not (causal and position == 0) and _maskable(part.id, scope, context):
            wide.append(Call("observed", (part,), span=part.span))
    return tuple(wide)


def _maskable(name: str, scope: Scope, context: Context) -> bool:
    """Missing entries of a covariate, or of data that no model site reads, stay missing; others are latent."""
    column, site = scope.columns.get(name), scope.sites.get(name)
    if column is None or site is None or not column.missing:
        return False
    read = context.section == "model" or any(name in other.parents for other in scope.sites.values())
    return site.role is Role.COVARIATE or not read


def _inline(call: Call, scope: Scope, context: Context) -> Expression:
    arguments, body = scope.functions[call.function]
    if len(arguments) != len(call.arguments) or call.keywords or call.splats:
        scope.problems.add(
            "wrong-arguments",
            f"{call.function!r} takes {len(arguments)} arguments",
            call.span,
            expected=f"`{call.function}({', '.join(arguments)})`",
            found=shown(call),
        )
        return call
    return substitute(body, dict(zip(arguments, _resolve_all(call.arguments, scope, context), strict=True)))


def _function_call(call: Call, function: Function, scope: Scope, context: Context) -> Expression:
    starred = any(name.startswith("*") for name in function.parameters)
    names = [name.lstrip("*") for name in function.parameters]
    if not starred and len(call.arguments) > len(names):
        scope.problems.add(
            "wrong-arguments",
            f"{function.name!r} takes at most {len(names)} arguments",
            call.span,
            expected=signature(function),
            found=shown(call),
        )
    given = {key for key, _ in call.keywords} | set(names[: len(call.arguments)])
    needed = names[:1] if starred else [name for name in names if name not in _OPTIONAL]
    missing = [name for name in needed if name not in given]
    if missing or call.splats:
        message = f"{function.name!r} lacks {(missing or names)[0]!r}"
        scope.problems.add("wrong-arguments", message, call.span, expected=signature(function))
    for key in names[: len(call.arguments)]:
        if not starred and call.keyword(key) is not None:
            message = f"{function.name!r} gets {key!r} twice: by place and by name"
            scope.problems.add("duplicate-argument", message, call.span, fix="keep one")
    for key, value in call.keywords:
        if key not in names:
            scope.problems.unknown_argument(f"argument of {function.name!r}:", key, names, call, value)
    arguments = tuple(
        _argument(part, function, names[min(position, len(names) - 1)] if not starred else names[0], scope, context)
        for position, part in enumerate(call.arguments)
    )
    keywords = tuple((key, _argument(value, function, key, scope, context)) for key, value in call.keywords)
    if function.rule in {"elementwise", "kernel"}:
        # Operands, by whatever name they come: the passes below know them by their places.
        named = dict(keywords)
        arguments, keywords = (*arguments, *(named[name] for name in names[len(arguments) :] if name in named)), ()
    return replace(call, arguments=arguments, keywords=keywords)


def signature(function: Function) -> str:
    """How a function is called."""
    return f"`{function.name}({', '.join(function.parameters)})`"


def _argument(part: Expression, function: Function, parameter: str, scope: Scope, context: Context) -> Expression:
    sort = _SORTS.get((function.name, parameter))
    known = {
        "support": KINDS, "rate": tuple(scope.functions), "column": tuple(scope.columns),
        "bijector": tuple(scope.bijectors),
    }.get(sort or "")  # fmt: skip
    if known is None:
        return resolve_expression(part, scope, context)
    if sort == "support" and isinstance(part, Call) and part.function in known:
        return part
    if not isinstance(part, Name) or part.id not in known:
        found = part.id if isinstance(part, Name) else shown(part)
        scope.problems.unknown(f"{sort} for {function.name!r}:", found, known, part.span)
    return part


def _not_callable(call: Call, scope: Scope, context: Context) -> None:
    name, problems = call.function, scope.problems
    if name in DISTRIBUTIONS or name in COMBINATORS:
        problems.add(
            "nested-distribution",
            f"the distribution {name!r} stands inside an expression",
            call.span,
            fix=f"give it a name of its own, `e: {name}(...)`, and use `e` here",
        )
    elif name in NETWORKS:
        problems.add(
            "inline-network",
            f"the network `{name}(...)` is declared inside an expression",
            call.span,
            fix=f"name it under `networks`, `net: {name}(...)`, and write `net(...)` here",
        )
    elif scope.site(name, context.section) is not None or name in scope.columns:
        problems.add(
            "not-a-function", f"{name!r} is a value, not a function", call.span, fix=f"index it by `{name}[...]`"
        )
    else:
        problems.unknown("function", name, scope.callables(), call.span, code="unknown-function")

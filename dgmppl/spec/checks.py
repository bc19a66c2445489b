"""What can be wrong with a spec as a whole before any name is resolved: clashing names, excluding sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dgmppl.ir.distributions import COMBINATORS, DISTRIBUTIONS
from dgmppl.ir.expressions import Call, Expression, Name
from dgmppl.ir.functions import FUNCTIONS
from dgmppl.source import Diagnostic, Span, nearest
from dgmppl.spec.kinds import listing
from dgmppl.spec.syntax import Declaration, Key, Spec

# What a declaration may not be called, because expressions call it.
RESERVED: frozenset[str] = frozenset(FUNCTIONS) | frozenset(DISTRIBUTIONS) | frozenset(COMBINATORS)

# The engines that optimize the objective, and so may stand beside one.
_OPTIMIZING = frozenset({"map", "svi"})


@dataclass(frozen=True, slots=True)
class _Declared:
    """A name as one section declares it."""

    name: str
    section: str
    key: Key | None
    span: Span | None


def check(spec: Spec, objective: Span | None) -> Iterator[Diagnostic]:
    """The problems of a spec as a whole.

    Args:
        spec: the spec after merging.
        objective: where the key `objective` stands.
    """
    yield from _names(spec)
    yield from _keys(spec)
    if spec.objective is not None and spec.infer is not None and _engine(spec.infer) not in _OPTIMIZING:
        message = f"`infer: {_engine(spec.infer)}` has a target of its own and excludes `objective`"
        notes = (f"`infer` stands at {spec.infer.span}",) if spec.infer.span is not None else ()
        fix = "drop one of the two; `map` and `svi(...)` may stand beside an objective"
        yield Diagnostic("objective-and-infer", message, objective, fix=fix, notes=notes)
    settings = {setting.key: setting for setting in spec.train}
    if "steps" in settings and "epochs" in settings:
        second = max(settings["steps"], settings["epochs"], key=spec.train.index)
        yield Diagnostic(
            "steps-and-epochs", "`steps` and `epochs` both say how long to train", second.span, fix="keep one"
        )


def _engine(expression: Expression) -> str:
    match expression:
        case Call(function=name) | Name(id=name):
            return name
    return "..."


def _names(spec: Spec) -> Iterator[Diagnostic]:
    seen: dict[str, list[_Declared]] = {}
    for declared in _declared(spec):
        yield from _shadowing(declared)
        earlier = seen.setdefault(declared.name, [])
        clash = next((other for other in earlier if not _compatible(other, declared)), None)
        if clash is not None:
            both = {clash.section, declared.section}
            places = " and ".join(f"in `{section}`" for section in sorted(both))
            message = f"`{declared.name}` is declared twice {places}"
            notes = (f"the first stands at {clash.span}",) if clash.span is not None else ()
            yield Diagnostic("duplicate-name", message, declared.span, fix="a name of its own for each", notes=notes)
        earlier.append(declared)


def _declared(spec: Spec) -> Iterator[_Declared]:
    for data in spec.data:
        yield _Declared(data.name, "data", None, data.span)
    sections = (
        ("parameters", spec.parameters),
        ("networks", spec.networks),
        ("bijectors", spec.bijectors),
        ("model", spec.model),
    )
    for section, declarations in sections:
        yield from _declarations(section, declarations)
    if isinstance(spec.guide, tuple):
        yield from _declarations("guide", spec.guide)


def _declarations(section: str, declarations: tuple[Declaration, ...]) -> Iterator[_Declared]:
    for declaration in declarations:
        for name in declaration.key.names:
            yield _Declared(name, section, declaration.key, declaration.key.span)


def _keys(spec: Spec) -> Iterator[Diagnostic]:
    columns = {data.name for data in spec.data}
    guide = spec.guide if isinstance(spec.guide, tuple) else ()
    sections = {
        "parameters": spec.parameters, "networks": spec.networks, "bijectors": spec.bijectors,
        "model": spec.model, "guide": guide, "critics": spec.critics,
    }  # fmt: skip
    for section, declarations in sections.items():
        for declaration in declarations:
            yield from _key_form(section, declaration.key)
            yield from _key_index(section, declaration.key, columns)


def _key_form(section: str, key: Key) -> Iterator[Diagnostic]:
    joint = len(key.names) > 1 and section not in {"model", "guide", "critics"}
    indexed = key.index is not None and section not in {"model", "guide", "parameters"}
    function = key.arguments is not None and section not in {"model", "parameters"}
    if joint or indexed or function:
        what = "several names" if joint else "an index" if indexed else "arguments"
        expected = "a name, or a tuple of names" if section == "critics" else "a name"
        yield Diagnostic("key-form", f"a key of `{section}` has no {what.removeprefix('an ')}", key.span, expected)


def _key_index(section: str, key: Key, columns: set[str]) -> Iterator[Diagnostic]:
    if not isinstance(key.index, Name):
        return
    index = key.index.id
    if section == "parameters" and index not in columns:
        close = nearest(index, columns)
        fix = f"write `{close}`" if close else f"declare `{index}` in `data`"
        message = f"the level `{index}` is no column in `data`"
        yield Diagnostic("unknown-name", message, key.index.span, listing(sorted(columns)), index, fix)
    elif section in {"model", "guide"} and index in columns:
        message = f"`{index}` is a column in `data`, and cannot be the index of a site"
        fix = (
            f"declare the copies in `parameters`: `{key.name}[{index}]: ...`; time has an index of its own, such as `t`"
        )
        yield Diagnostic("index-form", message, key.index.span, fix=fix)


def _compatible(first: _Declared, second: _Declared) -> bool:
    """Whether one name may stand in both places."""
    if first.section == second.section:
        # `z[0]` and `z[t]` are one chain.
        keys = (first.key, second.key)
        return first.section in {"model", "guide"} and all(key is not None and key.index is not None for key in keys)
    functions = [declared.key is not None and declared.key.arguments is not None for declared in (first, second)]
    if any(functions):
        return False
    allowed = {("data", "model"), ("model", "guide"), ("parameters", "guide"), ("data", "guide")}
    return (first.section, second.section) in allowed


def _shadowing(declared: _Declared) -> Iterator[Diagnostic]:
    names = (declared.name, *((declared.key and declared.key.arguments) or ()))
    for name in names:
        if name in RESERVED:
            what = "distribution" if name[0].isupper() else "function"
            message = f"`{name}` is a {what} of the language and cannot be declared"
            yield Diagnostic(
                "shadowed-name", message, declared.span, fix=f"another name, such as `{name}_` or `my_{name}`"
            )

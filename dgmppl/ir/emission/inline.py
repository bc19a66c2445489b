"""Standalone text: the runtime definitions that a module uses, each runtime module as a function that returns them.

The scope of a function keeps names apart (`constraints.positive` is not `networks.positive`), and calls read the same
as with the runtime package: `densities.normal(x, loc, scale)`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Source:
    """A runtime module taken apart.

    Attributes:
        statements: top-level statements that define names, in order, as text.
        names: position of each name's definition; of those that a later statement completes, each position.
        reads: names that each statement reads.
        imported: name -> (runtime module, attribute); attribute "" where the name is the module itself.
    """

    statements: tuple[str, ...]
    names: Mapping[str, tuple[int, ...]]
    reads: tuple[frozenset[str], ...]
    imported: Mapping[str, tuple[str, str]]


def inline(sources: Mapping[str, str], used: Iterable[tuple[str, str]]) -> list[str]:
    """The text of every definition that (module, name) pairs need, directly or not.

    Args:
        sources: runtime module -> its text; a module comes after those that it takes definitions from.
        used: what the emitted text names.
    """
    parts = {name: _take_apart(text, sources) for name, text in sources.items()}
    needed: dict[str, set[int]] = {name: set() for name in sources}
    imports: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in sources}
    exported: dict[str, set[str]] = {name: set() for name in sources}
    pending = sorted(used)
    while pending:
        module, name = pending.pop()
        source = parts[module]
        exported[module].add(name)
        for position in source.names[name]:
            if position in needed[module]:
                continue
            needed[module].add(position)
            for read in sorted(source.reads[position]):
                if read in source.imported:
                    imports[module][read] = source.imported[read]
                    origin, attribute = source.imported[read]
                    if attribute:
                        pending.append((origin, attribute))
                    else:
                        pending += _attributes(source.statements[position], read)
                elif read in source.names:
                    pending.append((module, read))
    blocks = [
        _block(name, parts[name], needed[name], imports[name], exported[name]) for name in sources if needed[name]
    ]
    return [line for block in blocks for line in ["", "", *block]][2:]


def _attributes(statement: str, module: str) -> list[tuple[str, str]]:
    """What a statement takes from a runtime module that it names as a whole."""
    return [
        (module, node.attr)
        for node in ast.walk(ast.parse(statement))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    ]


def _block(
    name: str, source: _Source, needed: set[int], imports: Mapping[str, tuple[str, str]], exported: set[str]
) -> list[str]:
    lines = [f"def _{name}():", f'    """The part of the runtime module `{name}` that this program uses."""']
    lines += [
        f"    {local} = {module}.{attribute}" for local, (module, attribute) in sorted(imports.items()) if attribute
    ]
    for position in sorted(needed):
        text = source.statements[position]
        lines += [*([""] if "\n" in text else []), *(f"    {line}" if line else "" for line in text.splitlines())]
    pairs = ", ".join(f"{entry}={entry}" for entry in sorted(exported))
    return [*lines, "", f"    return SimpleNamespace({pairs})", "", "", f"{name} = _{name}()"]


def _take_apart(text: str, sources: Mapping[str, str]) -> _Source:
    statements: list[str] = []
    names: dict[str, tuple[int, ...]] = {}
    reads: list[frozenset[str]] = []
    imported: dict[str, tuple[str, str]] = {}
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            imported |= _imported(node, sources)
            continue
        defined = _defined(node)
        if not defined:
            continue
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        for name in defined:
            names[name] = (*names.get(name, ()), len(statements))
        statements.append("\n".join(lines[first - 1 : node.end_lineno]))
        reads.append(frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name)) - set(defined))
    return _Source(tuple(statements), names, tuple(reads), imported)


def _imported(node: ast.ImportFrom, sources: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    origin = (node.module or "").rpartition(".")[2]
    if origin in sources:
        return {alias.name: (origin, alias.name) for alias in node.names}
    return {alias.name: (alias.name, "") for alias in node.names if alias.name in sources}


def _defined(node: ast.stmt) -> list[str]:
    """The names that a top-level statement defines, or completes (`f.defvjp(...)`)."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return [name]
        case _:
            return []

"""The spec as data: sections with their expressions and places, before any name is resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dgmppl.ir.expressions import Expression
from dgmppl.source import Source, Span

Option: TypeAlias = "bool | int | float | str | Expression | list[Option] | dict[str, Option] | None"


@dataclass(frozen=True, slots=True)
class Key:
    """The left-hand side of a declaration.

    `x` has one name and nothing else; `(v, h)` several names; `z[t]`, `z[0]`, `x[i]`, `theta[school]` an index
    expression; `rate(s)` arguments.

    Attributes:
        names: the names that are declared (one, or a joint site's, or a critic's tuple).
        index: what stands in the brackets, or None.
        arguments: the argument names of a local function; None where the key is no function.
        span: where the key stands.
    """

    names: tuple[str, ...]
    index: Expression | None = None
    arguments: tuple[str, ...] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The key as a user would say it: `x`, or `v, h`."""
        return ", ".join(self.names)


@dataclass(frozen=True, slots=True)
class Declaration:
    """`key: expression`."""

    key: Key
    value: Expression


@dataclass(frozen=True, slots=True)
class DataDeclaration:
    """One entry of `data`, normalized to one form.

    Attributes:
        name: the variable.
        kind: `dataset | file | inline | shape | expression`.
        source: the data set's dotted name, the file's path as written, the inline rows, the shape, or the expression.
        options: the remaining keys (`key column columns whole per keep missing support split test size seed ...`).
        transform: the transforms in order, as parsed calls.
        base: the folder against which a relative path is resolved (that of the file that wrote it).
    """

    name: str
    kind: str
    source: Option
    options: tuple[tuple[str, Option], ...] = ()
    transform: tuple[Expression, ...] = ()
    base: str = "."
    span: Span | None = field(default=None, compare=False, repr=False)
    spans: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    def option(self, name: str) -> Option:
        """An option's value, or None where it is not given."""
        return dict(self.options).get(name)


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry of `train` or `evaluate`: `key: value`, the value parsed where it is an expression."""

    key: str
    value: Option
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec after `extends` has been merged.

    `guide` is a tuple of declarations, or a single expression (`auto(...)`), or None where it is left out.
    A bijector's value is an expression: a step, or a `Sequence` of steps.
    """

    name: str
    description: str = ""
    data: tuple[DataDeclaration, ...] = ()
    parameters: tuple[Declaration, ...] = ()
    model: tuple[Declaration, ...] = ()
    guide: tuple[Declaration, ...] | Expression | None = None
    networks: tuple[Declaration, ...] = ()
    bijectors: tuple[Declaration, ...] = ()
    critics: tuple[Declaration, ...] = ()
    objective: Expression | None = None
    train: tuple[Setting, ...] = ()
    infer: Expression | None = None
    evaluate: tuple[Setting, ...] = ()
    source: Source = field(default=Source("<spec>", ""), compare=False, repr=False)
    sources: tuple[Source, ...] = field(default=(), compare=False, repr=False)

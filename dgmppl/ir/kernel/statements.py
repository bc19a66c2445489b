"""Statements of straight-line programs, and the loop over an index that chains and factorizations need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dgmppl.ir.kernel.values import DensityValue, FunctionDensity, Value
from dgmppl.source import Span


@dataclass(frozen=True, slots=True)
class Assign:
    """`targets = value`, with the value's layout as a comment (`[B, 64]`)."""

    targets: tuple[str, ...]
    value: Value
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A line of mathematics or reason between statements."""

    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample statement of a Pyro / NumPyro program.

    Attributes:
        site: its name.
        density: its distribution.
        observed: the variable that holds the data, or None.
        mask: a boolean variable; entries where it is False do not count.
        unless: a variable that, when it is given (not None), takes the sample's place: the site is then skipped and
            the variable stands for its value; printed as `if y is None:`.
        variable: the local variable that it assigns; None for one of the site's own name, or the observed one.
        span: the declaration's place.
    """

    site: str
    density: DensityValue | FunctionDensity
    observed: str | None = None
    mask: str | None = None
    unless: str | None = None
    variable: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Impute:
    """Missing entries of data as latents of a Pyro / NumPyro program, printed as `if x is not None:`.

    They are sampled from an improper uniform, since the sample statement of the completed data counts their density.

    Attributes:
        site: the observed site.
        latent: the latents' name.
        column: the variable that holds the data, missing entries too from here on.
        mask: the boolean variable of which entries the data hold.
        count: how many entries are missing.
        variable: the local variable of the latents.
        span: the declaration's place.
    """

    site: str
    latent: str
    column: str
    mask: str
    count: int
    variable: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """A deterministic site of a Pyro / NumPyro program."""

    site: str
    value: Value


@dataclass(frozen=True, slots=True)
class Plate:
    """A named, independent batch axis at dimension -1 (of the batch axes).

    Attributes:
        name: `data` or a level's name.
        size: its full size, or None for the number of data rows at run time.
        body: the statements inside.
    """

    name: str
    size: int | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """A loop over an index with values that are carried from step to step.

    Printed as a local function of (carry, inputs) and one call of the runtime's `loops.scan`, which is a Python loop in
    torch and one compiled loop in JAX. The axis of a step stands left of the step's event.

    Attributes:
        name: what the local function is called.
        targets: variables of the stacked outputs.
        index: the variable of the position inside the body; it runs from `start`.
        start: the first position.
        length: how many steps.
        carry: (variable inside the body, value before the first step).
        inputs: (variable inside the body, stacked value, event rank of one step).
        body: the statements of one step.
        updates: the carried values after the step.
        outputs: (value of one step, its event rank).
        reverse: from the last position to the first.
    """

    name: str
    targets: tuple[str, ...]
    index: str
    start: int
    length: int
    carry: tuple[tuple[str, Value], ...]
    inputs: tuple[tuple[str, Value, int], ...]
    body: tuple[Statement, ...]
    updates: tuple[Value, ...]
    outputs: tuple[tuple[Value, int], ...]
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Define:
    """A local function.

    Attributes:
        name: its name.
        argument: its argument's name; several with commas between them.
        body: its statements; the last one is a `Return`.
    """

    name: str
    argument: str
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """The function's result: one value, several, or (with `names`) a dictionary of them."""

    values: tuple[Value, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnLoss:
    """The end of a loss: `return loss, state, report`; the report's entries are fit to be shown, in nats per datum.

    `state` holds the entries that are carried on with new values; the others are carried on as they are.
    """

    loss: Value
    report: tuple[tuple[str, Value], ...]
    state: tuple[tuple[str, Value], ...] = ()


Statement: TypeAlias = Assign | Comment | Sample | Impute | Delta | Plate | Scan | Define | Return | ReturnLoss

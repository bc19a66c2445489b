"""A loss taken apart: every density, divergence and assertion inside it, with the values that each was computed from.

A run whose loss is not finite is explained by it: the same statements on the same numbers, their parts returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from dgmppl.ir.emission.constants import folded
from dgmppl.ir.expressions import Node
from dgmppl.ir.kernel import (
    Assign,
    BijectorCall,
    Define,
    Divergence,
    Draw,
    Function,
    Gradient,
    LogProb,
    MarkovSampler,
    NetworkCall,
    NetworkLogPrior,
    Number,
    Op,
    Return,
    ReturnLoss,
    Scan,
    StateEntry,
    Statement,
    Value,
    Var,
)
from dgmppl.lowering.layout import op
from dgmppl.source import Span


@dataclass(frozen=True, slots=True)
class Factor:
    """One density, divergence or assertion inside a loss.

    Attributes:
        what: which it is, in words.
        value: its value: in nats, or for an assertion the asserted value.
        parts: (name, value) of what it was computed from: the density's parameters, and where it was evaluated.
        draws: variables that were drawn, and that it depends on directly.
        columns: data columns likewise.
        groups: parameter groups likewise.
        per_row: the last axis of its value is that of the data.
        span: the place of its site.
    """

    what: str
    value: Value
    parts: tuple[tuple[str, Value], ...]
    draws: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    per_row: bool
    span: Span | None


def factors_of(loss: Function) -> tuple[Factor, ...]:
    """The factors of a loss, in the order in which they are evaluated; each one once."""
    reader = _Reader(loss)
    found: dict[tuple[str, Node], Factor] = {}
    for statement in loss.body:
        for node in _roots(statement):
            for inner in walk(node):
                said = _described(inner)
                if said is not None:
                    found.setdefault((said[0], inner), reader.factor(inner, *said))
    return tuple(found.values())


def probe(loss: Function, factors: tuple[Factor, ...], step: int) -> Function:
    """The loss as a density function `factors` that returns its parts at a step.

    Returns:
        A function of (parameters, batch, noise); the result's entries are `N` for the value of the factor number N,
        `N.NAME` for those of its parts that are no constants, and `=NAME` for each of `variables`.
    """
    entries: dict[str, Value] = {f"={name}": Var(name) for name in variables(loss)}
    for number, factor in enumerate(factors):
        entries[str(number)] = factor.value
        entries |= {f"{number}.{name}": value for name, value in factor.parts if not isinstance(folded(value), Number)}
    statements = [_at_step(one, step) for one in loss.body if not isinstance(one, ReturnLoss)]
    values = tuple(_at_step(value, step) for value in entries.values())
    doc = "the factors of the loss, and what they were computed from."
    return replace(
        loss, name="factors", kind="density", body=(*statements, Return(values, tuple(entries))), doc=doc, owns=()
    )


def stateless(loss: Function) -> tuple[Function, dict[str, str]]:
    """The loss with what it carries from step to step as columns of the batch; their names by the state's entries."""
    entries = dict.fromkeys(node.name for node in walk(loss.body) if isinstance(node, StateEntry))
    local = {name: f"state_{number}" for number, name in enumerate(entries)}

    def read(item: Any) -> Any:
        return Var(local[item.name]) if isinstance(item, StateEntry) else None

    names = {name: f"{name}{CARRIED}" for name in entries}
    columns = (*loss.columns, *((names[name], local[name]) for name in entries))
    return replace(loss, body=_replaced(loss.body, read), columns=columns), names


def single_loss(loss: Function, factor: Factor, name: str) -> Function:
    """`loss_NAME`: the mean of one factor alone, for its gradient."""
    statements = tuple(one for one in loss.body if not isinstance(one, ReturnLoss))
    end = ReturnLoss(op("mean_all", factor.value), ())
    return replace(loss, name=f"loss_{name}", body=(*statements, end), doc=f"the mean of a {factor.what} alone.")


def walk(value: object) -> Iterator[Node]:
    """A value and all that it is made of, innermost first."""
    if isinstance(value, tuple):
        for part in value:
            yield from walk(part)
    elif isinstance(value, Node | Assign | Define | Return | ReturnLoss):
        for item in fields(value):
            yield from walk(getattr(value, item.name))
        if isinstance(value, Node):
            yield value


def _roots(statement: Statement) -> tuple[Node, ...]:
    match statement:
        case Assign():
            return (statement.value,)
        case ReturnLoss():
            return (statement.loss,)
        case _:
            return ()


def variables(loss: Function) -> list[str]:
    """Variables that hold a draw, or what a network or a bijector gave."""
    kinds = Draw | NetworkCall | BijectorCall | MarkovSampler
    given = [one for one in loss.body if isinstance(one, Assign) and isinstance(_bare(one.value), kinds)]
    return [name for one in given for name in one.targets]


def mapped(loss: Function) -> dict[str, str]:
    """Variables that a bijector gave, each with its bijector."""
    calls = [(one.targets, _bare(one.value)) for one in loss.body if isinstance(one, Assign)]
    return {name: call.bijector for names, call in calls if isinstance(call, BijectorCall) for name in names}


def _bare(value: Value) -> Value:
    """A value without the operations that change its gradient alone."""
    while isinstance(value, Op) and value.name in ("stop", "scale_gradient"):
        value = value.operands[0]
    return value


def _described(node: Node) -> tuple[str, tuple[tuple[str, Value], ...], bool] | None:
    """What a node is called, its parts, and whether it has one number per row; None for what is no factor."""
    match node:
        case LogProb(density=density, value=value, elementwise=elementwise):
            return "log density", (*density.parameters, ("value", value)), not elementwise
        case Divergence(posterior=posterior, prior=prior):
            both = (("q", posterior), ("p", prior))
            return "KL divergence", tuple((f"{q} {name}", v) for q, one in both for name, v in one.parameters), True
        case NetworkLogPrior(density=density):
            return "log prior of the weights", density.parameters, False
        case Op(name="low_rank_normal", operands=operands):
            return "log marginal", tuple(zip(("value", "loc", "loading", "variance"), operands, strict=True)), True
        case Op(name="checked", operands=(asserted,)):
            return f"{ASSERTION}{node.option('support')}", (("value", asserted),), False
        case MarkovSampler(start=start):
            return CHAIN, (("start", start),), False
        case Gradient(point=point, order="first"):
            return "score", (("value", point),), False
        case Op(span=Span()):
            return "log density up to log Z", (), True
        case _:
            return None


# What ends the name of a column that holds an entry of the state.
CARRIED = ".carried"
# What an assertion's name begins with; the set that the value has to lie in follows.
ASSERTION = "assertion that it is "
CHAIN = "Markov chain"
EXPLODED = (
    f"the {CHAIN} exploded: it is not finite, or a million times as far out as it began; "
    "take a smaller step_size, or a sampler that refuses such moves (mala, hmc)"
)


class _Reader:
    """What each variable of a loss stands for."""

    def __init__(self, loss: Function) -> None:
        self.columns = {local: column for column, local in loss.columns}
        self.groups = {local: group for group, local in loss.groups}
        self.made: dict[str, Assign | Scan] = {}
        self.bodies = {one.name: one.body for one in loss.body if isinstance(one, Define)}
        for one in loss.body:
            if isinstance(one, Assign | Scan):
                self.made |= dict.fromkeys(one.targets, one)

    def factor(self, node: Node, what: str, parts: tuple[tuple[str, Value], ...], per_row: bool) -> Factor:
        """A factor, with what it depends on directly: behind a draw, nothing is followed."""
        seen: dict[str, str] = {}
        for _, value in parts:
            self._follow(value, seen)
        kinds = [tuple(name for name, kind in seen.items() if kind == wanted) for wanted in ("draw", "column", "group")]
        return Factor(what, cast(Value, node), parts, kinds[0], kinds[1], kinds[2], per_row, node.span)

    def _follow(self, value: object, seen: dict[str, str]) -> None:
        for node in walk(value):
            if isinstance(node, MarkovSampler | Gradient):
                functions = node.functions if isinstance(node, MarkovSampler) else (node.function,)
                self._follow(tuple(self.bodies.get(name, ()) for name in functions), seen)
            elif isinstance(node, NetworkCall) or (isinstance(node, Var) and node.name in self.groups):
                name = node.network if isinstance(node, NetworkCall) else node.name
                seen.setdefault(self.groups.get(name, name), "group")
            elif isinstance(node, Var) and node.name in self.columns:
                seen.setdefault(self.columns[node.name], "column")
            elif isinstance(node, Var):
                self._follow_variable(node.name, seen)

    def _follow_variable(self, name: str, seen: dict[str, str]) -> None:
        made = self.made.get(name)
        if isinstance(made, Assign) and not isinstance(_bare(made.value), Draw):
            self._follow(made.value, seen)
        elif isinstance(made, Assign):
            seen.setdefault(name, "draw")


def _at_step(item: Any, step: int) -> Any:
    """A statement or value in which the schedules have the numbers of a step."""

    def read(node: Any) -> Any:
        scheduled = isinstance(node, Op) and node.name == "schedule"
        return Number(_linear(dict(node.options), step)) if scheduled else None

    return _replaced(item, read)


def _replaced(item: Any, change: Callable[[Any], Any]) -> Any:
    """A statement or value in which every part that is changed has what `change` makes of it; None leaves it."""
    if isinstance(item, tuple):
        return tuple(_replaced(part, change) for part in item)
    if (changed := change(item)) is not None:
        return changed
    if isinstance(item, Node | Assign | Scan | Define | Return | ReturnLoss):
        return replace(item, **{one.name: _replaced(getattr(item, one.name), change) for one in fields(item)})
    return item


def _linear(options: Mapping[str, Any], step: int) -> float:
    start, end = float(options["start"]), float(options["end"])
    return start + (end - start) * min(step / max(int(options["steps"]), 1), 1.0)

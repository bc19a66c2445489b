"""Printing of kernel statements, shared by both backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.densities import sequence
from dgmppl.ir.emission.layout import annotated, remark, wrap
from dgmppl.ir.emission.values import ValuePrinter, unsupported
from dgmppl.ir.kernel import (
    FLAT,
    Assign,
    Comment,
    Define,
    Delta,
    DensityValue,
    FunctionDensity,
    Impute,
    Module,
    NetworkStep,
    Plate,
    Return,
    ReturnLoss,
    Sample,
    Scan,
    Statement,
    Value,
    Var,
)
from dgmppl.ir.types import Dtype, Support

_EVENT_RANKS = {"simplex": 1, "ordered": 1, "positive_ordered": 1, "cholesky": 2, "correlation_cholesky": 2}
_FINITE = frozenset({"Bernoulli", "Categorical", "OneHotCategorical"})
# The ends that a support has -> the libraries' constraint.
_BETWEEN = {("low",): "greater_than", ("high",): "less_than", ("low", "high"): "interval"}


class StatementPrinter(ABC):
    """Statements of a kernel function as lines.

    Attributes:
        backend: its name, for messages.
        library: the module whose `sample`, `plate` a program calls.
        scale: the handler that multiplies log densities.
        drawn_like: the argument that gives the draws of a composed density their dtype and device.
        constraints: support kind -> the library's constraint; a support that the library lacks is reached by the
            runtime's own bijection.
    """

    backend: ClassVar[str]
    library: ClassVar[str]
    scale: ClassVar[str]
    drawn_like: ClassVar[tuple[str, ...]] = ()
    constraints: ClassVar[Mapping[str, str]]

    def __init__(self, module: Module) -> None:
        """Prints statements of a module's functions."""
        self.module = module

    @abstractmethod
    def deterministic(self, site: str, value: str, rank: int | None) -> str:
        """A deterministic site."""

    def observed(self, density: DensityValue, column: str) -> str:
        """The data of a site, as the library's density takes them; None where they are left out."""
        del density
        return column

    def statement(self, statement: Statement, printer: ValuePrinter, indent: int) -> list[str]:
        """A statement's lines."""
        match statement:
            case Assign(targets=targets, value=value, comment=comment):
                first, *rest = map(printer.variable, targets)
                several = isinstance(value, NetworkStep) and len(rest) > 1  # a step returns its cache and the heads
                names = f"{first}, ({', '.join(rest)})" if several else ", ".join((first, *rest))
                return annotated(f"{names} = {printer.text(value)}", comment, indent)
            case Comment(text=text):
                return remark(text, indent)
            case Sample():
                return self._sample(statement, printer, indent)
            case Impute():
                return self._impute(statement, printer, indent)
            case Delta(site=site, value=value):
                shape = printer.shapes.of(value)
                line = self.deterministic(site, printer.text(value), None if shape is None else len(shape))
                return wrap(f"{printer.variable(site)} = {line}", indent)
            case Plate():
                return self._plate(statement, printer, indent)
            case Scan():
                return self._scan(statement, printer, indent)
            case Define(name=name, argument=argument, body=body):
                inner = [line for part in body for line in self.statement(part, printer, indent + 1)]
                return ["", *wrap(f"def {name}({argument}):", indent), *inner]
            case Return(values=values, names=names):
                texts = [printer.text(value) for value in values]
                pairs = ", ".join(f'"{name}": {text}' for name, text in zip(names, texts, strict=False))
                return wrap(f"return {{{pairs}}}" if names else f"return {', '.join(texts)}", indent)
            case ReturnLoss():
                return self._return_loss(statement, printer, indent)

    def _scan(self, statement: Scan, printer: ValuePrinter, indent: int) -> list[str]:
        """A local function of one step and the loop over it."""
        carried, entering = (name for name, _ in statement.carry), (name for name, _, _ in statement.inputs)
        head = [f"{_tuple(carried)} = carry"] if statement.carry else []
        head += [f"{_tuple(entering)} = inputs"] if statement.inputs else []
        body = [line for inner in statement.body for line in self.statement(inner, printer, indent + 1)]
        updates = _tuple(map(printer.text, statement.updates), bare=False)
        outputs = _tuple((printer.text(value) for value, _ in statement.outputs), bare=False)
        inputs = ", ".join(f"({printer.text(value)}, {rank})" for _, value, rank in statement.inputs)
        first = _tuple((printer.text(value) for _, value in statement.carry), bare=False)
        ranks = _tuple((str(rank) for _, rank in statement.outputs), bare=False)
        positions = f"range({statement.start}, {statement.start + statement.length})"
        call = f"loops.scan({statement.name}, {first}, [{inputs}], {ranks}, {positions}"
        call += ", reverse=True)" if statement.reverse else ")"
        return [
            "",
            *wrap(f"def {statement.name}(carry, inputs, {statement.index}):", indent),
            *(line for text in head for line in wrap(text, indent + 1)),
            *body,
            *wrap(f"return {updates}, {outputs}", indent + 1),
            "",
            *wrap(f"{_tuple(statement.targets)} = {call}", indent),
        ]

    def _return_loss(self, statement: ReturnLoss, printer: ValuePrinter, indent: int) -> list[str]:
        loss = statement.loss
        first = [] if isinstance(loss, Var) else wrap(f"loss = {printer.text(loss)}", indent)
        name = printer.text(loss) if isinstance(loss, Var) else "loss"
        entries = [f'"{key}": {name if value == loss else printer.text(value)}' for key, value in statement.report]
        changed = [f'"{key}": {printer.text(value)}' for key, value in statement.state]
        state = f"{{**state, {', '.join(changed)}}}" if changed else "state"
        return [*first, *wrap(f"return {name}, {state}, {{{', '.join(entries)}}}", indent)]

    def _sample(self, statement: Sample, printer: ValuePrinter, indent: int) -> list[str]:
        if isinstance(statement.density, FunctionDensity):
            return self._composed(statement, statement.density, printer, indent)
        if statement.density.family == FLAT:
            parameters, shape = statement.density.parameters, statement.density.shape
            if parameters:
                improper = f"dist.ImproperUniform({_between(parameters, printer)}, (), {sequence(shape)})"
            else:
                improper = self._improper(statement, shape)
            flat = f'{self.library}.sample("{statement.site}", {improper})'
            return wrap(f"{printer.variable(statement.variable or statement.site)} = {flat}", indent)
        parts = [f'"{statement.site}"', printer.event(statement.density, statement.mask)]
        if statement.observed is not None:
            parts.append(f"obs={self.observed(statement.density, statement.observed)}")
        family = DISTRIBUTIONS[statement.density.family]
        if family.dtype is Dtype.INTEGER and statement.density.family in _FINITE and self._latent(statement):
            parts.append('infer={"enumerate": "parallel"}')
        call = f"{self.library}.sample({', '.join(parts)})"
        target = printer.variable(statement.observed or statement.variable or statement.site)
        if statement.unless is None:
            return wrap(f"{target} = {call}", indent)
        given = statement.unless
        if given == target:
            return [*wrap(f"if {given} is None:", indent), *wrap(f"{target} = {call}", indent + 1)]
        return wrap(f"{target} = {call} if {given} is None else {given}", indent)

    def _composed(self, statement: Sample, density: FunctionDensity, printer: ValuePrinter, indent: int) -> list[str]:
        """A sample statement whose density is two local functions."""
        noise = ", ".join(f'"{name}": ("{kind}", {sequence(shape)})' for name, kind, shape in density.noise)
        arguments = [density.log_prob, density.draw, f"{{{noise}}}", sequence(density.shape)]
        moving = _between(density.bounds, printer, len(density.shape)) if density.bounds else None
        arguments.append(moving or self.support(density.support, len(density.shape)))
        arguments += [f"reparameterized={density.reparameterized}", *self.drawn_like]
        instance = f"distributions.Composed({', '.join(arguments)})"
        mask = "" if statement.mask is None else f".mask({statement.mask})"
        given = "" if statement.observed is None else f", obs={statement.observed}"
        target = printer.variable(statement.observed or statement.variable or statement.site)
        return ["", *wrap(f'{target} = {self.library}.sample("{statement.site}", {instance}{mask}{given})', indent)]

    def support(self, support: Support, rank: int) -> str:
        """The library's constraint on an event of `rank` axes whose elements lie in a support."""
        match support.kind:
            case "binary":
                inner, own = "dist.constraints.boolean", 0
            case "integer" if support.size is not None:
                inner, own = f"dist.constraints.integer_interval(0, {support.size - 1})", 0
            case "count" | "integer":
                inner, own = "dist.constraints.nonnegative_integer", 0
            case kind:
                inner = self.library_constraint(support) or "dist.constraints.real"
                own = _EVENT_RANKS.get(kind, 0)
        return f"dist.constraints.independent({inner}, {rank - own})" if rank > own else inner

    def _impute(self, statement: Impute, printer: ValuePrinter, indent: int) -> list[str]:
        """Where data are given, their missing entries as latents, put in their places."""
        latents, column = printer.variable(statement.variable), statement.column
        improper = self._improper(statement, (statement.count,))
        return [
            *wrap(f"if {column} is not None:", indent),
            *remark(f"missing entries are latents; the density of {statement.site} below counts theirs", indent + 1),
            *wrap(f'{latents} = {self.library}.sample("{statement.latent}", {improper})', indent + 1),
            *wrap(f"{column} = operations.filled({column}, {statement.mask}, {latents})", indent + 1),
        ]

    def _improper(self, statement: Sample | Impute, shape: tuple[int, ...]) -> str:
        """The improper uniform on the support of a site."""
        support = self.module.program.by_name[statement.site].typed.support
        known = "dist.constraints.real" if support.kind == "real" else self.library_constraint(support)
        if known is None:
            message = f"the flat prior of {statement.site!r} on the support {support.kind}"
            raise unsupported(message, statement.span, self.backend)
        return f"dist.ImproperUniform({known}, (), {sequence(shape)})"

    def _latent(self, statement: Sample) -> bool:
        """Whether data may be missing for a discrete site that data give: then it is a latent in those runs."""
        site = self.module.program.by_name.get(statement.site)
        return statement.observed is None or (site is not None and site.name in self.module.program.guide_by_name)

    def _plate(self, statement: Plate, printer: ValuePrinter, indent: int) -> list[str]:
        size = "size" if statement.name == "data" else str(statement.size)
        plate = f'{self.library}.plate("{statement.name}", {size}, dim=-1)'
        scaled = f", {self.scale}(scale=rows / size)" if statement.name == "data" else ""
        body = [line for inner in statement.body for line in self.statement(inner, printer, indent + 1)]
        return [*wrap(f"with {plate}{scaled}:", indent), *(body or wrap("pass", indent + 1))]

    def library_constraint(self, support: Support) -> str | None:
        """The library's constraint of a support, or None where it has none."""
        if support.kind != "interval":
            name = self.constraints.get(support.kind)
            return name and f"dist.constraints.{name}"
        match support.low, support.high:
            case None, None:
                return "dist.constraints.real"
            case low, None:
                return f"dist.constraints.greater_than({low})"
            case None, high:
                return f"dist.constraints.less_than({high})"
            case low, high:
                return f"dist.constraints.interval({low}, {high})"


def _between(bounds: tuple[tuple[str, Value], ...], printer: ValuePrinter, rank: int = 0) -> str:
    """The library's constraint on an event of `rank` axes between bounds that are values."""
    names = tuple(name for name, _ in bounds)
    inner = f"dist.constraints.{_BETWEEN[names]}({', '.join(printer.text(value) for _, value in bounds)})"
    return f"dist.constraints.independent({inner}, {rank})" if rank else inner


def _tuple(items: Iterable[str], *, bare: bool = True) -> str:
    """Names or values as a tuple; `bare` without brackets, as assignments read best."""
    parts = tuple(items)
    text = f"{', '.join(parts)}{',' * (len(parts) == 1)}"
    return text if bare and parts else f"({text})"

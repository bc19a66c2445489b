"""Printing of a kernel module: statements, functions, programs and their order, shared by both backends."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.bijectors import BijectorPrinter
from dgmppl.ir.emission.densities import sequence
from dgmppl.ir.emission.layout import annotated, docstring, remark, spaced, wrap
from dgmppl.ir.emission.names import RESERVED, class_names
from dgmppl.ir.emission.networks import NetworkPrinter
from dgmppl.ir.emission.programs import data_plate, names_of, prior_density, samples, signature, size_lines
from dgmppl.ir.emission.runtime import RUNTIME
from dgmppl.ir.emission.shapes import Shapes
from dgmppl.ir.emission.values import ValuePrinter, constraint, unsupported
from dgmppl.ir.kernel import (
    FLAT,
    Assign,
    Comment,
    Define,
    Delta,
    DensityValue,
    Function,
    FunctionDensity,
    Group,
    Module,
    NetworkStep,
    Noise,
    Plate,
    Return,
    ReturnLoss,
    Sample,
    Scan,
    Statement,
    Var,
)
from dgmppl.ir.types import BINARY, Dtype, Support

_ARGUMENTS = {
    "loss": ("own", "other", "state", "batch", "noise", "step"),
    "sample": ("parameters", "batch", "noise"),
    "state": ("noise",),
}


class ModulePrinter(ABC):
    """One kernel module as text.

    Attributes:
        backend: its name, for messages.
        values: the printer of values.
        networks: the printer of network classes.
        bijectors: the printer of bijector classes.
        library: the module whose `sample`, `plate` a program calls.
        scale: the handler that multiplies log densities.
        imports: name -> the line that imports it, in the order in which they are printed; "" starts a new group.
        package: the runtime package, of which the text imports `runtime`.
        leaf: template of a network's first array.
        drawn_like: the argument that gives the draws of a composed density their dtype and device.
        constraints: support kind -> the library's constraint; a support that the library lacks is reached by the
            runtime's own bijection.
    """

    backend: ClassVar[str]
    values: ClassVar[type[ValuePrinter]]
    networks: ClassVar[NetworkPrinter]
    bijectors: ClassVar[BijectorPrinter]
    library: ClassVar[str]
    scale: ClassVar[str]
    imports: ClassVar[Mapping[str, str]]
    package: ClassVar[str]
    leaf: ClassVar[str]
    drawn_like: ClassVar[tuple[str, ...]] = ()
    constraints: ClassVar[Mapping[str, str]]
    runtime = tuple(sorted(RUNTIME))

    def __init__(self, module: Module) -> None:
        """Starts the text of a module."""
        self.module = module
        self.groups: dict[str, Group] = {group.name: group for group in module.groups}
        self.classes = class_names(group.name for group in module.groups if group.kind in _MODULES)
        self.programs = tuple(function for function in module.functions if function.kind == "program")

    # ---- what the libraries write differently -----------------------------------------------------------------------

    @abstractmethod
    def initial(self) -> list[str]:
        """The function `initial`: start values of every group."""

    @abstractmethod
    def noise(self) -> list[str]:
        """The function `noise`: every random number of a function."""

    @abstractmethod
    def program(self, function: Function) -> list[str]:
        """A program of the library."""

    @abstractmethod
    def deterministic(self, site: str, value: str, rank: int | None) -> str:
        """A deterministic site."""

    def observed(self, density: DensityValue, column: str) -> str:
        """The data of a site, as the library's density takes them; None where they are left out."""
        del density
        return column

    @abstractmethod
    def placeholder(self, column: str) -> str:
        """An array on a column's device, where nothing real-valued is at hand."""

    def programs_block(self) -> list[str]:
        """What holds the programs together, where the library needs that."""
        return []

    # ---- the module -------------------------------------------------------------------------------------------------

    def text(self, inlined: list[str] | None = None) -> str:
        """The whole module; `inlined` replaces the import of the runtime package."""
        blocks = [block for block in self._blocks() if block]
        used = names_of("\n".join(line for block in blocks for line in block))
        head = docstring("\n".join(self._heading()))
        future = ["from __future__ import annotations", ""] if inlined is not None else []
        imports = self._imports(used, inlined)
        return spaced([[*head, "", *future, *imports], *([inlined] if inlined else []), *blocks])

    def used_runtime(self) -> set[tuple[str, str]]:
        """(runtime module, attribute) of everything that the text takes from the runtime package."""
        tree = ast.parse("\n".join(line for block in self._blocks() for line in block))
        return {
            (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.runtime
        }

    def _heading(self) -> list[str]:
        """The first line names the program and the backend; the others are the kernel's."""
        name, lines = self.module.program.name, list(self.module.heading)
        titled = bool(lines) and lines[0].startswith(f"{name}:")
        title = lines.pop(0).rstrip(".") if titled else f"{name}: compiled by dgmppl"
        return [f"{title}, backend {self.backend}.", *([] if lines[:1] == [""] else [""]), *lines]

    def _imports(self, used: set[str], inlined: list[str] | None) -> list[str]:
        extra = names_of("\n".join(inlined)) | {"SimpleNamespace"} if inlined else set()
        groups: list[list[str]] = [[]]
        for name, line in self.imports.items():
            if not line:
                groups.append([])
            elif name in used or name in extra:
                groups[-1].append(line)
        runtime = [name for name in self.runtime if name in used]
        if runtime and inlined is None:
            groups.append([f"from {self.package} import {', '.join(runtime)}"])
        return [line for group in groups if group for line in ["", *group]][1:]

    def _blocks(self) -> Iterator[list[str]]:
        program = self.module.program
        for name, written in self.classes.items():
            if name in program.networks:
                yield self.networks.lines(program.networks[name], written)
            else:
                taken = self.classes.values()
                yield from self.bijectors.blocks(program.bijectors[name], written, taken, program.networks)
        if self.classes:
            table = ", ".join(f'"{name}": {written}' for name, written in self.classes.items())
            yield wrap(f"NETWORKS = {{{table}}}")
        yield self.initial()
        for function in self.programs:
            yield self.program(function)
        yield self.programs_block()
        yield self._noise_table()
        yield self.noise()
        for function in self.module.functions:
            if function.kind != "program":
                yield self._function(function)

    def _noise_table(self) -> list[str]:
        lines = [
            "# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.",
            "NOISE = {",
        ]
        for function in self.module.functions:
            if function.noise:
                entries = [f'"{entry.name}": {self._noise_entry(function, entry)}' for entry in function.noise]
                lines += wrap(f'"{function.name}": {{{", ".join(entries)}}},', 1)
        return [*lines, "}"]

    def _noise_entry(self, function: Function, entry: Noise) -> str:
        axes: list[str] = []
        if entry.particles:
            axes.append(str(function.particles) if function.particles else '"particles"')
        if entry.plate is not None:
            levels = self.module.program.levels
            axes.append(str(len(levels[entry.plate])) if entry.plate in levels else f'"{entry.plate}"')
        axes += [] if entry.kind == "library" else map(str, entry.shape)
        return f'("{entry.kind}", ({", ".join(axes)}{"," * (len(axes) == 1)}))'

    # ---- functions --------------------------------------------------------------------------------------------------

    def printer(self, function: Function) -> ValuePrinter:
        """The printer of a function's values."""
        sites = set(samples(function.body)) if function.kind == "program" else set()
        local = dict(function.groups)
        return self.values(
            Shapes(self.module, function),
            local,
            program=function.kind == "program",
            renamed=frozenset(sites & RESERVED),
            real=self._binary(function),
        )

    def _binary(self, function: Function) -> frozenset[str]:
        """The binary columns of a function: they are made real at its head, once for all of their uses."""
        columns = self.module.program.columns
        if function.kind == "program":
            return frozenset()
        return frozenset(
            local for name, local in function.columns if name in columns and columns[name].support == BINARY
        )

    def _function(self, function: Function) -> list[str]:
        arguments = _ARGUMENTS.get(function.kind, ("parameters", "batch", "noise")[: 3 if function.noise else 2])
        printer = self.printer(function)
        body = [line for statement in function.body for line in self.statement(statement, printer, 1)]
        head = [self._unpacked(function, group, local) for group, local in function.groups]
        head += self.bound(function.groups)
        columns, real = self._columns(function, printer)
        reference = self._reference(function)
        like = [f"like = {reference}"] if self.reads_like([f"    {line}" for line in real] + body) else []
        early = not names_of(reference) & {local for _, local in function.columns}
        head += [*like, *real] if early else [*columns, *like, *(line for line in real if line not in columns)]
        lines = [line for text in head for line in wrap(text, 1)]
        opening = wrap(f"def {function.name}({', '.join(arguments)}):")
        return [*opening, *docstring(function.doc, 1), *lines, *body]

    def _columns(self, function: Function, printer: ValuePrinter) -> tuple[list[str], list[str]]:
        """The lines that read the data columns, as they are and with binary ones made real."""
        plain = [f'{local} = batch["{column}"]' for column, local in function.columns]
        real = [
            f"{line.partition(' = ')[0]} = {printer.cast(line.partition(' = ')[2], 'real')}"
            if local in printer.real
            else line
            for line, (_, local) in zip(plain, function.columns, strict=True)
        ]
        return plain, real

    def reads_like(self, body: list[str]) -> bool:
        """Whether statements make arrays of their own."""
        return "like" in names_of("\n".join(["if True:", *map("    {}".format, body)]))

    def _unpacked(self, function: Function, name: str, local: str) -> str:
        """A group at a function's head: a network as it is, a raw array through its bijection."""
        source = "parameters" if function.kind != "loss" else "own" if name in function.owns else "other"
        group, entry = self.groups[name], f'{source}["{name}"]'
        if group.support is None or group.support.kind == "real":
            return f"{local} = {entry}"
        return f"{local} = {constraint(group.support)}({entry})"

    def bound(self, groups: Iterable[tuple[str, str]]) -> list[str]:
        """The lines that put shared networks into the bijectors which read them; (group, variable) pairs."""
        variables, bijectors = dict(groups), self.module.program.bijectors
        shared = {
            variables[name]: [f'"{network}": {variables[network]}' for network in bijectors[name].shared]
            for name in variables
            if name in bijectors
        }
        return [f"{local} = {local}.bind({{{', '.join(pairs)}}})" for local, pairs in shared.items() if pairs]

    def _reference(self, function: Function) -> str:
        """A real array at hand, for the dtype and device of new ones."""
        for entry in function.noise:
            if entry.kind != "library":
                return f'noise["{entry.name}"]'
        for kinds in (("learned", "prior"), ("network",)):
            for name, local in function.groups:
                if self.groups[name].kind in kinds:
                    return local if kinds[0] == "learned" else self.leaf.format(local)
        columns = self.module.program.columns
        for column, local in function.columns:
            if column in columns and columns[column].dtype is Dtype.REAL:
                return local
        return self.placeholder(function.columns[0][1] if function.columns else "")

    # ---- statements -------------------------------------------------------------------------------------------------

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
            flat = f'{self.library}.sample("{statement.site}", {self._improper(statement)})'
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
        arguments.append(self.support(density.support, len(density.shape)))
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

    def _improper(self, statement: Sample) -> str:
        """The improper uniform on the support of a parameter."""
        support = self.module.program.by_name[statement.site].typed.support
        known = "dist.constraints.real" if support.kind == "real" else self.library_constraint(support)
        if known is None:
            message = f"the flat prior of {statement.site!r} on the support {support.kind}"
            raise unsupported(message, statement.span, self.backend)
        return f"dist.ImproperUniform({known}, (), {sequence(statement.density.shape)})"

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

    def raw_support(self, group: Group) -> Support | None:
        """The support whose bijection makes a group's value of its raw array; None where they are the same."""
        return None if group.support is None or group.support.kind == "real" else group.support

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

    # ---- programs ---------------------------------------------------------------------------------------------------

    def program_body(self, function: Function, indent: int) -> list[str]:
        """The statements of a program after its parameters are at hand."""
        printer = self.printer(function)
        lines = [line for statement in function.body for line in self.statement(statement, printer, indent)]
        sized = data_plate((function,)) is not None
        sizes = (
            [line for text in size_lines(self.module, self.programs) for line in wrap(text, indent)] if sized else []
        )
        return [*sizes, *lines]

    def program_arguments(self) -> list[str]:
        """Arguments that `model` and `guide` share."""
        return signature(self.module, self.programs)

    def program_groups(self, function: Function) -> list[tuple[Group, str]]:
        """Parameter groups that a program registers, with their variables; those with priors are its own samples."""
        return [(self.groups[name], local) for name, local in function.groups if self.groups[name].kind != "prior"]

    def prior(self, group: str) -> str | None:
        """The prior of one weight of a network, as a distribution of the library; None where it has none."""
        if self.groups[group].kind != "network" or self.module.program.networks[group].prior is None:
            return None
        density = prior_density(self.module, group)
        shapes = Shapes(self.module, Function("prior", "program", (), ""))
        return self.values(shapes, {}, program=True).instance(density, ())


_EVENT_RANKS = {"simplex": 1, "ordered": 1, "positive_ordered": 1, "cholesky": 2, "correlation_cholesky": 2}
# Kinds of groups that are objects of an emitted class.
_MODULES = frozenset({"network", "bijector"})
_FINITE = frozenset({"Bernoulli", "Categorical", "OneHotCategorical"})


def _tuple(items: Iterable[str], *, bare: bool = True) -> str:
    """Names or values as a tuple; `bare` without brackets, as assignments read best."""
    parts = tuple(items)
    text = f"{', '.join(parts)}{',' * (len(parts) == 1)}"
    return text if bare and parts else f"({text})"

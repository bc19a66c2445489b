"""Printing of a kernel module: functions, programs and their order, shared by both backends."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from dgmppl.ir.emission.bijectors import BijectorPrinter
from dgmppl.ir.emission.layout import docstring, spaced, wrap
from dgmppl.ir.emission.names import RESERVED, class_names
from dgmppl.ir.emission.networks import NetworkPrinter
from dgmppl.ir.emission.programs import data_plate, names_of, prior_density, samples, signature, size_lines
from dgmppl.ir.emission.runtime import RUNTIME
from dgmppl.ir.emission.shapes import Shapes
from dgmppl.ir.emission.statements import StatementPrinter
from dgmppl.ir.emission.values import ValuePrinter, constraint
from dgmppl.ir.kernel import (
    Function,
    Group,
    Module,
    Noise,
)
from dgmppl.ir.types import BINARY, Dtype, Support

# Kinds of groups that are objects of an emitted class.
_MODULES = frozenset({"network", "bijector"})
_ARGUMENTS = {
    "loss": ("own", "other", "state", "batch", "noise", "step"),
    "sample": ("parameters", "batch", "noise"),
    "state": ("noise",),
}


class ModulePrinter(StatementPrinter):
    """One kernel module as text.

    Attributes:
        values: the printer of values.
        networks: the printer of network classes.
        bijectors: the printer of bijector classes.
        imports: name -> the line that imports it, in the order in which they are printed; "" starts a new group.
        package: the runtime package, of which the text imports `runtime`.
        leaf: template of a network's first array.
    """

    values: ClassVar[type[ValuePrinter]]
    networks: ClassVar[NetworkPrinter]
    bijectors: ClassVar[BijectorPrinter]
    imports: ClassVar[Mapping[str, str]]
    package: ClassVar[str]
    leaf: ClassVar[str]
    runtime = tuple(sorted(RUNTIME))

    def __init__(self, module: Module) -> None:
        """Starts the text of a module."""
        super().__init__(module)
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
        for group in self.module.groups:
            if group.bounds is not None:
                yield self._function(group.bounds)
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
        if function.kind == "bounds":
            arguments, head = tuple(local for _, local in function.groups), list[str]()
        else:
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
        if group.bounds is not None:
            variables = dict(function.groups)
            read = ", ".join(variables[parent] for parent, _ in group.bounds.groups)
            return f"{local} = {group.bounds.name}({read})({entry})"
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

    def raw_support(self, group: Group) -> Support | None:
        """The support whose bijection makes a group's value of its raw array; None where they are the same."""
        return None if group.support is None or group.support.kind == "real" else group.support

    def prior(self, group: str) -> str | None:
        """The prior of one weight of a network, as a distribution of the library; None where it has none."""
        if self.groups[group].kind != "network" or self.module.program.networks[group].prior is None:
            return None
        density = prior_density(self.module, group)
        shapes = Shapes(self.module, Function("prior", "program", (), ""))
        return self.values(shapes, {}, program=True).instance(density, ())

"""An emitted program: its text as a module of its own, and its functions over groups of parameters."""

from __future__ import annotations

import hashlib
import itertools
import linecache
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgmppl.backend import Arrays
from dgmppl.errors import InternalError, RunError
from dgmppl.ir.emission.programs import data_plate, program_columns
from dgmppl.ir.kernel import Function, Module
from dgmppl_pyro.parameters import Groups, Tree, to_device

_numbers = itertools.count()


class Program:
    """A program whose text has been imported.

    Attributes:
        source: the text.
        module: what it was printed from.
        namespace: the imported module.
        tree: its parameters.
    """

    def __init__(self, source: str, module: Module) -> None:
        self.source = source
        self.module = module
        self.namespace = import_text(source, module.program.name)
        self.tree = Tree(module, self.namespace)

    def function(self, name: str) -> Function:
        """A function's declaration.

        Raises:
            RunError: this model has no such function.
        """
        function = self.module.function(name)
        if function is None:
            known = ", ".join(function.name for function in self.module.functions)
            raise RunError(f"{self.module.program.name} has no {name}; it has {known}")
        return function

    def random(
        self, function: Function, seed: int, rows: int, particles: int, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Any]:
        """The random numbers that a function takes, by name."""
        if not function.noise:
            return {}
        generator = torch.Generator(device).manual_seed(seed)
        noise: dict[str, Any] = self.namespace.noise(generator, function.name, rows, particles, dtype)
        return noise

    def density(self, function: Function, groups: Groups, batch: Mapping[str, Tensor], noise: Mapping[str, Any]) -> Any:
        """The result of a `density` or `sample` function."""
        takes_noise = function.kind == "sample" or bool(function.noise)
        run = self.run(function)
        return run(groups, batch, noise) if takes_noise else run(groups, batch)

    def run(self, function: Function) -> Callable[..., Any]:
        """The emitted function itself."""
        emitted: Callable[..., Any] = getattr(self.namespace, function.name)
        return emitted

    def initial_state(self, seed: int, rows: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """What the losses carry from step to step: persistent chains and the like; empty for most models."""
        declared = self.module.function("initial_state")
        if declared is None:
            return {}
        state: dict[str, Tensor] = self.namespace.initial_state(self.random(declared, seed, rows, 1, dtype, device))
        return state

    def columns(self, batch: Arrays, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """Data columns on the device."""
        real = self.module.real_columns
        return {name: to_device(column, dtype, device, real=name in real) for name, column in batch.items()}

    def arguments(self, batch: Mapping[str, Tensor], rows: int) -> dict[str, Any]:
        """A batch as keyword arguments of the library programs; log densities of data rows are scaled by `rows` / B."""
        programs = tuple(function for function in self.module.functions if function.kind == "program")
        names = program_columns(programs)
        sizes = {} if data_plate(programs) is None else {"rows": rows}
        return {**{names[column]: values for column, values in batch.items() if column in names}, **sizes}

    def varies(self, column: str) -> bool:
        """Whether a data column (or mask) has one line per data row, rather than one per level."""
        declared = self.module.program.columns.get(column.removesuffix(".observed"))
        return declared is None or declared.per is None

    def rows(self, batch: Arrays) -> int:
        """The size of the data axis; 1 where no column has one."""
        return next((np.shape(column)[0] for name, column in batch.items() if self.varies(name)), 1)

    def select(self, data: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """The lines of some data rows; a column with one line per level as it is."""
        return {name: column[rows] if self.varies(name) else column for name, column in data.items()}


def import_text(source: str, title: str) -> ModuleType:
    """Executes a text as a module under a name that nothing else has, so that tracebacks show its lines.

    The name has no dots: pickle finds classes by such names without importing a parent.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    filename = f"<dgmppl:{title}:{digest}>"
    module = ModuleType(f"dgmppl_program_{digest}_{next(_numbers)}")
    module.__file__ = filename
    try:
        code = compile(source, filename, "exec")
    except SyntaxError as error:
        raise InternalError(f"the emitted text of {title} is not Python: {error}") from error
    # Without a modification time `linecache.checkcache` keeps an entry that has no file.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module


def mix(*parts: int) -> int:
    """A seed from several numbers, by SplitMix64: a function of them alone."""
    state = 0
    for part in parts:
        state = (state + 0x9E3779B97F4A7C15 + part) & _WORD
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
        state ^= state >> 31
    return state


_WORD = (1 << 64) - 1

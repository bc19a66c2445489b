"""An emitted program: its text as a module of its own, and its functions over flat parameters."""

from __future__ import annotations

import hashlib
import itertools
import linecache
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

from dgmppl.backend import Arrays
from dgmppl.errors import InternalError, RunError
from dgmppl.ir.emission.programs import data_plate, program_columns
from dgmppl.ir.kernel import Function, Module
from dgmppl_numpyro.parameters import Flat, Tree, to_device

_numbers = itertools.count()


class Program:
    """A program whose text has been imported.

    Attributes:
        source: the text.
        module: what it was printed from.
        namespace: the imported module.
        tree: its parameters.
        compiled: functions that have been compiled, by what they depend on.
    """

    def __init__(self, source: str, module: Module) -> None:
        self.source = source
        self.module = module
        self.namespace = import_text(source, module.program.name)
        self.tree = Tree(module, self.namespace)
        self.compiled: dict[tuple[object, ...], Any] = {}

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

    def random(self, function: Function, key: Any, rows: int, particles: int) -> dict[str, Any]:
        """The random numbers that a function takes, by name."""
        if not function.noise:
            return {}
        noise: dict[str, Any] = self.namespace.noise(key, function.name, rows, particles)
        return noise

    def density(self, function: Function, flat: Flat, batch: Mapping[str, Any], noise: Mapping[str, Any]) -> Any:
        """The result of a `density` or `sample` function at raw parameters."""
        takes_noise = function.kind == "sample" or bool(function.noise)
        run = getattr(self.namespace, function.name)
        groups = self.tree.groups(flat)
        return run(groups, batch, noise) if takes_noise else run(groups, batch)

    def loss(
        self,
        function: Function,
        own: Flat,
        other: Flat,
        state: Any,
        batch: Mapping[str, Any],
        noise: Mapping[str, Any],
        step: Any,
    ) -> tuple[Any, tuple[Any, dict[str, Any]]]:
        """A player's loss, then its new state and report; `own` alone is what a gradient is taken of."""
        flat = {**other, **own}
        others = [name for name in self.tree.groups_by_name if name not in function.owns]
        groups = self.tree.groups(flat, function.owns), self.tree.groups(flat, others)
        loss, new_state, report = getattr(self.namespace, function.name)(*groups, state, batch, noise, step)
        return loss, (new_state, report)

    def initial_state(self, key: Any, rows: int) -> Any:
        """What the losses carry from step to step: persistent chains and the like; empty for most models."""
        declared = self.module.function("initial_state")
        return {} if declared is None else self.namespace.initial_state(self.random(declared, key, rows, 1))

    def columns(self, batch: Arrays) -> dict[str, Any]:
        """Data columns on the device."""
        real = self.module.real_columns
        return {name: to_device(column, real=name in real) for name, column in batch.items()}

    def arguments(self, batch: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """A batch as keyword arguments of the library programs.

        Args:
            batch: data columns.
            rows: the number N of all data rows; log densities of data rows are scaled by N / B.
        """
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


def key(seed: int) -> Any:
    """The random key of a seed of any size."""
    return jax.random.key(np.uint32(seed % 2**32))

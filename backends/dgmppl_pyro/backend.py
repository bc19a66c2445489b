"""The Pyro backend: torch programs from a lowered module."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from dgmppl.backend import Array
from dgmppl.ir.kernel import Module
from dgmppl.ir.types import Shape
from dgmppl_pyro import devices, registered
from dgmppl_pyro.emit import emit
from dgmppl_pyro.executable import Executable

LIBRARIES = ("pyro-ppl", "torch")


class PyroBackend:
    """Prints Pyro programs and runs them."""

    @property
    def name(self) -> str:
        """Its name."""
        return "pyro"

    def versions(self) -> dict[str, str]:
        """Versions of its libraries."""
        return {library: version(library) for library in LIBRARIES}

    def devices(self) -> tuple[str, ...]:
        """Device kinds that are there: `cpu`, `cuda`."""
        return devices.kinds()

    def module_arrays(
        self, path: str, inputs: tuple[Shape, ...], outputs: int, options: Mapping[str, Any], seed: int
    ) -> dict[str, tuple[Array, bool]]:
        """The arrays with which a user's own module starts, by name, and whether they are trained."""
        return registered.arrays(path, inputs, outputs, options, seed)

    def emit(self, module: Module, *, standalone: bool = False) -> str:
        """The program's source text: deterministic, formatted.

        Raises:
            UnsupportedError: a construct that this backend does not lower, named with its line.
        """
        return emit(module, standalone=standalone)

    def load(self, source: str, module: Module) -> Executable:
        """Imports emitted text under a name of its own, with its lines visible in tracebacks."""
        return Executable(source, module)


backend = PyroBackend()

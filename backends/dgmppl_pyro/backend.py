"""The Pyro backend: torch programs from a lowered module."""

from __future__ import annotations

from importlib.metadata import version

from dgmppl.ir.kernel import Module
from dgmppl_pyro import devices
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

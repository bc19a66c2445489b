"""The NumPyro backend: JAX programs from a lowered module."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from dgmppl.backend import Array
from dgmppl.ir.kernel import Module
from dgmppl.ir.types import Shape
from dgmppl_numpyro import devices, registered
from dgmppl_numpyro.emit import emit
from dgmppl_numpyro.executable import Executable

LIBRARIES = ("numpyro", "jax", "jaxlib", "equinox", "optax")


class NumPyroBackend:
    """Prints NumPyro programs and runs them."""

    @property
    def name(self) -> str:
        """Its name."""
        return "numpyro"

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


backend = NumPyroBackend()

"""Kernel modules as NumPyro / JAX source."""

from __future__ import annotations

from dgmppl.ir.kernel import Module
from dgmppl_numpyro.emit.module import NumPyroPrinter
from dgmppl_numpyro.emit.standalone import inlined

__all__ = ["emit"]


def emit(module: Module, *, standalone: bool = False) -> str:
    """A module's source text; deterministic.

    Args:
        module: the lowered module.
        standalone: the runtime pieces that it uses stand in the text, which then needs numpyro, jax and equinox alone.

    Raises:
        UnsupportedError: a construct that this backend does not emit, named with its line.
    """
    printer = NumPyroPrinter(module)
    return printer.text(inlined(printer.used_runtime()) if standalone else None)

"""The runtime pieces that a module uses, as text of its own."""

from __future__ import annotations

import inspect

from dgmppl.ir.emission.inline import inline
from dgmppl_numpyro import constraints, densities, distributions, draws, elementary, networks, operations, programs

_MODULES = (operations, elementary, constraints, densities, draws, networks, distributions, programs)


def inlined(used: set[tuple[str, str]]) -> list[str]:
    """The definitions that (module, name) pairs need, and a namespace for each module."""
    return inline({module.__name__.rpartition(".")[2]: inspect.getsource(module) for module in _MODULES}, used)

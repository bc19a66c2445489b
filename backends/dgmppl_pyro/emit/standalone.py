"""The runtime pieces that a module uses, as text of its own."""

from __future__ import annotations

import inspect

from dgmppl.ir.emission.inline import inline
from dgmppl_pyro import (
    activations,
    attention,
    causal,
    constraints,
    convolutions,
    densities,
    distributions,
    draws,
    elementary,
    embedding,
    kalman,
    loops,
    networks,
    operations,
    programs,
    recurrent,
    recursions,
    residual,
)

_MODULES = (
    operations,
    elementary,
    constraints,
    densities,
    draws,
    loops,
    recursions,
    kalman,
    networks,
    activations,
    embedding,
    attention,
    convolutions,
    recurrent,
    residual,
    causal,
    distributions,
    programs,
)


def inlined(used: set[tuple[str, str]]) -> list[str]:
    """The definitions that (module, name) pairs need, and a namespace for each module."""
    return inline({module.__name__.rpartition(".")[2]: inspect.getsource(module) for module in _MODULES}, used)

"""Networks: one module per family of kinds, and the closed table of all of them."""

from __future__ import annotations

from dgmppl.ir.networks import attention, causal, convolutional, perceptrons, recurrent, residual, unets
from dgmppl.ir.networks.causal import visiting_order
from dgmppl.ir.networks.core import (
    ACTIVATIONS,
    NETWORKS,
    REQUIRED,
    Head,
    Network,
    NetworkKind,
    Option,
    OptionValue,
    linear,
)

_MODULES = (perceptrons, residual, convolutional, unets, attention, recurrent, causal)
NETWORKS.update({kind.name: kind for module in _MODULES for kind in module.KINDS})

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "REQUIRED",
    "Head",
    "Network",
    "NetworkKind",
    "Option",
    "OptionValue",
    "linear",
    "visiting_order",
]

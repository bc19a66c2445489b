"""Network classes: one module per family of kinds, and the table of their printers."""

from __future__ import annotations

from dgmppl.ir.emission.networks import attention, causal, convolutional, perceptrons, recurrent, residual, unets
from dgmppl.ir.emission.networks.core import PRINTERS, Layer, Method, NetworkPrinter

for _module in (perceptrons, residual, convolutional, unets, attention, recurrent, causal):
    PRINTERS.update(_module.PRINTERS)

__all__ = ["PRINTERS", "Layer", "Method", "NetworkPrinter"]

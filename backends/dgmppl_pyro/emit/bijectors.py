"""Bijectors as torch classes."""

from __future__ import annotations

from dgmppl.ir.emission.bijectors import BijectorPrinter
from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl_pyro.emit.networks import TorchNetworks


class TorchBijectors(BijectorPrinter):
    """Bijectors as classes that are `nn.Module`s and `Transform`s at once."""

    backend = "pyro"
    networks = TorchNetworks()
    key = ""

    def opening(self, name: str, doc: str, orders: str, random: int) -> list[str]:
        """The class's first lines, up to the call of its base class."""
        del random
        table = ["", *wrap(f"orders = {orders}", 1)] if orders else []
        return [f"class {name}(bijectors.Chain):", *docstring(doc, 1), *table, "", "    def __init__(self):"]

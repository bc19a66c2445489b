"""Bijectors as JAX classes."""

from __future__ import annotations

from dgmppl.ir.emission.bijectors import BijectorPrinter
from dgmppl.ir.emission.layout import docstring, wrap
from dgmppl_numpyro.emit.networks import EquinoxNetworks


class EquinoxBijectors(BijectorPrinter):
    """Bijectors as classes that are pytrees and `Transform`s at once."""

    backend = "numpyro"
    networks = EquinoxNetworks()
    key = "next(keys)"

    def opening(self, name: str, doc: str, orders: str, random: int) -> list[str]:
        """The class's first lines, up to the call of its base class."""
        table = ["", *wrap(f"orders = {orders}", 1)] if orders else []
        split = f"iter(jax.random.split(jax.random.key(0) if key is None else key, {random}))"
        keys = wrap(f"keys = {split}", 2) if random else []
        opening = [f"class {name}(bijectors.Chain):", *docstring(doc, 1), *table, ""]
        return [*opening, "    def __init__(self, key=None):", *keys]

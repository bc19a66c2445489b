"""What every test leaves behind is put back here, and what many share."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

from dgmppl.ir.emission.networks import PRINTERS
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.networks.registered import OWN


@pytest.fixture(autouse=True)
def _registered_networks_are_forgotten() -> Iterator[None]:
    """A network that one test registers would stand among the kinds that another test's diagnostic lists."""
    yield
    for name in [*OWN]:
        del OWN[name], NETWORKS[name]
        PRINTERS.pop(name, None)


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """XLA without its costly optimizations, for tests that compile much and run little: a third less time in all.

    The arithmetic is the same up to rounding. Tests of runs and of both backends' trained parameters keep them.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)

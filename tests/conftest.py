"""What every test leaves behind is put back here."""

from __future__ import annotations

from collections.abc import Iterator

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

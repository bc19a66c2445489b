"""Laws are checked on many small programs, each compiled once and run once."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quick(quick_compilation: None) -> None:
    """See `quick_compilation`."""

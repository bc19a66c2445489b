"""What the modules on estimators share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.data import load
from tests.support import BATCH, SPECS, Values, start


@pytest.fixture(scope="module")
def program() -> Callable[[str, str], tuple[Compilation, Values, Values]]:
    """Specs compiled once: (name, backend) -> compilation, parameters, a mini-batch."""

    @cache
    def find(name: str, backend: str) -> tuple[Compilation, Values, Values]:
        compiled = compile_spec(SPECS / f"{name}.yaml", backend=backend)
        columns = load(compiled.spec.data, seed=0).train.arrays
        return compiled, start(compiled, 1), {column: array[:BATCH] for column, array in columns.items()}

    return find

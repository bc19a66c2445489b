"""What modules on estimators, and on programs of the libraries, share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture
def exact_libraries() -> Iterator[None]:
    """Float64 and checked arguments on both sides, a seeded and empty Pyro, whose settings stay as they are."""
    import jax
    import numpyro
    import pyro

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with jax.enable_x64(True), pyro.validation_enabled(True), numpyro.validation_enabled(True):
        yield
    assert not pyro.settings.get("module_local_params")

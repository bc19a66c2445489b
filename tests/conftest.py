"""What every test leaves behind is put back here, and what many share."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial

import jax
import pytest

from dgmppl.ir.emission.networks import PRINTERS
from dgmppl.ir.networks import NETWORKS
from dgmppl.ir.networks.registered import OWN


def pytest_configure(config: pytest.Config) -> None:
    """XLA compiles a program once: workers and commands find what another process of this run has compiled.

    The folder is new and goes with the run, so that no run depends on the one before. A compiled program's key has its
    text and every option in it, so that a test which compiles anew because the text differs still does.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        # A worker, or a folder that outlasts the run.
        return
    folder = tempfile.mkdtemp(prefix="dgmppl-compiled-")
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)
    config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """What is imported by now stays for good: the garbage collector need not go through it again and again."""
    gc.freeze()


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

    The arithmetic is the same up to rounding. Processes that a test starts compile like the test, so that their runs
    can be compared bit for bit. Tests that train for thousands of steps keep the optimizations.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def thorough_compilation() -> Iterator[None]:
    """One test that runs for minutes among quickly compiled ones: with the optimizations."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)

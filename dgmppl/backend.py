"""The protocol that a backend fulfils, and how backends are found.

A backend turns a lowered `ir.kernel.Module` into source text, imports that text, and runs it. Parameters cross this
border as `{canonical name: NumPy array}` in constrained space, data as `{column: NumPy array}` with rows first; nothing
of torch or JAX crosses it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dgmppl.errors import ArgumentError, RunError, UnsupportedError
from dgmppl.ir.expressions import Call
from dgmppl.ir.kernel import Module
from dgmppl.ir.options import ENGINES
from dgmppl.ir.program import Role
from dgmppl.ir.settings import Train
from dgmppl.ir.types import Shape
from dgmppl.source import Diagnostic, Span

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how precisely to compute.

    Attributes:
        kind: `auto | cpu | cuda`.
        precision: `float32 | float64 | bfloat16`.
        threads: of the processor; None for the library's own choice.
        data_bytes: memory that training rows may take; None for half of what is free. More rows than that are fed to
            the device a few steps at a time.
        compiled: fuse the operations of a training step, where the backend does not do so always.
    """

    kind: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    data_bytes: int | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Draws:
    """What an inference engine returns.

    Attributes:
        posterior: parameter -> [chain, draw, *shape], constrained space; level copies on the first axis of the shape.
        sample_stats: statistic -> [chain, draw].
        log_p, log_q: of each draw, [chain, draw], for variational engines; None otherwise.
        trace: the ELBO per step (nats) of a variational engine; empty otherwise.
        engine: the engine with every option filled in, as text.
        sampler: its short name: `nuts`, `svi`, ...
        notes: what the user must be told (chains run in turn, withheld diagnostics).
    """

    posterior: dict[str, Array]
    sample_stats: dict[str, Array] = field(default_factory=dict)
    log_p: Array | None = None
    log_q: Array | None = None
    trace: Array = field(default_factory=lambda: np.zeros(0))
    engine: str = ""
    sampler: str = ""
    notes: tuple[str, ...] = ()


class Trainer(Protocol):
    """Training in progress: parameters, optimizers, averages, chains, step count, on the device."""

    @property
    def step(self) -> int:
        """Steps taken so far."""
        ...

    def advance(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Takes one step per line of `rows` [steps, batch].

        Returns:
            Each report entry per step: `loss`, the report's entries, and `finite`, which is 0 from the first step on
            whose loss or gradient is not finite; the trainer then stands before that step.
        """
        ...

    def parameters(self, *, averaged: bool = True) -> dict[str, Array]:
        """Constrained values by canonical name; the moving average where there is one and it is asked for."""
        ...

    def state(self) -> dict[str, Array]:
        """Everything that is needed to continue bit for bit, as flat arrays."""
        ...

    def restore(self, state: Arrays) -> None:
        """Continues from `state()`."""
        ...

    def noise(self, player: str, rows: int) -> dict[str, Array]:
        """The random numbers that a player's loss takes in the next step, by name; library samplers' are left out."""
        ...


class Executable(Protocol):
    """An emitted program, imported."""

    @property
    def source(self) -> str:
        """The emitted text."""
        ...

    @property
    def namespace(self) -> Any:
        """The imported module."""
        ...

    def on(self, device: Device) -> Executable:
        """The same program, whose functions compute on a device, in the precision of the parameters they are given.

        Only bfloat16 among the device's precisions makes a difference: factors of matrix products are rounded to it.

        Raises:
            RunError: there is no such device, or no such precision.
        """
        ...

    def library_model(self, values: Arrays) -> Callable[..., Any]:
        """An ordinary Pyro / NumPyro model whose networks and learned parameters start at `values`."""
        ...

    def library_guide(self, values: Arrays) -> Callable[..., Any] | None:
        """The guide likewise; None for a model without one."""
        ...

    def has(self, function: str) -> bool:
        """Whether the program has a function of that name."""
        ...

    def call(
        self,
        function: str,
        values: Arrays,
        batch: Arrays,
        *,
        seed: int = 0,
        particles: int = 1,
        rows: int | None = None,
        noise: Arrays | None = None,
    ) -> dict[str, Array]:
        """Runs an emitted `density` or `sample` function.

        Args:
            function: its name.
            values: parameters, constrained; those with a prior included.
            batch: data columns (and `x.observed` masks).
            seed: of the noise, unless `noise` gives it.
            particles: size of the particle axis, for functions that have one.
            rows: the data axis's size; that of the batch by default.
            noise: random numbers by name, standardized, in the functions' layouts.

        Returns:
            The result by name; a single unnamed result under `value`.
        """  # fmt: skip
        ...

    def loss(
        self,
        player: str,
        values: Arrays,
        batch: Arrays,
        *,
        seed: int = 0,
        noise: Arrays | None = None,
        gradient: bool = False,
    ) -> tuple[float, dict[str, Array], dict[str, float]]:
        """One player's loss, its gradient (unconstrained, by canonical name; empty unless asked) and its report."""
        ...

    def trainer(
        self, values: Arrays, data: Arrays, settings: Train, *, steps: int, seed: int, device: Device
    ) -> Trainer:
        """Starts training on the whole training data, kept on the device where they fit `device.data_bytes`."""
        ...

    def infer(
        self,
        engine: Call,
        data: Arrays,
        *,
        seed: int,
        device: Device,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Draws:
        """Runs an inference engine for the parameters with priors; `progress(done, total, text)` is called at times."""
        ...


class Backend(Protocol):
    """A backend."""

    @property
    def name(self) -> str:
        """Its name: `pyro`, `numpyro`."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of its libraries."""
        ...

    def devices(self) -> tuple[str, ...]:
        """Device kinds that are there: `cpu`, `cuda`."""
        ...

    def module_arrays(
        self, path: str, inputs: tuple[Shape, ...], outputs: int, options: Mapping[str, Any], seed: int
    ) -> dict[str, tuple[Array, bool]]:
        """The arrays with which a user's own module starts, by name, and whether they are trained.

        Args:
            path: where its class stands, `pkg.module:Name`.
            inputs: the shapes of its inputs.
            outputs: how many numbers it returns.
            options: its other arguments, by name.
            seed: of the start values.
        """
        ...

    def emit(self, module: Module, *, standalone: bool = False) -> str:
        """The program's source text: deterministic, formatted.

        Raises:
            UnsupportedError: a construct that this backend does not lower, named with its line.
        """
        ...

    def load(self, source: str, module: Module) -> Executable:
        """Imports emitted text under a name of its own, with its lines visible in tracebacks."""
        ...


def available() -> dict[str, str]:
    """The installed backends, and for each the module that provides it."""
    return {entry.name: entry.value for entry in entry_points(group="dgmppl.backends")}


def load(name: str) -> Backend:
    """A backend by name.

    Raises:
        RunError: there is no such backend, or its libraries are not installed; the message names the extra.
    """
    found = {entry.name: entry for entry in entry_points(group="dgmppl.backends")}
    if name not in found:
        raise ArgumentError(f"there is no backend {name!r}; installed: {', '.join(sorted(found)) or 'none'}")
    try:
        backend: Backend = found[name].load()
    except ImportError as error:
        raise RunError(f"the {name} backend needs {error.name}: pip install 'dgmppl[{name}]'") from error
    return backend


# ---- which engines a backend has ------------------------------------------------------------------------------------

# What can be said without importing a backend; one that is not named here says itself what it lacks.
_WITHOUT = {"pyro": ("smc", "sgld", "sghmc")}
_BY_MINI_BATCHES = ("sgld", "sghmc")
# These read the emitted joint density of everything unknown and the data, which some programs do not have.
_ON_THE_JOINT = {"pyro": ("nuts", "hmc", "svi", "laplace", "map"), "numpyro": ("laplace", "map")}


def engine_lacking(name: str, engine: str, span: Span | None) -> Diagnostic | None:
    """That a backend does not have an inference engine, with the place that asks for it; None where it may."""
    missing = _WITHOUT.get(name, ())
    if engine not in missing:
        return None
    there = ", ".join(word for word in ENGINES if word not in missing)
    message = f"{engine}() is not on the {name} backend, which has {there}"
    return Diagnostic("not-lowered", message, span, fix=_elsewhere(engine, _WITHOUT))


def _elsewhere(engine: str, limits: Mapping[str, tuple[str, ...]]) -> str | None:
    """The option that takes a backend on which an engine has no such limit."""
    free = [name for name in sorted(available()) if engine not in limits.get(name, ())]
    return f"--backend {free[0]}" if free else None


def engine_refused(name: str, engine: Call, module: Module) -> Diagnostic | None:
    """Why a backend does not run an inference engine on a program, with its place; None where it may."""
    word = engine.function
    guided = word == "svi" and module.function("guide") is not None
    joint = module.function("log_joint") is not None
    refused = engine_lacking(name, word, engine.span)
    if refused is None and word in _ON_THE_JOINT.get(name, ()) and not (joint or guided):
        left = ", ".join(site.name for site in module.program.latents)
        message = f"{word}() on the {name} backend needs the latents ({left}) summed or integrated out exactly"
        refused = Diagnostic("not-lowered", message, engine.span, fix=_elsewhere(word, _ON_THE_JOINT))
    if refused is None and word in _BY_MINI_BATCHES and (rows := _unknowns_of_rows(module)):
        message = f"{word}() on mini-batches needs {', '.join(rows)} summed or integrated out"
        refused = Diagnostic("not-lowered", message, engine.span, fix="write `train: {batch_size: all}`")
    return refused


def _unknowns_of_rows(module: Module) -> list[str]:
    """What is sampled beside the parameters where a step reads some of the rows: the other rows' part stood still."""
    program = module.program
    if program.train.batch_size is None or program.train.batch_size >= (program.rows or math.inf):
        return []
    declared = {site.name for site in program.with_role(Role.PARAMETER)}
    return [group.name for group in module.groups if group.kind == "prior" and group.name not in declared]


def require_engine(name: str, engine: Call, module: Module) -> None:
    """Checks that a backend runs an inference engine on a program.

    Raises:
        UnsupportedError: it does not; see `engine_refused`.
    """
    refused = engine_refused(name, engine, module)
    if refused is not None:
        raise UnsupportedError([refused])


# POT imports every array library that is installed, unless its variable is set.
_ARRAY_LIBRARIES = {"torch": "PYTORCH", "jax": "JAX", "cupy": "CUPY", "tensorflow": "TENSORFLOW"}


@contextmanager
def loaded_libraries_alone() -> Iterator[None]:
    """Inside, `import ot` takes the array libraries that this process has loaded already, and loads no other.

    A program of one backend is to import neither the other's library nor pay seconds for it.
    """
    variables = [f"POT_BACKEND_DISABLE_{key}" for name, key in _ARRAY_LIBRARIES.items() if name not in sys.modules]
    added = {name: "1" for name in variables if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]

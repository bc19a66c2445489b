"""Running an emitted program's functions: compiled once per function and shape."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np

from dgmppl.backend import Array, Arrays, Device, Draws
from dgmppl.ir.expressions import Call
from dgmppl.ir.kernel import Module
from dgmppl.ir.settings import Train
from dgmppl_numpyro import devices, inference
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.program import Program, key
from dgmppl_numpyro.training import Trainer

_Compiled = Callable[..., Any]


class Executable:
    """An emitted program, imported."""

    def __init__(self, source: str, module: Module) -> None:
        self._program = Program(source, module)
        self._compiled: dict[tuple[object, ...], _Compiled] = {}
        self._device: Device | None = None

    def on(self, device: Device) -> Executable:
        """The same program, whose functions compute on a device.

        Raises:
            RunError: there is no such device, or no such precision.
        """
        devices.select(device)
        moved = copy.copy(self)
        moved._device = device
        return moved

    @property
    def source(self) -> str:
        """The emitted text."""
        return self._program.source

    @property
    def namespace(self) -> ModuleType:
        """The imported module."""
        return self._program.namespace

    def library_model(self, values: Arrays) -> Callable[..., Any]:
        """The NumPyro model, whose networks and learned parameters start at `values`."""
        return partial(self.namespace.model, self._groups(values))

    def library_guide(self, values: Arrays) -> Callable[..., Any] | None:
        """The guide likewise; None for a model without one."""
        return partial(self.namespace.guide, self._groups(values)) if self.has("guide") else None

    def _groups(self, values: Arrays) -> dict[str, Any]:
        with devices.exact(values, {}):
            return self._program.tree.groups(self._program.tree.load(values))

    def has(self, function: str) -> bool:
        """Whether the program has a function of that name."""
        return self._program.module.function(function) is not None

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
        """Runs an emitted `density` or `sample` function in the precision of `values`.

        Args:
            function: its name.
            values: parameters, constrained; those with a prior included.
            batch: data columns (and `x.observed` masks).
            seed: of the noise, unless `noise` gives it.
            particles: size of the particle axis, for functions that have one.
            rows: the data axis's size; that of the batch by default.
            noise: random numbers by name, standardized, in the functions' layouts; what is left out is drawn.

        Returns:
            The result by name; a single unnamed result under `value`.

        Raises:
            RunError: there is no such function, or a parameter is missing or has another shape.
        """
        rows = self._program.rows(batch) if rows is None else rows
        run = self._density(function, rows, particles)
        with devices.exact(values, batch, self._device):
            flat, columns = self._program.tree.load(values), self._program.columns(batch)
            return _named(run(flat, columns, key(seed), self._program.columns(noise or {})))

    def _density(self, name: str, rows: int, particles: int) -> _Compiled:
        """An emitted function of raw parameters, data, key and given noise, compiled."""
        if (name, rows, particles) not in self._compiled:
            function = self._program.function(name)

            def run(flat: Flat, batch: Flat, random: Any, given: Flat) -> Any:
                noise = {**self._program.random(function, random, rows, particles), **given}
                return self._program.density(function, flat, batch, noise)

            self._compiled[name, rows, particles] = jax.jit(run)
        return self._compiled[name, rows, particles]

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
        """One player's loss at the first step, its gradient and its report.

        Returns:
            The loss in nats per datum; the gradient with respect to the raw, unconstrained arrays that the player
            moves, by canonical name (empty unless asked for); the report's entries.
        """
        run = self._loss(player, self._program.rows(batch), gradient)
        with devices.exact(values, batch, self._device):
            flat, columns = self._program.tree.load(values), self._program.columns(batch)
            loss, gradients, report = run(flat, columns, key(seed), self._program.columns(noise or {}))
            return float(loss), to_host(gradients), {name: float(entry) for name, entry in report.items()}

    def _loss(self, player: str, rows: int, gradient: bool) -> _Compiled:
        """A player's loss of raw parameters, data, key and given noise, with gradient and report, compiled."""
        if (player, rows, gradient) not in self._compiled:
            program, function = self._program, self._program.function(f"loss_{player}")
            names = program.tree.trainable(function.owns)

            def run(flat: Flat, batch: Flat, random: Any, given: Flat) -> tuple[Any, Flat, dict[str, Any]]:
                noise = {**program.random(function, random, rows, function.particles or 1), **given}
                own = {name: flat[name] for name in names}
                arguments = flat, program.initial_state(random, rows), batch, noise, 0
                if not gradient:
                    loss, (_, report) = program.loss(function, own, *arguments)
                    return loss, {}, report
                differentiate = jax.value_and_grad(partial(program.loss, function), has_aux=True)
                (loss, (_, report)), gradients = differentiate(own, *arguments)
                return loss, gradients, report

            self._compiled[player, rows, gradient] = jax.jit(run)
        return self._compiled[player, rows, gradient]

    def trainer(
        self, values: Arrays, data: Arrays, settings: Train, *, steps: int, seed: int, device: Device
    ) -> Trainer:
        """Starts training on the whole training data, kept on the device where they fit `device.data_bytes`."""
        return Trainer(self._program, values, data, settings, steps=steps, seed=seed, device=device)

    def infer(
        self,
        engine: Call,
        data: Arrays,
        *,
        seed: int,
        device: Device,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Draws:
        """Runs an inference engine for the parameters with priors; `progress(done, total, text)` tells how far it is.

        Raises:
            RunError: the engine or one of its options is unknown, or no finite starting point was found.
        """
        return inference.infer(self._program, engine, data, seed=seed, device=device, progress=progress)


def _named(result: Any) -> dict[str, Array]:
    """A function's result by name, as NumPy arrays."""
    if isinstance(result, dict):
        return to_host(result)
    if isinstance(result, tuple):
        return to_host({f"value_{number}": value for number, value in enumerate(result)})
    return {"value": np.array(jax.device_get(result))}

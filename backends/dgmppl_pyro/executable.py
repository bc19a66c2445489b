"""Running an emitted program's functions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dgmppl.backend import Array, Arrays, Device, Draws
from dgmppl.ir.expressions import Call
from dgmppl.ir.kernel import Module
from dgmppl.ir.settings import Train
from dgmppl_pyro import devices, inference
from dgmppl_pyro.parameters import to_host
from dgmppl_pyro.program import Program, mix
from dgmppl_pyro.training import Trainer

_CPU = torch.device("cpu")


class Executable:
    """An emitted program, imported."""

    def __init__(self, source: str, module: Module) -> None:
        self._program = Program(source, module)
        self._device = Device("cpu")

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
        """The Pyro model, whose networks and learned parameters start at `values`."""
        model: Callable[..., Any] = self._library(values).model
        return model

    def library_guide(self, values: Arrays) -> Callable[..., Any] | None:
        """The guide likewise; None for a model without one."""
        guide: Callable[..., Any] | None = self._library(values).guide if self.has("guide") else None
        return guide

    def _library(self, values: Arrays) -> Any:
        return self.namespace.Program(self._program.tree.load(values, devices.exact(values, {}), _CPU))

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
        program, dtype = self._program, devices.exact(values, batch)
        declared = program.function(function)
        rows = program.rows(batch) if rows is None else rows
        # Differential equations differentiate their field: without `no_grad` they would keep the graph of every step.
        with devices.scope(self._device) as place, torch.no_grad():
            groups = program.tree.load(values, dtype, place)
            for leaf in program.tree.flat(groups).values():
                leaf.requires_grad_(False)
            random = program.random(declared, mix(seed), rows, particles, dtype, place)
            random.update(program.columns(noise or {}, dtype, place))
            return _named(program.density(declared, groups, program.columns(batch, dtype, place), random))

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
        program, dtype = self._program, devices.exact(values, batch)
        function, rows = program.function(f"loss_{player}"), program.rows(batch)
        with devices.scope(self._device) as place:
            groups = program.tree.load(values, dtype, place)
            own = {name: group for name, group in groups.items() if name in function.owns}
            other = {name: group for name, group in groups.items() if name not in function.owns}
            random = program.random(function, mix(seed), rows, function.particles or 1, dtype, place)
            random.update(program.columns(noise or {}, dtype, place))
            state = program.initial_state(mix(seed, rows), rows, dtype, place)
            columns = program.columns(batch, dtype, place)
            loss, _, report = program.run(function)(own, other, state, columns, random, 0)
        gradients = {}
        if gradient:
            flat = program.tree.flat(own)
            leaves = {name: flat[name] for name in program.tree.trainable(function.owns)}
            slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
            gradients = to_host(dict(zip(leaves, slopes, strict=True)))
        return loss.item(), gradients, {name: torch.as_tensor(entry).item() for name, entry in report.items()}

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
    value: Tensor = result
    return to_host({"value": value})

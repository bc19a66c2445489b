"""NUTS and HMC: Pyro's kernels on the straight-line posterior, one chain after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer.mcmc import HMC, NUTS
from torch import Tensor

from dgmppl.backend import Array, Draws
from dgmppl.errors import RunError
from dgmppl_pyro.gradients import Scalar, ValueAndGradient, recorded
from dgmppl_pyro.posterior import Posterior, Progress
from dgmppl_pyro.program import mix
from dgmppl_pyro.starts import densest

BLOCKS = 20
# Under ArviZ's names; energies and `lp`, the log density of the unconstrained point, in nats.
STATISTICS = {
    "diverging": bool, "energy": float, "lp": float, "acceptance_rate": float, "n_steps": int, "step_size": float,
    "tree_depth": int,
}  # fmt: skip


def run(
    posterior: Posterior, algorithm: str, options: Mapping[str, Any], seed: int, progress: Progress | None
) -> Draws:
    """Draws from the posterior with `nuts` or `hmc`.

    NUTS (Hoffman and Gelman 2014) samples multinomially along its trajectory; HMC takes `steps` leapfrog steps per
    draw. Both adapt step size and a diagonal mass matrix during warm-up.

    Raises:
        RunError: a parameter without prior stands beside, or no finite starting point was found.
    """
    if posterior.points:
        names = ", ".join(posterior.points)
        raise RunError(f"{names}: a parameter without prior cannot be sampled; give it a prior, or use svi() or map()")
    chains = int(options["chains"])
    energy = recorded(lambda z: -posterior.log_density(z), posterior.scattered(seed))
    results = []
    for chain in range(chains):
        report = None if progress is None else partial(_of_chain, progress, chain, chains)
        results.append(_chain(algorithm, posterior, energy, options, mix(seed, chain), report))
    draws = torch.stack([line for line, _ in results])
    statistics = {name: np.stack([table[name] for _, table in results]) for name in STATISTICS}
    notes = (f"{chains} chains, one after another on {draws.device.type}",)
    return Draws(posterior.constrained(draws), statistics, notes=notes)


def _of_chain(progress: Progress, number: int, chains: int, done: int, total: int, text: str) -> None:
    progress(number * total + done, chains * total, f"chain {number + 1} of {chains}: {text}")


class _Energy:
    """Remembers the Hamiltonian at the start of each trajectory, in nats, which Pyro's kernels do not keep."""

    energy = math.nan

    def _sample_r(self, name: str) -> tuple[dict[Any, Tensor], dict[Any, Tensor]]:
        momentum, unscaled = super()._sample_r(name)  # type: ignore[misc]
        self.energy = float(self._kinetic_energy(unscaled) + self._potential_energy_last)  # type: ignore[attr-defined]
        return momentum, unscaled


class _Nuts(_Energy, NUTS):  # type: ignore[misc]
    """Pyro's NUTS."""


class _Hmc(_Energy, HMC):  # type: ignore[misc]
    """Pyro's HMC with a fixed number of steps: Pyro fixes a trajectory's length and adapts how many steps it has."""

    def __init__(self, steps: int, **options: Any) -> None:
        self._steps = steps
        super().__init__(**options)

    @property
    def num_steps(self) -> int:
        return self._steps


def _kernel(algorithm: str, options: Mapping[str, Any], potential: Callable[[dict[str, Tensor]], Tensor]) -> Any:
    if algorithm == "nuts":
        accept, depth = float(options["target_accept"]), int(options["max_depth"])
        return _Nuts(potential_fn=potential, target_accept_prob=accept, max_tree_depth=depth)
    return _Hmc(int(options["steps"]), potential_fn=potential, step_size=float(options["step_size"]))


def _chain(
    algorithm: str,
    posterior: Posterior,
    energy: ValueAndGradient,
    options: Mapping[str, Any],
    seed: int,
    progress: Progress | None,
) -> tuple[Tensor, dict[str, Array]]:
    """One chain's draws [draws, D] and statistics [draws]; torch's global generator is as before afterwards."""
    warmup, total = int(options["warmup"]), int(options["warmup"]) + int(options["draws"])
    evaluations, length = [0], -(-total // BLOCKS)

    def potential(variables: dict[str, Tensor]) -> Tensor:
        evaluations[0] += 1
        value: Tensor = Scalar.apply(variables["z"], energy)
        return value

    start, draws, table = densest(posterior, energy, seed), [], _Statistics()
    with torch.random.fork_rng(), pyro.validation_enabled(False):
        torch.manual_seed(seed)
        kernel = _kernel(algorithm, options, potential)
        kernel.initial_params = {"z": start}
        kernel.setup(warmup)
        state = kernel.initial_params
        for step in range(total):
            evaluations[0] = 0
            state = kernel.sample(state)
            if step >= warmup:
                draws.append(state["z"].detach().clone())
                table.record(kernel, step - warmup, evaluations[0])
            if progress is not None and ((step + 1) % length == 0 or step + 1 == total):
                progress(step + 1, total, "warm-up" if step < warmup else f"draws, {table.divergences} divergent")
    return torch.stack(draws), table.arrays()


class _Statistics:
    """The statistics of each draw, read from a kernel that keeps running means and lists.

    Attributes:
        divergences: so far.
    """

    def __init__(self) -> None:
        self.divergences = 0
        self._mean = 0.0
        self._lines: list[tuple[float, ...]] = []

    def record(self, kernel: Any, draw: int, steps: int) -> None:
        """Adds the draw that the kernel has just made.

        Args:
            kernel: after `sample`.
            draw: its number among the kept ones, from 0.
            steps: gradients that it took: its leapfrog steps.
        """
        mean, divergences = float(kernel._mean_accept_prob), len(kernel._divergences)
        accept = self._mean + (draw + 1) * (mean - self._mean)
        depth = math.floor(math.log2(max(steps, 1))) + 1
        lp, size = -float(kernel._potential_energy_last), float(kernel.step_size)
        self._lines.append((divergences > self.divergences, kernel.energy, lp, accept, steps, size, depth))
        self._mean, self.divergences = mean, divergences

    def arrays(self) -> dict[str, Array]:
        """[draws] by name."""
        columns = np.asarray(self._lines, dtype=np.float64).reshape(-1, len(STATISTICS)).T
        return {name: column.astype(kind) for (name, kind), column in zip(STATISTICS.items(), columns, strict=True)}

"""The posterior that inference engines explore: log p(theta, data) over raw, unconstrained arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers
from numpyro.infer.util import compute_log_probs

from dgmppl.backend import Array, Arrays
from dgmppl.errors import RunError
from dgmppl.ir.parameters import initial_values
from dgmppl_numpyro.moving import on_reals
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.program import Program

Progress: TypeAlias = Callable[[int, int, str], None]

ATTEMPTS = 100
RADIUS = 2.0


class Posterior:
    """The log joint of a program and its training data as a function of some raw parameters.

    Attributes:
        program: the emitted program.
        rows: the number N of data rows.
        names: the arrays that are inferred, in canonical order.
        points: trainable arrays that are not inferred: parameters without a prior.
        start: every raw array at its start value.
        fixed: those that are not inferred.
        batch: the data.
    """

    def __init__(self, program: Program, data: Arrays, *, seed: int, everything: bool = False) -> None:
        """Puts the data on the present device.

        Args:
            program: the emitted program.
            data: the training data, rows first.
            seed: of the start values.
            everything: parameters without a prior count as inferred too (a mode has them, a posterior does not).

        Raises:
            RunError: nothing is there to infer.
        """
        self.program, self.rows = program, program.rows(data)
        groups = [group.name for group in program.module.groups if everything or random(program, group.name)]
        self.names = program.tree.trainable(groups)
        if not self.names:
            raise RunError(f"{program.module.program.name} has no parameter with a prior: nothing to infer")
        everywhere = program.tree.trainable(program.tree.groups_by_name)
        self.points = tuple(name for name in everywhere if name not in self.names)
        self.start = program.tree.load(initial_values(program.module.parameters, seed))
        self.fixed = {name: raw for name, raw in self.start.items() if name not in self.names}
        self.batch = program.columns(data)

    def without_points(self, engine: str) -> None:
        """Checks that every parameter has a prior.

        Raises:
            RunError: some have none; an engine that samples has nothing to say about them.
        """
        if self.points:
            names = ", ".join(self.points)
            raise RunError(
                f"{engine}: {names} without a prior cannot be sampled; give it a prior, or use svi() or map()"
            )

    def model(self) -> Callable[..., Any]:
        """The library model at the start values, as a function of data columns."""
        return partial(self.program.namespace.model, self.program.tree.groups(self.start))

    def on_reals(self) -> Callable[..., Any]:
        """The library model with parameters whose bounds move as images of real variables."""
        return on_reals(self.model(), self.program.module.groups)

    def arguments(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch as keyword arguments of the library programs, scaled to all N rows."""
        return self.program.arguments(batch, self.rows)

    def culprits(self, values: Mapping[str, Any]) -> str:
        """The sites whose log density is not finite at constrained values, with their places in the spec."""
        seeded = handlers.seed(self.model(), jax.random.key(0))
        with numpyro.validation_enabled(False):
            log_probs, _ = compute_log_probs(seeded, (), self.arguments(self.batch), dict(values))
        sites = [name for name, value in log_probs.items() if not np.isfinite(float(value))]
        declared = self.program.module.program.by_name
        places = [f"{name} ({declared[name].span})" if name in declared else name for name in sites]
        return f"the log density is not finite at {', '.join(places)}" if places else "a gradient is not finite"

    def log_joint(self, raw: Flat, fixed: Flat, batch: Flat) -> Any:
        """log p(theta, data) in constrained space, in nats."""
        program = self.program
        return jnp.sum(program.density(program.function("log_joint"), {**fixed, **raw}, batch, {}))

    def log_density(self, raw: Flat, fixed: Flat, batch: Flat) -> Any:
        """log p(theta, data) in the raw arrays' space: with log |d theta / d raw|; in nats."""
        return self.log_joint(raw, fixed, batch) + self.program.tree.log_abs_det(raw)

    def constrained(self, raw: Mapping[str, Any]) -> dict[str, Array]:
        """Constrained NumPy values of raw draws with the same leading axes [chain, draw]."""
        twice = jax.jit(jax.vmap(jax.vmap(self.program.tree.constrain)))
        return to_host(twice(dict(raw)))


def random(program: Program, group: str) -> bool:
    """Whether a group has a prior."""
    network = program.module.program.networks.get(group)
    return program.tree.groups_by_name[group].kind == "prior" or (network is not None and network.prior is not None)


def initial_points(
    log_density: Callable[[Flat], Any], shapes: Mapping[str, Any], key: Any, count: int, explain: Callable[[Flat], str]
) -> Flat:
    """Starting points, uniform on (-2, 2) in raw space, at which log density and gradient are finite.

    Args:
        log_density: of one point.
        shapes: an array (or its shape and type) per name.
        key: of the draws.
        count: how many points; the first axis of the result.
        explain: the sites at fault at a point, for the message.

    Raises:
        RunError: no finite point was found in 100 attempts; it names the sites.
    """
    examine = jax.jit(jax.vmap(partial(height, log_density)))
    points, good = uniform(shapes, key, count), np.zeros(count, bool)
    for attempt in range(ATTEMPTS):
        fresh = uniform(shapes, jax.random.fold_in(key, attempt), count)
        points = {name: _replace(jnp.asarray(good), points[name], fresh[name]) for name in shapes}
        good = np.isfinite(examine(points))
        if good.all():
            return points
    worst = {name: value[int(np.argmin(good))] for name, value in points.items()}
    raise RunError(f"no starting point with a finite log density in {ATTEMPTS} attempts: {explain(worst)}")


def height(log_density: Callable[[Flat], Any], point: Flat) -> Any:
    """The log density at a point; -inf where it or its gradient is not finite."""
    value, gradient = jax.value_and_grad(log_density)(point)
    finite = jnp.isfinite(value) & jnp.all(jnp.stack([jnp.all(jnp.isfinite(part)) for part in gradient.values()]))
    return jnp.where(finite, value, -jnp.inf)


def uniform(shapes: Mapping[str, Any], key: Any, count: int) -> Flat:
    """Points uniform on (-2, 2), on a first axis."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.uniform(part, (count, *like.shape), like.dtype, -RADIUS, RADIUS)
        for part, (name, like) in zip(keys, shapes.items(), strict=True)
    }


def _replace(good: Any, old: Any, new: Any) -> Any:
    return jnp.where(good.reshape(good.shape + (1,) * (old.ndim - 1)), old, new)

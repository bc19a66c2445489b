"""Stochastic-gradient Markov chains, whose steps read a mini-batch and are never refused.

With U(theta) = -log p(theta, data) over unconstrained theta, U_B its unbiased estimate from B rows drawn with
replacement (their likelihood times N / B), h the step and e standard normal:

    sgld:   theta <- theta - h grad U_B + sqrt(2 h) e                                  (Welling and Teh 2011, eq. 4)
    sghmc:  v <- (1 - a) v - h grad U_B + sqrt(2 a h) e;  theta <- theta + v           (Chen et al. 2014, eq. 15)

`step_size` is N h, so that it means the same whatever the number of rows. As h falls the draws' density tends to the
posterior; at a given h it is wider. Where the posterior is normal with precision A and the gradient's noise has the
variance V, that of sgld has the variance (1 + h V / 2) / (1 - h A / 2) / A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import Draws
from dgmppl.errors import RunError
from dgmppl_numpyro.mcmc import library
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.posterior import Posterior, Progress, initial_points
from dgmppl_numpyro.program import key

BLOCKS = 20
# Warm-up begins with steps so many times as long. A chain that they drive away has a bias of tens of per cent at the
# last step already.
LONGEST = 4.0

Slope = Callable[[Flat, Flat], Flat]


def run(
    posterior: Posterior, algorithm: str, options: Mapping[str, Any], seed: int, progress: Progress | None
) -> Draws:
    """Draws from about the posterior with `sgld` or `sghmc`; `train.batch_size` rows are read per step.

    Raises:
        RunError: a parameter has no prior, no finite starting point was found, or a chain ran away.
    """
    posterior.without_points(algorithm)
    size = _batch_size(posterior)
    problem, chains = library(posterior, ()), int(options["chains"])
    start, step = jax.random.split(key(seed))

    def here(point: Flat) -> Any:
        return problem.log_density(point, posterior.fixed, posterior.batch)

    def slope(point: Flat, batch: Flat) -> Flat:
        gradient: Flat = jax.grad(problem.log_density)(point, posterior.fixed, batch)
        return gradient

    points = initial_points(here, problem.shapes, start, chains, problem.explain)
    move = partial(_move, partial(_on_rows, posterior, slope, size), options.get("friction"))
    sizes = _step_sizes(options, posterior.rows)
    lines = _sample(move, points, jax.random.split(step, chains), sizes, int(options["warmup"]), posterior, progress)
    everywhere = jax.jit(jax.vmap(jax.vmap(problem.values, (0, None, None)), (0, None, None)))
    values = to_host(everywhere(lines, posterior.fixed, posterior.batch))
    rows = f"{size} of {posterior.rows} rows a step" if size else "all rows in each step"
    notes = (
        f"{chains} chains, vectorized, {rows}",
        f"{algorithm} accepts every step: the draws' density is the posterior's only as step_size goes to 0",
    )
    return Draws(posterior=values, notes=notes)


def _batch_size(posterior: Posterior) -> int:
    """How many rows a step reads; 0 for all of them."""
    asked = posterior.program.module.program.train.batch_size
    return 0 if asked is None or asked >= posterior.rows else asked


def _step_sizes(options: Mapping[str, Any], rows: int) -> NDArray[np.float64]:
    """The step h of every transition: in warm-up it falls as t^(-1/3) (Teh et al. 2016), then it stays."""
    warmup, draws = int(options["warmup"]), int(options["draws"])
    factors = np.minimum(np.cbrt(warmup / np.arange(1, warmup + 1)), LONGEST)
    return float(options["step_size"]) / rows * np.concatenate([factors, np.ones(draws)])


def _on_rows(posterior: Posterior, slope: Slope, size: int, random: Any, point: Flat, batch: Flat) -> Flat:
    """The gradient of log p(theta, data), from all rows or from some that are drawn with replacement."""
    if not size:
        return slope(point, batch)
    rows, varies = jax.random.randint(random, (size,), 0, posterior.rows), posterior.program.varies
    return slope(point, {name: column[rows] if varies(name) else column for name, column in batch.items()})


def _move(
    slope: Callable[[Any, Flat, Flat], Flat], friction: float | None, state: tuple[Flat, Flat], random: Any, step: Any,
    batch: Flat,
) -> tuple[Flat, Flat]:  # fmt: skip
    """One transition of (theta, v); without friction to be named nothing of v is kept, which is Langevin dynamics."""
    point, velocity = state
    shuffle, kick = jax.random.split(random)
    gradient, share = slope(shuffle, point, batch), 1.0 if friction is None else friction
    keys = dict(zip(point, jax.random.split(kick, len(point)), strict=True))
    velocity = {
        name: (1.0 - share) * velocity[name]
        + step * gradient[name]
        + jnp.sqrt(2.0 * share * step) * jax.random.normal(keys[name], part.shape, part.dtype)
        for name, part in point.items()
    }
    return {name: part + velocity[name] for name, part in point.items()}, velocity


def _sample(
    move: Callable[[tuple[Flat, Flat], Any, Any, Flat], tuple[Flat, Flat]], points: Flat, keys: Any,
    sizes: NDArray[np.float64], warmup: int, posterior: Posterior, progress: Progress | None,
) -> Flat:  # fmt: skip
    """Every chain's points after warm-up, [chain, draw, ...], in compiled blocks of one length.

    Raises:
        RunError: a chain is no longer finite.
    """
    total, length = len(sizes), -(-len(sizes) // BLOCKS)
    steps = jnp.asarray(np.pad(sizes, (0, -total % length), mode="edge"), jnp.result_type(float))

    def block(state: tuple[Flat, Flat], random: Any, first: Any, batch: Flat) -> tuple[Any, Flat]:
        def step(state: tuple[Flat, Flat], number: Any) -> tuple[tuple[Flat, Flat], Flat]:
            state = move(state, jax.random.fold_in(random, number), steps[number], batch)
            return state, state[0]

        result: tuple[Any, Flat] = jax.lax.scan(step, state, first + jnp.arange(length))
        return result

    advance = jax.jit(jax.vmap(block, (0, 0, None, None)))
    state, kept = (points, jax.tree.map(jnp.zeros_like, points)), []
    for done in range(0, total, length):
        state, lines = advance(state, keys, done, posterior.batch)
        if not all(bool(jnp.isfinite(part).all()) for part in state[0].values()):
            raise RunError(f"a chain ran away within {done + length} steps: take a smaller step_size")
        kept.append({name: np.asarray(part)[:, max(0, warmup - done) : total - done] for name, part in lines.items()})
        if progress is not None:
            progress(min(done + length, total), total, "warm-up" if done < warmup else "draws")
    joined: Flat = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *kept)
    return joined

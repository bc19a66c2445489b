"""Hamiltonian Monte Carlo: NumPyro's NUTS and HMC kernels, driven in compiled blocks of draws.

NumPyro's own driver compiles at every run; here a compiled block serves warm-up and draws alike, and later runs of the
same program with data of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.infer.hmc import hmc
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import initialize_model

from dgmppl.backend import Draws
from dgmppl.errors import RunError
from dgmppl_numpyro.parameters import Flat, to_host
from dgmppl_numpyro.posterior import Posterior, Progress
from dgmppl_numpyro.program import Program, key
from dgmppl_numpyro.starts import densest

# Chains that share one vectorized step wait for the longest trajectory; above this many numbers per gradient that costs
# more than it saves on a processor.
VECTORIZED_ELEMENTS = 200_000
BLOCKS = 20


@dataclass(frozen=True)
class Problem:
    """What a chain explores.

    Attributes:
        log_density: of (point, fixed, batch), in nats; the point is unconstrained.
        values: the constrained values, by canonical name, of (point, fixed, batch).
        shapes: an array like each part of a point.
        explain: the sites at fault at a point.
    """

    log_density: Callable[[Flat, Flat, Flat], Any]
    values: Callable[[Flat, Flat, Flat], Flat]
    shapes: Mapping[str, Any]
    explain: Callable[[Flat], str]


def run(
    posterior: Posterior, algorithm: str, options: Mapping[str, Any], seed: int, progress: Progress | None
) -> Draws:
    """Draws from the posterior with `nuts` or `hmc`.

    Raises:
        RunError: a name in `reparameterize` has no location-scale prior, or no finite starting point was found.
    """
    posterior.without_points(algorithm)
    problem, chains = _problem(posterior, tuple(options["reparameterize"] or ())), int(options["chains"])
    start, step = jax.random.split(key(seed))

    def here(point: Flat) -> Any:
        return problem.log_density(point, posterior.fixed, posterior.batch)

    points = densest(here, problem.shapes, start, chains, problem.explain)
    vectorized = _vectorize(posterior)
    kernel = _kernel(posterior.program, problem, algorithm, options, vectorized)
    lines = _sample(kernel, posterior, points, jax.random.split(step, chains), options, vectorized, progress)
    everywhere = jax.jit(jax.vmap(jax.vmap(problem.values, (0, None, None)), (0, None, None)))
    values = to_host(everywhere(lines.pop("point"), posterior.fixed, posterior.batch))
    how = "vectorized" if vectorized else "one after another"
    return Draws(
        posterior=values, sample_stats=to_host(lines), notes=(f"{chains} chains, {how} on {_place(posterior)}",)
    )


def _problem(posterior: Posterior, decentered: tuple[str, ...]) -> Problem:
    """The straight-line log joint; the library model where sites are non-centered or latents are not integrated out."""
    tree = posterior.program.tree
    if decentered or posterior.program.module.function("log_joint") is None:
        return library(posterior, decentered)

    def explain(point: Flat) -> str:
        return posterior.culprits(tree.constrain(point))

    def values(point: Flat, fixed: Flat, batch: Flat) -> Flat:  # noqa: ARG001
        return tree.constrain(point)

    shapes = {name: posterior.start[name] for name in posterior.names}
    return Problem(posterior.log_density, values, shapes, explain)


def library(posterior: Posterior, sites: tuple[str, ...]) -> Problem:
    """The library model with theta ~ F(loc, scale) written as theta = loc + scale * e, e ~ F(0, 1), for some sites.

    Its log density at a mini-batch of B rows has their likelihood times N / B.
    """
    unknown = [site for site in sites if site not in posterior.names]
    if unknown:
        raise RunError(f"reparameterize: {', '.join(unknown)} is no parameter with a prior")
    changed = handlers.reparam(posterior.on_reals(), config={site: LocScaleReparam(centered=0) for site in sites})
    arguments = posterior.arguments
    try:
        info = initialize_model(
            key(0), changed, dynamic_args=True, model_kwargs=arguments(posterior.batch), validate_grad=False
        )
    except (AttributeError, ValueError) as error:
        if not sites:
            raise
        raise RunError(f"reparameterize: {', '.join(sites)} must have location-scale priors ({error})") from error

    def log_density(point: Flat, fixed: Flat, batch: Flat) -> Any:  # noqa: ARG001
        return -info.potential_fn(**arguments(batch))(point)

    def values(point: Flat, fixed: Flat, batch: Flat) -> Flat:  # noqa: ARG001
        constrained = info.postprocess_fn(**arguments(batch))(point)
        return {name: constrained[name] for name in posterior.names}

    def explain(point: Flat) -> str:
        return posterior.culprits(values(point, {}, posterior.batch))

    return Problem(log_density, values, info.param_info.z, explain)


def _place(posterior: Posterior) -> str:
    """The kind of device that the computation is on."""
    platform: str = jax.tree.leaves(posterior.start)[0].devices().pop().platform
    return platform


def _vectorize(posterior: Posterior) -> bool:
    """Whether chains run in one vectorized step: always on an accelerator, for small problems on a processor."""
    arrays = [*posterior.batch.values(), *posterior.start.values()]
    return _place(posterior) != "cpu" or sum(int(array.size) for array in arrays) <= VECTORIZED_ELEMENTS


def _kernel(
    program: Program, problem: Problem, algorithm: str, options: Mapping[str, Any], vectorized: bool
) -> tuple[Any, Any]:
    """The start of a chain and a block of draws, compiled; over all chains at once if vectorized."""
    settings = _settings(algorithm, options)
    place = (algorithm, tuple(options.items()), vectorized, jnp.result_type(float), jax.config.jax_default_device)
    if place in program.compiled:
        kept: tuple[Any, Any] = program.compiled[place]
        return kept
    initialize, move = hmc(
        potential_fn_gen=lambda fixed, batch: lambda point: -problem.log_density(point, fixed, batch),
        algo=algorithm.upper(),
    )

    def start(point: Flat, random: Any, fixed: Flat, batch: Flat) -> Any:
        return initialize(point, int(options["warmup"]), rng_key=random, model_args=(fixed, batch), **settings)

    def block(state: Any, fixed: Flat, batch: Flat) -> tuple[Any, dict[str, Any]]:
        def draw(state: Any, _: None) -> tuple[Any, dict[str, Any]]:
            state = move(state, (fixed, batch))
            return state, _line(state)

        result: tuple[Any, dict[str, Any]] = jax.lax.scan(draw, state, None, length=_block_length(options))
        return result

    if vectorized:
        start, block = jax.vmap(start, (0, 0, None, None)), jax.vmap(block, (0, None, None))
    compiled = jax.jit(start), jax.jit(block)
    program.compiled[place] = compiled
    return compiled


def _settings(algorithm: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if algorithm == "nuts":
        dense = bool(options.get("dense_mass", False))
        depth = int(options["max_depth"])
        return {"target_accept_prob": float(options["target_accept"]), "max_tree_depth": depth, "dense_mass": dense}
    return {"step_size": float(options["step_size"]), "num_steps": int(options["steps"]), "trajectory_length": None}


def _line(state: Any) -> dict[str, Any]:
    """One draw with its statistics, under ArviZ's names; energies in nats."""
    return {
        "point": state.z, "diverging": state.diverging, "energy": state.energy, "lp": -state.potential_energy,
        "acceptance_rate": state.accept_prob, "n_steps": state.num_steps, "step_size": state.adapt_state.step_size,
        "tree_depth": jnp.floor(jnp.log2(jnp.maximum(state.num_steps, 1))).astype(jnp.int32) + 1,
    }  # fmt: skip


def _block_length(options: Mapping[str, Any]) -> int:
    return -(-(int(options["warmup"]) + int(options["draws"])) // BLOCKS)


def _sample(
    kernel: tuple[Any, Any],
    posterior: Posterior,
    points: Flat,
    keys: Any,
    options: Mapping[str, Any],
    vectorized: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Every chain's draws after warm-up with their statistics, [chain, draw, ...]."""
    if vectorized:
        return _chain(kernel, posterior, points, keys, options, progress, axis=1)
    chains = []
    for number, random in enumerate(keys):
        report = None if progress is None else partial(_of_chain, progress, number, len(keys))
        point = {name: value[number] for name, value in points.items()}
        chains.append(_chain(kernel, posterior, point, random, options, report, axis=0))
    stacked: dict[str, Any] = jax.tree.map(lambda *parts: np.stack(parts), *chains)
    return stacked


def _chain(
    kernel: tuple[Any, Any],
    posterior: Posterior,
    point: Flat,
    random: Any,
    options: Mapping[str, Any],
    progress: Progress | None,
    *,
    axis: int,
) -> dict[str, Any]:
    """Warm-up and draws in blocks; those after warm-up are kept, along `axis`."""
    start, block = kernel
    warmup, length = int(options["warmup"]), _block_length(options)
    total, kept, divergences = warmup + int(options["draws"]), [], 0
    state = start(point, random, posterior.fixed, posterior.batch)
    for done in range(length, total + length, length):
        state, lines = block(state, posterior.fixed, posterior.batch)
        wanted = slice(max(0, warmup - (done - length)), length - max(0, done - total))
        if wanted.start < wanted.stop:
            place = (slice(None),) * axis + (wanted,)
            kept.append({name: jax.tree.map(itemgetter(place), line) for name, line in jax.device_get(lines).items()})
            divergences += int(kept[-1]["diverging"].sum())
        if progress is not None:
            progress(min(done, total), total, "warm-up" if done <= warmup else f"draws, {divergences} divergent")
    joined: dict[str, Any] = jax.tree.map(lambda *parts: np.concatenate(parts, axis), *kept)
    return joined


def _of_chain(progress: Progress, number: int, chains: int, done: int, total: int, text: str) -> None:
    progress(number * total + done, chains * total, f"chain {number + 1} of {chains}: {text}")

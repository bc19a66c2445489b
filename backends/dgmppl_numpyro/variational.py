"""Stochastic variational inference on the library model: NumPyro's guides and ELBO in compiled blocks of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO, autoguide
from numpyro.infer.util import log_density

from dgmppl.backend import Array, Draws
from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call
from dgmppl.ir.option_calls import bind
from dgmppl.ir.options import AUTO, GUIDES
from dgmppl_numpyro.optimizers import optimizer
from dgmppl_numpyro.parameters import Flat
from dgmppl_numpyro.posterior import Posterior, Progress
from dgmppl_numpyro.program import key
from dgmppl_numpyro.programs import canonical

BLOCKS = 20
# Draws whose densities are evaluated together.
CHUNK = 50

Guide = Callable[..., Any]


def family(guide: object) -> tuple[str, dict[str, Any]]:
    """The family that `auto`, `auto(low_rank)` or `auto(low_rank(rank=4))` names, with its options.

    Raises:
        RunError: there is no such family.
    """
    call = guide if isinstance(guide, Call) else Call(str(guide))
    chosen = bind(call, AUTO, "guide")["family"]
    inner = chosen if isinstance(chosen, Call) else Call(str(chosen))
    return inner.function, bind(inner, GUIDES, "guide family")


def run(posterior: Posterior, options: Mapping[str, Any], seed: int, progress: Progress | None) -> Draws:
    """Maximizes the ELBO over the guide and draws from it.

    The declared guide covers its own sites; the automatic family covers the rest.

    Returns:
        Draws with log p(theta, z, data) and log q(theta, z) of each, and the ELBO per step, in nats.

    Raises:
        RunError: the family is unknown, or the ELBO became infinite or NaN.
    """
    train, steps = posterior.program.module.program.train, int(options["steps"])
    model, guide = posterior.on_reals(), _guide(posterior, *family(options["guide"]))
    clip = [] if train.clip_norm is None else [optax.clip_by_global_norm(train.clip_norm)]
    mover = optax.chain(*clip, optimizer(train.optimizer, train.schedule, steps))
    svi = SVI(model, guide, mover, Trace_ELBO(num_particles=int(options["particles"])))
    start, after = jax.random.split(key(seed))
    lines = _shuffled(posterior.rows, train.batch_size, steps, seed)
    fitted, trace = _maximize(svi, posterior, lines, start, progress)
    values, log_p, log_q = _draws(model, guide, fitted, posterior, after, int(options["draws"]))
    points = {name: np.broadcast_to(value, (*log_p.shape, *value.shape)) for name, value in _points(posterior, fitted)}
    return Draws(posterior={**values, **points}, log_p=log_p, log_q=log_q, trace=trace)


def _guide(posterior: Posterior, kind: str, options: Mapping[str, Any]) -> Guide:
    """The declared guide, if there is one, together with an automatic one for the sites that it leaves out."""
    program, model, families = posterior.program, posterior.on_reals(), _families(options)
    if kind not in families:
        raise RunError(f"svi has no guide family {kind!r} on numpyro; it has {', '.join(families)}")
    if program.module.function("guide") is None:
        automatic: Guide = families[kind](model)
        return automatic
    declared = partial(program.namespace.guide, program.tree.groups(posterior.start))
    covered = _latent(declared, posterior)
    if _latent(model, posterior) <= covered:
        return declared
    # The blocked sites are out of the outer seed's reach; a seed inside serves the automatic guide's one look at them.
    rest = families[kind](handlers.block(handlers.seed(model, jax.random.key(0)), hide=sorted(covered)))

    def together(**columns: Any) -> None:
        declared(**columns)
        rest(**columns)

    return together


def _families(options: Mapping[str, Any]) -> dict[str, Callable[[Guide], Guide]]:
    """Automatic guides by the spec's name for them."""
    low_rank, flow = autoguide.AutoLowRankMultivariateNormal, autoguide.AutoIAFNormal
    return {
        "mean_field": autoguide.AutoNormal,
        "low_rank": partial(low_rank, rank=options.get("rank")),
        "full_rank": autoguide.AutoMultivariateNormal,
        "flow": partial(flow, num_flows=options.get("layers")),
    }


def _latent(program: Guide, posterior: Posterior) -> frozenset[str]:
    """The sites that a library program draws, given data."""
    seeded = handlers.seed(program, jax.random.key(0))
    sites = handlers.trace(seeded).get_trace(**posterior.arguments(posterior.batch))
    return frozenset(name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"])


def _shuffled(rows: int, batch_size: int | None, steps: int, seed: int) -> NDArray[np.int32]:
    """Row indices per step [steps, batch]: pass after pass over the data, in new orders; width 0 for all rows."""
    size = min(batch_size or rows, rows)
    if size == rows:
        return np.zeros((steps, 0), np.int32)
    generator, per_pass = np.random.default_rng(seed), rows // size
    passes = [generator.permutation(rows)[: per_pass * size] for _ in range(-(-steps // per_pass))]
    return np.concatenate(passes).reshape(-1, size)[:steps].astype(np.int32)


def _maximize(
    svi: SVI, posterior: Posterior, lines: NDArray[np.int32], random: Any, progress: Progress | None
) -> tuple[Flat, Array]:
    """The variational parameters after all steps, and the ELBO of each step in nats.

    Raises:
        RunError: the ELBO is infinite or NaN.
    """
    program = posterior.program

    def take(rows: Any, batch: Flat) -> Flat:
        chosen = {name: column[rows] if program.varies(name) else column for name, column in batch.items()}
        return posterior.arguments(chosen if rows.size else batch)

    def block(state: Any, lines: Any, batch: Flat) -> tuple[Any, Any]:
        result: tuple[Any, Any] = jax.lax.scan(lambda state, rows: svi.update(state, **take(rows, batch)), state, lines)
        return result

    advance, state = jax.jit(block, donate_argnums=0), svi.init(random, **take(jnp.asarray(lines[0]), posterior.batch))
    state, trace = jax.tree.map(jnp.array, state), np.zeros(len(lines))
    length = -(-len(lines) // BLOCKS)
    for start in range(0, len(lines), length):
        state, losses = advance(state, jnp.asarray(lines[start : start + length]), posterior.batch)
        done = start + len(losses)
        trace[start:done] = -np.asarray(losses)
        if not np.isfinite(trace[:done]).all():
            step = int(np.argmin(np.isfinite(trace[:done])))
            raise RunError(
                f"svi: the ELBO is {trace[step]} at step {step}; try a smaller learning rate or more particles"
            )
        if progress is not None:
            progress(done, len(lines), f"ELBO {trace[done - 1]:.6g} nats")
    fitted: Flat = svi.get_params(state)
    return fitted, trace


def _draws(
    model: Guide, guide: Guide, fitted: Flat, posterior: Posterior, random: Any, count: int
) -> tuple[dict[str, Array], Array, Array]:
    """Draws from the guide [1, draw, ...] with log p and log q of everything drawn, given all data, in nats."""

    def draw(random: Any, fitted: Flat, batch: Flat) -> tuple[Flat, Any, Any]:
        columns, (first, second) = posterior.arguments(batch), jax.random.split(random)
        log_q, drawn = log_density(handlers.seed(guide, first), (), columns, fitted)
        log_p, sites = log_density(handlers.replay(handlers.seed(model, second), drawn), (), columns, fitted)
        values = {name: sites[name]["value"] for name in posterior.names}
        return values, log_p, log_q

    def everything(keys: Any, fitted: Flat, batch: Flat) -> Any:
        return jax.lax.map(lambda each: draw(each, fitted, batch), keys, batch_size=CHUNK)

    found = jax.jit(everything)(jax.random.split(random, count), fitted, posterior.batch)
    values, log_p, log_q = jax.device_get(found)
    return {name: value[None] for name, value in values.items()}, log_p[None], log_q[None]


def _points(posterior: Posterior, fitted: Flat) -> Iterator[tuple[str, Array]]:
    """Fitted values of the parameters without a prior, constrained, by canonical name."""
    tree = posterior.program.tree
    for group in {tree.specs[name].group: None for name in posterior.points}:
        names = [name for name in posterior.points if tree.specs[name].group == group]
        if f"{group}$params" in fitted:
            leaves = jax.tree_util.tree_leaves_with_path(fitted[f"{group}$params"])
            found = {f"{group}.{canonical(path)}": np.asarray(leaf) for path, leaf in leaves}
            yield from ((name, found[name]) for name in names)
        elif f"{group}_raw" in fitted:
            yield from tree.canonical({names[0]: fitted[f"{group}_raw"]}).items()
        elif group in fitted:
            yield names[0], np.asarray(fitted[group])

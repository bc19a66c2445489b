"""Held-out nats of a spline flow against zuko's and flowjax's of the same size, with the same budget and seeds.

Every contender sees the same preprocessed arrays, batches of the same rows in the same order, as many steps of Adam at
the same rate, and is scored on the same held-out rows in the same units. What counts is the difference within a seed:
positive where ours assigns more; its standard error is over seeds. `--kept FILE` writes every fit's score as it comes,
and a later run with the same file goes on where this one stopped.
"""

from __future__ import annotations

import os

os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import flowjax.bijections
import flowjax.distributions
import flowjax.flows
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
import torch
import zuko
from rich.console import Console
from rich.table import Table

from dgmppl.backend import Device
from dgmppl.compiler import compile_spec
from dgmppl.data import load
from dgmppl.ir.parameters import initial_values
from dgmppl.results.evaluation import standard_error

LAYERS, HIDDEN, BINS, BOUND, BATCH = 5, (64, 64), 8, 5, 64
FLOW = f"repeat({LAYERS}, [coupling(mlp([64, 64]), spline(bins={BINS}, bound={BOUND})), permute()])"


class Task(NamedTuple):
    """A data set: its declaration, its width and the steps that every contender takes."""

    data: dict[str, Any]
    width: int
    steps: int


TASKS = {
    "digits 8x8": Task(
        {"dataset": "digits.images", "transform": ["flatten()", "dequantize(17)", "logit(0.05)", "standardize()"]},
        64,
        1500,
    ),
    "wine": Task({"dataset": "wine.features", "transform": "standardize()"}, 13, 300),
    "breast_cancer": Task({"dataset": "breast_cancer.features", "transform": "standardize()"}, 30, 500),
}


def spec(task: Task, seed: int) -> dict[str, Any]:
    return {
        "dgmppl": 1,
        "name": "flow",
        "data": {"x": {**task.data, "split": {"test": 0.2, "seed": seed}}},
        "bijectors": {"flow": FLOW},
        "model": {"z": f"Normal(0, 1, shape={task.width})", "x": "flow(z)"},
        "train": {"optimizer": "adam(1e-3)", "batch_size": BATCH, "steps": task.steps},
    }


class Split(NamedTuple):
    """Training and held-out rows in model units, and the rows of every step."""

    train: np.ndarray
    test: np.ndarray
    rows: np.ndarray


def split(task: Task, seed: int) -> Split:
    parts = load(compile_spec(spec(task, seed), backend="pyro").spec.data, seed=seed)
    assert parts.held_out is not None
    train, test = (np.asarray(part.arrays["x"], dtype=np.float64) for part in (parts.train, parts.held_out))
    return Split(train, test, np.random.default_rng(seed).integers(0, len(train), (task.steps, BATCH)))


def ours(backend: str, task: Task, seed: int, data: Split) -> float:
    compiled = compile_spec(spec(task, seed), backend=backend)
    values = initial_values(compiled.module.parameters, seed)
    trainer = compiled.executable.trainer(
        values, {"x": data.train}, compiled.program.train, steps=task.steps, seed=seed,
        device=Device("cpu", "float32", 1),
    )  # fmt: skip
    for block in np.array_split(data.rows, max(1, task.steps // 100)):
        trainer.advance(block)
    fitted = trainer.parameters(averaged=False)
    return float(compiled.executable.call("log_prob", fitted, {"x": data.test})["value"].mean())


def of_zuko(task: Task, seed: int, data: Split) -> float:
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    univariate = partial(zuko.transforms.MonotonicRQSTransform, bound=float(BOUND))
    layers = []
    for _ in range(LAYERS):
        mask = np.zeros(task.width, dtype=bool)
        mask[generator.permutation(task.width)[: task.width // 2]] = True
        layers.append(
            zuko.flows.GeneralCouplingTransform(
                features=task.width, mask=torch.tensor(mask), univariate=univariate,
                shapes=[(BINS,), (BINS,), (BINS - 1,)], hidden_features=HIDDEN,
            )
        )  # fmt: skip
    zeros, ones = torch.zeros(task.width), torch.ones(task.width)
    base = zuko.flows.UnconditionalDistribution(zuko.distributions.DiagNormal, zeros, ones, buffer=True)
    flow = zuko.flows.Flow(layers, base)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)
    train, test = (torch.tensor(part, dtype=torch.float32) for part in (data.train, data.test))
    for rows in torch.as_tensor(data.rows):
        loss = -flow().log_prob(train[rows]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(flow().log_prob(test).mean())


def of_flowjax(task: Task, seed: int, data: Split) -> float:
    flow = flowjax.flows.coupling_flow(
        jax.random.key(seed),
        base_dist=flowjax.distributions.Normal(jnp.zeros(task.width)),
        transformer=flowjax.bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND),
        flow_layers=LAYERS,
        nn_width=HIDDEN[0],
        nn_depth=len(HIDDEN),
    )
    parameters, static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=_fixed)
    optimizer, train = optax.adam(1e-3), jnp.asarray(data.train, jnp.float32)

    def log_p(parameters: Any, x: jax.Array) -> jax.Array:
        return paramax.unwrap(eqx.combine(parameters, static)).log_prob(x).mean()

    def step(carry: Any, rows: jax.Array) -> Any:
        parameters, state = carry
        slopes = jax.grad(lambda p: -log_p(p, train[rows]))(parameters)
        updates, state = optimizer.update(slopes, state)
        return (optax.apply_updates(parameters, updates), state), None

    run = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0])
    fitted, _ = run((parameters, optimizer.init(parameters)), jnp.asarray(data.rows))
    return float(log_p(fitted, jnp.asarray(data.test, jnp.float32)))


def _fixed(leaf: Any) -> bool:
    """What flowjax marks as not to be trained: the base's location and scale."""
    return isinstance(leaf, paramax.NonTrainable)


class Scores:
    """Held-out nats by (data, contender, seed, steps), in a file of one line each where there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.known: dict[tuple[Any, ...], float] = {tuple(key): nats for key, nats in map(json.loads, lines)}

    def __call__(self, fit: Callable[[], float], *key: str | int) -> float:
        if key not in self.known:
            self.known[key] = fit()
            if self.path is not None:
                with self.path.open("a") as file:
                    print(json.dumps([key, self.known[key]]), file=file)
        return self.known[key]


def difference(mine: np.ndarray, other: np.ndarray) -> tuple[str, ...]:
    """Both means, the mean difference within a seed, its standard error, and the verdict."""
    paired = mine - other
    error = standard_error(paired)
    figures = (mine.mean(), other.mean(), paired.mean(), error)
    return *(f"{figure:.3f}" for figure in figures), "met" if not paired.mean() < -2 * error else "MISSED"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--data", nargs="*", choices=TASKS, default=[*TASKS])
    arguments.add_argument("--kept", type=Path, help="a file that keeps the scores, so that a stopped run can go on")
    arguments.add_argument("--smoke", action="store_true", help="a tenth of the steps")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    view = Table(title=f"Held-out nats per datum, {chosen.seeds} seeds")
    for column in ("data", "against", "ours", "theirs", "ours - theirs", "standard error", "verdict"):
        view.add_column(column, justify="left" if column in {"data", "against"} else "right")
    contenders = {"zuko": ("pyro", of_zuko), "flowjax": ("numpyro", of_flowjax)}
    scores = Scores(chosen.kept)
    for name in chosen.data:
        task = TASKS[name]._replace(steps=TASKS[name].steps // 10) if chosen.smoke else TASKS[name]
        parts = [split(task, seed) for seed in range(chosen.seeds)]
        for against, (backend, fit) in contenders.items():
            mine, other = (
                np.array([
                    scores(partial(score, task, seed, part), name, who, seed, task.steps)
                    for seed, part in enumerate(parts)
                ])
                for who, score in ((backend, partial(ours, backend)), (against, fit))
            )  # fmt: skip
            view.add_row(name, against, *difference(mine, other))
    Console(width=120).print(view)


if __name__ == "__main__":
    main()

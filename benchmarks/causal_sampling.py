"""Sampling element by element with a cache against one full pass per element, one thread.

The uncached contender is the emitted network itself, run on the whole event once per element, in one compiled loop in
JAX; both draw from noise of the same distribution.
"""

from __future__ import annotations

import os

os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.paired import Ratio, compare, table
from dgmppl.compiler import Compilation, compile_spec
from dgmppl.ir.parameters import initial_values
from dgmppl_numpyro.programs import canonical


def transformer(length: int) -> dict[str, Any]:
    return {
        "dgmppl": 1,
        "name": "transformer",
        "data": {"x": {"shape": [length], "support": "integer(256)"}},
        "networks": {"net": "causal_transformer(layers=4, heads=4, width=128)"},
        "model": {"x[i]": "Categorical(logits=net(x[:i]))"},
    }


def made(size: int) -> dict[str, Any]:
    return {
        "dgmppl": 1,
        "name": "made",
        "data": {"x": {"shape": [size], "support": "binary"}},
        "networks": {"net": "made([512, 512])"},
        "model": {"x[i]": "Bernoulli(logits=net(x[:i]))"},
    }


class Cached:
    """The emitted `sample`."""

    def __init__(self, compiled: Compilation, values: dict[str, np.ndarray], rows: int) -> None:
        self.compiled, self.values, self.rows, self.seed = compiled, values, rows, 0

    def __call__(self) -> None:
        self.seed += 1
        self.compiled.executable.call("sample", self.values, {}, seed=self.seed, rows=self.rows)


class UncachedTorch:
    """One pass of the network over the whole event for each element."""

    def __init__(self, compiled: Compilation, values: dict[str, np.ndarray], rows: int, size: int) -> None:
        self.net = compiled.executable.library_model(values).net
        self.rows, self.size = rows, size
        self.integers = compiled.program.observed[0].typed.support.kind == "integer"

    @torch.inference_mode()
    def __call__(self) -> None:
        real = next(self.net.parameters()).dtype
        x = torch.zeros(self.rows, self.size, dtype=torch.int64 if self.integers else real)
        for place in range(self.size):
            logits = self.net(x)[:, place]
            if self.integers:
                x[:, place] = (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)
            else:
                x[:, place] = (torch.rand_like(logits) < torch.sigmoid(logits)).to(real)


class UncachedJax:
    """The same as one compiled loop."""

    def __init__(self, compiled: Compilation, values: dict[str, np.ndarray], rows: int, size: int) -> None:
        template = eqx.filter_eval_shape(compiled.executable.namespace.NETWORKS["net"])
        self.net = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(values[f"net.{canonical(path)}"], jnp.float32), template
        )
        integers = compiled.program.observed[0].typed.support.kind == "integer"
        self.seed = 0

        def draw(net: Any, key: jax.Array) -> jax.Array:
            def step(place: Any, x: jax.Array) -> jax.Array:
                logits, now = net(x)[:, place], jax.random.fold_in(key, place)
                if integers:
                    return x.at[:, place].set(jax.random.categorical(now, logits))
                return x.at[:, place].set(jax.random.bernoulli(now, jax.nn.sigmoid(logits)).astype(x.dtype))

            kind = jnp.int32 if integers else jnp.float32
            return jax.lax.fori_loop(0, size, step, jnp.zeros((rows, size), kind))

        self.draw = jax.jit(draw)

    def __call__(self) -> None:
        self.seed += 1
        self.draw(self.net, jax.random.key(self.seed)).block_until_ready()


def pair(name: str, spec: dict[str, Any], rows: int, target: float | None, pairs: int) -> list[Ratio]:
    size, found = spec["data"]["x"]["shape"][0], []
    for backend, contender in (("pyro", UncachedTorch), ("numpyro", UncachedJax)):
        compiled = compile_spec(spec, backend=backend)
        start = initial_values(compiled.module.parameters, 0)
        values = {key: value.astype(np.float32) for key, value in start.items()}
        cached, uncached = Cached(compiled, values, rows), contender(compiled, values, rows, size)
        found.append(compare(f"{name}, {backend}: a pass per element", cached, uncached, pairs=pairs, target=target))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--smoke", action="store_true", help="short events, to see that it runs")
    smoke = arguments.parse_args().smoke
    torch.set_num_threads(1)
    length, size, pairs = (64, 98, 2) if smoke else (512, 784, 5)
    ratios = pair(f"transformer, length {length}, 1 row", transformer(length), 1, None if smoke else 5.0, pairs)
    ratios += pair(f"made, {size} elements, 16 rows", made(size), 16, None if smoke else 20.0, pairs)
    table("Cached sampling, one thread", ratios, 1)


if __name__ == "__main__":
    main()

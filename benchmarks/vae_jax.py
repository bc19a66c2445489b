"""VAE 784-400-400-20, batch 128, one thread: the emitted program against hand-written JAX and NumPyro."""

from __future__ import annotations

import os

os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, TraceMeanField_ELBO

from benchmarks.emitted import Ours
from benchmarks.paired import compare, table
from dgmppl.compiler import compile_spec
from dgmppl.ir.parameters import initial_values

STEPS, BATCH, LATENT = 100, 128, 20  # the block of steps that a run takes at a time


def tree(values: dict[str, np.ndarray], name: str) -> list[tuple[jax.Array, jax.Array]]:
    return [
        (
            jnp.asarray(values[f"{name}.layers.{i}.weight"], jnp.float32),
            jnp.asarray(values[f"{name}.layers.{i}.bias"], jnp.float32),
        )
        for i in range(3)
    ]


def perceptron(layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight.T + bias)
    weight, bias = layers[-1]
    return x @ weight.T + bias


class PureJax:
    """What an expert writes: one donated lax.scan over the block, optax Adam, data on the device."""

    def __init__(self, values: dict[str, np.ndarray], data: jax.Array, rows: np.ndarray) -> None:
        parameters = {"encoder": tree(values, "encoder"), "decoder": tree(values, "decoder")}
        self.optimizer = optax.adam(1e-3)
        self.carry: Any = (parameters, self.optimizer.init(parameters), jax.random.key(0))
        self.data, self.rows = data, jnp.asarray(rows)
        self.losses = np.zeros(0)

    def loss(self, parameters: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        loc, raw = jnp.split(perceptron(parameters["encoder"], x), 2, axis=-1)
        scale = jax.nn.softplus(raw) + 1e-6
        z = loc + scale * jax.random.normal(key, loc.shape)
        logits = perceptron(parameters["decoder"], z)
        nll = (jax.nn.softplus(logits) - x * logits).sum(-1)
        kl = (0.5 * (loc**2 + scale**2 - 1) - jnp.log(scale)).sum(-1)
        return (nll + kl).mean()

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def block(self, carry: Any, data: jax.Array, rows: jax.Array) -> Any:
        def step(carry: Any, index: jax.Array) -> Any:
            parameters, state, key = carry
            key, draw = jax.random.split(key)
            loss, gradient = jax.value_and_grad(self.loss)(parameters, data[index], draw)
            updates, state = self.optimizer.update(gradient, state)
            return (optax.apply_updates(parameters, updates), state, key), loss

        return jax.lax.scan(step, carry, rows)

    def __call__(self) -> None:
        self.carry, losses = self.block(self.carry, self.data, self.rows)
        self.losses = np.asarray(losses)


class HandNumPyro:
    """A NumPyro model and guide; svi.update inside one donated lax.scan."""

    def __init__(self, values: dict[str, np.ndarray], data: jax.Array, rows: np.ndarray) -> None:
        self.start = {"encoder": tree(values, "encoder"), "decoder": tree(values, "decoder")}
        self.svi = SVI(self.model, self.guide, optax.adam(1e-3), TraceMeanField_ELBO())
        self.data, self.rows = data, jnp.asarray(rows)
        self.state = self.svi.init(jax.random.key(0), data[:BATCH])
        self.losses = np.zeros(0)

    def layers(self, name: str) -> list[tuple[jax.Array, jax.Array]]:
        return [
            (numpyro.param(f"{name}.{i}.weight", weight), numpyro.param(f"{name}.{i}.bias", bias))
            for i, (weight, bias) in enumerate(self.start[name])
        ]

    def model(self, x: jax.Array) -> None:
        layers = self.layers("decoder")
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=perceptron(layers, z)).to_event(1), obs=x)

    def guide(self, x: jax.Array) -> None:
        layers = self.layers("encoder")
        loc, raw = jnp.split(perceptron(layers, x), 2, axis=-1)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", dist.Normal(loc, jax.nn.softplus(raw) + 1e-6).to_event(1))

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def block(self, state: Any, data: jax.Array, rows: jax.Array) -> Any:
        return jax.lax.scan(lambda carry, index: self.svi.update(carry, data[index]), state, rows)

    def __call__(self) -> None:
        self.state, losses = self.block(self.state, self.data, self.rows)
        self.losses = np.asarray(losses) / BATCH


def main() -> None:
    compiled = compile_spec(Path(__file__).with_name("vae.yaml"), backend="numpyro")
    values = initial_values(compiled.module.parameters, 0)
    images = np.load(Path(__file__).parent / "data" / "mnist10k.npz")["train_images"]
    data = (images.reshape(len(images), -1) > 127).astype(np.float64)
    rows = np.random.default_rng(0).integers(0, len(data), (STEPS, BATCH))
    array = jnp.asarray(data, jnp.float32)
    contenders = {"pure JAX, optax, one scan": PureJax, "hand-written NumPyro in one scan": HandNumPyro}
    ratios = []
    for name, build in contenders.items():
        ours = Ours(compiled, values, data, rows)
        theirs = build(values, array, rows)
        ratios.append(compare(name, ours, theirs, target=0.97))
        print(f"{name}: last block's mean loss {theirs.losses.mean():.3f} nats, ours {np.mean(ours.losses):.3f}")
    table("VAE 784-400-400-20, batch 128, one thread, JAX", ratios, STEPS)


if __name__ == "__main__":
    main()

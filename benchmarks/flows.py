"""Training steps of exact likelihoods, one thread: a spline flow against zuko and flowjax, a MADE against plain code.

The contenders use every trick that the emitted programs use: fused Adam and flushed denormals in torch, one donated
`lax.scan` over the block with the data on the device in JAX. Against eager code the emitted program trains as it does
by default, against `torch.compile` as under `fit --compile`. Two flows of one size start from different weights, so
only the speed is compared; the MADE starts from the emitted program's weights and must reach the same loss.
"""

from __future__ import annotations

import os

os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import equinox as eqx
import flowjax.bijections
import flowjax.distributions
import flowjax.flows
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
import zuko

from benchmarks.emitted import Ours, Values, prepared
from benchmarks.paired import Ratio, begin, command, compare, table

LAYERS, HIDDEN, BINS, BOUND = 4, (64, 64), 8, 4
SPLINE = {
    "dgmppl": 1,
    "name": "spline-flow",
    "data": {"x": {"dataset": "moons", "size": 4096}},
    "bijectors": {
        "flow": f"repeat({LAYERS}, [coupling(mlp([64, 64]), spline(bins={BINS}, bound={BOUND})), reverse()])"
    },
    "model": {"z": "Normal(0, 1, shape=2)", "x": "flow(z)"},
    "train": {"optimizer": "adam(1e-3)", "batch_size": 256, "steps": 1000},
}
MADE = {
    "dgmppl": 1,
    "name": "made",
    "data": {"x": {"dataset": "digits.images", "transform": ["flatten()", "binarize(8)"]}},
    "networks": {"net": "made([512, 512], order=raster)"},
    "model": {"x[i]": "Bernoulli(logits=net(x[:i]))"},
    "train": {"optimizer": "adam(1e-3)", "batch_size": 128, "steps": 1000},
}


# ---- torch -----------------------------------------------------------------------------------------------------------


class TorchBlock:
    """Fused Adam on a loss of a batch, gradients set to None, no host sync inside the block."""

    def __init__(self, module: torch.nn.Module, data: np.ndarray, rows: np.ndarray) -> None:
        self.module = module
        self.optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
        self.data, self.rows = torch.tensor(data, dtype=torch.float32), torch.as_tensor(rows)
        self.losses = np.zeros(0)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        loss = self.module(self.data[rows])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def __call__(self) -> None:
        self.losses = torch.stack([self.step(rows) for rows in self.rows]).numpy()


class ZukoFlow(torch.nn.Module):
    """Coupling layers with rational-quadratic splines of the same size, the halves taking turns."""

    def __init__(self) -> None:
        super().__init__()
        univariate = partial(zuko.transforms.MonotonicRQSTransform, bound=float(BOUND))
        layers = [
            zuko.flows.GeneralCouplingTransform(
                features=2,
                mask=torch.tensor([number % 2 == 0, number % 2 == 1]),
                univariate=univariate,
                shapes=[(BINS,), (BINS,), (BINS - 1,)],
                hidden_features=HIDDEN,
            )
            for number in range(LAYERS)
        ]
        base = zuko.flows.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2), buffer=True
        )
        self.flow = zuko.flows.Flow(layers, base)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.flow().log_prob(x).mean()


def degrees(size: int, hidden: tuple[int, ...]) -> list[np.ndarray]:
    """The number of each unit: a weight is kept where the reader's is not the smaller (Germain et al. 2015)."""
    return [np.arange(size), *(np.arange(width) * (size - 1) // width for width in hidden)]


def masks(size: int, hidden: tuple[int, ...]) -> list[np.ndarray]:
    numbers = degrees(size, hidden)
    inner = [after[:, None] >= before[None] for before, after in pairwise(numbers)]
    return [mask.astype(np.float32) for mask in (*inner, numbers[0][:, None] > numbers[-1][None])]


class PlainMade(torch.nn.Module):
    """Linear layers whose weights are masked as they are used."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        layers = range(len(values) // 2)
        self.weights = torch.nn.ParameterList(torch.tensor(values[f"net.layers.{i}.weight"]).float() for i in layers)
        self.biases = torch.nn.ParameterList(torch.tensor(values[f"net.layers.{i}.bias"]).float() for i in layers)
        for number, mask in enumerate(masks(64, (512, 512))):
            self.register_buffer(f"mask{number}", torch.tensor(mask))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, last = x, len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = F.linear(hidden, weight * getattr(self, f"mask{i}"), bias)
            hidden = hidden if i == last else torch.relu(hidden)
        return F.binary_cross_entropy_with_logits(hidden, x, reduction="sum") / len(x)


# ---- JAX -------------------------------------------------------------------------------------------------------------


class JaxBlock:
    """One donated scan over the block; the arrays of a pytree are trained by optax's Adam."""

    def __init__(self, tree: Any, loss: Any, data: np.ndarray, rows: np.ndarray) -> None:
        parameters, static = eqx.partition(tree, eqx.is_inexact_array)
        optimizer = optax.adam(1e-3)

        def step(carry: Any, batch: jax.Array) -> Any:
            parameters, state, data = carry
            value, slopes = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), data[batch]))(parameters)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(parameters, updates), state, data), value

        self.block = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows), donate_argnums=0)
        self.carry = parameters, optimizer.init(parameters), jnp.asarray(data, jnp.float32)
        self.rows, self.losses = jnp.asarray(rows), np.zeros(0)

    def __call__(self) -> None:
        self.carry, losses = self.block(self.carry, self.rows)
        self.losses = np.asarray(losses)


def flowjax_flow(key: jax.Array) -> Any:
    """flowjax's coupling flow of the same size; its layers are one scan."""
    return flowjax.flows.coupling_flow(
        key,
        base_dist=flowjax.distributions.Normal(jnp.zeros(2)),
        transformer=flowjax.bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND),
        flow_layers=LAYERS,
        nn_width=HIDDEN[0],
        nn_depth=len(HIDDEN),
    )


def flowjax_loss(flow: Any, x: jax.Array) -> jax.Array:
    import paramax

    return -paramax.unwrap(flow).log_prob(x).mean()


def made_loss(layers: Any, x: jax.Array) -> jax.Array:
    hidden = x
    for number, ((weight, bias), mask) in enumerate(zip(layers, masks(64, (512, 512)), strict=True)):
        hidden = hidden @ (weight * mask).T + bias
        hidden = hidden if number == len(layers) - 1 else jax.nn.relu(hidden)
    return (jax.nn.softplus(hidden) - x * hidden).sum(-1).mean()


def made_layers(values: Values) -> list[tuple[jax.Array, jax.Array]]:
    return [
        (
            jnp.asarray(values[f"net.layers.{i}.weight"], jnp.float32),
            jnp.asarray(values[f"net.layers.{i}.bias"], jnp.float32),
        )
        for i in range(len(values) // 2)
    ]


# ---- pairs -----------------------------------------------------------------------------------------------------------


def spline_flows(steps: int, pairs: int) -> list[Ratio]:
    ratios = []
    compiled, values, data, rows = prepared(SPLINE, "pyro", steps)
    torch.manual_seed(0)
    for name, fused in (("zuko, eager", False), ("zuko, torch.compile; ours with --compile", True)):
        module = torch.compile(ZukoFlow()) if fused else ZukoFlow()
        ours, theirs = Ours(compiled, values, data, rows, fused=fused), TorchBlock(module, data, rows)
        ratios.append(compare(f"spline flow: {name}", ours, theirs, pairs=pairs, target=0.97, warm_up=ours.warm_up))
    compiled, values, data, rows = prepared(SPLINE, "numpyro", steps)
    ours = Ours(compiled, values, data, rows)
    theirs = JaxBlock(flowjax_flow(jax.random.key(0)), flowjax_loss, data, rows)
    ratios.append(compare("spline flow: flowjax in lax.scan", ours, theirs, pairs=pairs, target=0.97))
    return ratios


def mades(steps: int, pairs: int) -> list[Ratio]:
    ratios = []
    contenders: dict[tuple[str, str, bool], Callable[[Values], Any]] = {
        ("pyro", "plain torch, fused Adam", False): PlainMade,
        ("pyro", "torch.compile, fused Adam; ours with --compile", True): lambda values: torch.compile(
            PlainMade(values)
        ),
        ("numpyro", "pure JAX, one scan", False): made_layers,
    }
    for (backend, name, fused), build in contenders.items():
        compiled, values, data, rows = prepared(MADE, backend, steps)
        ours = Ours(compiled, values, data, rows, fused=fused)
        module = build(values)
        theirs: Any = TorchBlock(module, data, rows) if backend == "pyro" else JaxBlock(module, made_loss, data, rows)
        ratios.append(compare(f"MADE: {name}", ours, theirs, pairs=pairs, target=0.97, warm_up=ours.warm_up))
        print(f"{name}: last block's mean loss {theirs.losses.mean():.3f} nats, ours {ours.losses.mean():.3f}")
    return ratios


def main() -> None:
    steps, pairs = (20, 4) if begin(command(__doc__)).smoke else (100, 20)
    table("Exact likelihoods, one thread", [*spline_flows(steps, pairs), *mades(steps, pairs)], steps)


if __name__ == "__main__":
    main()

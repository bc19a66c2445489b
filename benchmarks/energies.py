"""Training steps of energies and diffusions, one thread: the emitted programs against TorchEBM, azula and plain code.

Every contender trains the emitted network itself, from the same weights on the same batches, with fused Adam and
flushed denormals in torch and one donated `lax.scan` over the block in JAX; what differs is the objective's code, the
chains and the loop. Noise is each program's own, so that losses agree in the mean alone. TorchEBM and azula take part
where they are installed (`pip install --no-deps torchebm azula einops` leaves torch as it is).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.flows import Ours, TorchBlock, prepared  # fixes the thread counts before the libraries load

# isort: split
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks.emitted import torch_network
from benchmarks.energy_peers import BASE, SIGMA, STEP_SIZE, STEPS, AzulaDdpm, torchebm_energy, torchebm_loss
from benchmarks.paired import Ratio, begin, command, compare, table

# Steps of a block: of about a second each, so that what a block costs by itself counts for as little as in a run.
BLOCKS = {"denoising": 100, "persistent": 20, "ddpm": 40}
T, OFFSET = 1000, 0.008
AIM = 0.97
RINGS = {
    "dgmppl": 1,
    "name": "rings",
    "data": {"x": {"dataset": "rings", "size": 4096}},
    "networks": {"net": "mlp([128, 128], activation=softplus)"},
    "model": {"x": f"Energy(net, base=Normal(0, {BASE}))"},
    "train": {"optimizer": "adam(1e-3)", "batch_size": 256, "steps": 1000},
}
SPECS: dict[str, dict[str, Any]] = {
    "denoising": {**RINGS, "objective": f"denoising_score_matching(sigma={SIGMA})"},
    "persistent": {
        **RINGS,
        "objective": f"contrastive_divergence(steps={STEPS}, step_size={STEP_SIZE}, persistent=True)",
    },
    "ddpm": {
        "dgmppl": 1,
        "name": "ddpm",
        "data": {
            "x": {"dataset": "digits.images", "transform": ["flatten()", "dequantize(17)", "standardize(per=all)"]}
        },
        "networks": {"net": "mlp([256, 256, 256], activation=silu, time=embedding(64))"},
        "model": {"x": f"Diffusion(net, schedule=cosine(), steps={T}, predict=noise, weighting=simple)"},
        "train": {"optimizer": "adam(1e-3)", "batch_size": 128, "steps": 1000},
    },
}


# ---- torch -----------------------------------------------------------------------------------------------------------


class TorchLoss(torch.nn.Module):
    """A hand-written objective of a network."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net


class TorchDenoising(TorchLoss):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        eps = torch.randn_like(x)
        noisy = (x + SIGMA * eps).requires_grad_()
        energy = self.net(noisy).sum() + 0.5 * noisy.square().sum() / BASE**2
        (slope,) = torch.autograd.grad(energy, noisy, create_graph=True)
        return 0.5 * (eps / SIGMA - slope).square().sum() / len(x)


class TorchPersistent(TorchLoss):
    def __init__(self, net: torch.nn.Module, rows: int) -> None:
        super().__init__(net)
        self.chains = BASE * torch.randn(rows, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chains = self.chains
        for _ in range(STEPS):
            point = chains.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.net(point).sum(), point)
            drift = slope + chains / BASE**2
            chains = chains - STEP_SIZE * drift + math.sqrt(2.0 * STEP_SIZE) * torch.randn_like(chains)
        self.chains = chains.detach()
        return self.net(x).mean() - self.net(self.chains).mean()


class TorchDdpm(TorchLoss):
    """Times stratified over the batch, as the emitted program draws them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = len(x)
        place = ((torch.arange(rows) + torch.rand(rows)) / rows * T).floor().clamp(max=T - 1) / (T - 1)
        alpha = torch.cos((place + OFFSET) / (1.0 + OFFSET) * math.pi / 2).clamp(1e-4, 1 - 1e-4)[:, None]
        eps = torch.randn_like(x)
        found = self.net(alpha * x + torch.sqrt(1.0 - alpha**2) * eps, place)
        return (found - eps).square().sum() / rows


# ---- JAX -------------------------------------------------------------------------------------------------------------

JaxLoss = Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def jax_energy(net: Any, x: jax.Array) -> jax.Array:
    value: jax.Array = net(x) + 0.5 * jnp.square(x).sum(-1) / BASE**2
    return value


def jax_denoising(net: Any, x: jax.Array, chains: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    eps = jax.random.normal(key, x.shape)
    slope = jax.grad(lambda point: jax_energy(net, point).sum())(x + SIGMA * eps)
    return 0.5 * jnp.square(eps / SIGMA - slope).sum(-1).mean(), chains


def jax_persistent(net: Any, x: jax.Array, chains: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    frozen = jax.lax.stop_gradient(net)
    slope = jax.grad(lambda point: jax_energy(frozen, point).sum())

    def move(place: jax.Array, eps: jax.Array) -> tuple[jax.Array, None]:
        return place - STEP_SIZE * slope(place) + math.sqrt(2.0 * STEP_SIZE) * eps, None

    end = jax.lax.scan(move, chains, jax.random.normal(key, (STEPS, *chains.shape)))[0]
    return jax_energy(net, x).mean() - jax_energy(net, end).mean(), end


def jax_ddpm(net: Any, x: jax.Array, chains: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows, (first, second) = len(x), jax.random.split(key)
    place = jnp.floor((jnp.arange(rows) + jax.random.uniform(first, (rows,))) / rows * T).clip(max=T - 1) / (T - 1)
    alpha = jnp.cos((place + OFFSET) / (1.0 + OFFSET) * math.pi / 2).clip(1e-4, 1 - 1e-4)[:, None]
    eps = jax.random.normal(second, x.shape)
    found = net(alpha * x + jnp.sqrt(1.0 - alpha**2) * eps, place)
    return jnp.square(found - eps).sum(-1).mean(), chains


class JaxBlock:
    """One donated scan over the block; parameters, chains and the optimizer's state are carried."""

    def __init__(self, net: Any, loss: JaxLoss, data: np.ndarray, rows: np.ndarray) -> None:
        parameters, static = eqx.partition(net, eqx.is_inexact_array)
        optimizer = optax.adam(1e-3)

        def step(carry: Any, batch: jax.Array) -> Any:
            parameters, state, chains, key, count, data = carry

            def value(own: Any) -> Any:
                return loss(eqx.combine(own, static), data[batch], chains, jax.random.fold_in(key, count))

            (found, chains), slopes = jax.value_and_grad(value, has_aux=True)(parameters)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(parameters, updates), state, chains, key, count + 1, data), found

        self.block = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows), donate_argnums=0)
        key = jax.random.key(0)
        chains = BASE * jax.random.normal(key, (rows.shape[1], data.shape[1]))
        parameters = jax.tree.map(jnp.array, parameters)
        self.carry = parameters, optimizer.init(parameters), chains, key, jnp.zeros((), int), jnp.asarray(data, "f4")
        self.rows, self.losses = jnp.asarray(rows), np.zeros(0)

    def __call__(self) -> None:
        self.carry, losses = self.block(self.carry, self.rows)
        self.losses = np.asarray(losses)


# ---- pairs -----------------------------------------------------------------------------------------------------------

_JAX: dict[str, JaxLoss] = {"denoising": jax_denoising, "persistent": jax_persistent, "ddpm": jax_ddpm}


def torch_contenders(kind: str, net: Callable[[], torch.nn.Module], rows: int) -> dict[str, torch.nn.Module]:
    """Plain torch, and the peer that has this objective where it is installed."""
    plain = {
        "denoising": lambda: TorchDenoising(net()),
        "persistent": lambda: TorchPersistent(net(), rows),
        "ddpm": lambda: TorchDdpm(net()),
    }[kind]
    found: dict[str, torch.nn.Module] = {"plain torch, fused Adam": plain()}
    name = "azula" if kind == "ddpm" else "TorchEBM"
    try:
        found[name] = AzulaDdpm(net()) if kind == "ddpm" else torchebm_loss(kind, torchebm_energy(net()), rows)
    except ModuleNotFoundError as error:
        print(f"{name} takes no part: {error}")
    return found


def ratios(kind: str, steps: int, pairs: int) -> list[Ratio]:
    """The emitted programs of one objective against every contender."""
    result: list[Ratio] = []

    def against(name: str, ours: Ours, theirs: Any) -> None:
        result.append(compare(f"{kind}: {name}", ours, theirs, pairs=pairs, target=AIM, warm_up=ours.warm_up))
        print(f"{kind}, {name}: last block's mean loss {theirs.losses.mean():.3f}, ours {ours.losses.mean():.3f}")

    compiled, values, data, rows = prepared(SPECS[kind], "pyro", steps)
    torch.manual_seed(0)
    for name, loss in torch_contenders(kind, lambda: torch_network(compiled, values), rows.shape[1]).items():
        against(name, Ours(compiled, values, data, rows), TorchBlock(loss, data, rows))
    compiled, values, data, rows = prepared(SPECS[kind], "numpyro", steps)
    tree = compiled.executable._program.tree  # type: ignore[attr-defined]
    net = tree.groups(tree.load({name: np.asarray(value, np.float32) for name, value in values.items()}))["net"]
    against("pure JAX, one scan", Ours(compiled, values, data, rows), JaxBlock(net, _JAX[kind], data, rows))
    return result


def main() -> None:
    arguments = command(__doc__)
    arguments.add_argument("--kinds", nargs="+", default=list(SPECS), choices=list(SPECS))
    given = begin(arguments)
    for kind in given.kinds:
        steps, pairs = (5, 3) if given.smoke else (BLOCKS[kind], 20)
        table(f"{kind}, one thread", ratios(kind, steps, pairs), steps)


if __name__ == "__main__":
    main()

"""Training steps of games, one thread: an emitted GAN and WGAN-GP against hand-written torch and pure JAX.

The GAN is that of Goodfellow et al. (2014), the other that of Gulrajani et al. (2017), each of two perceptrons 128-128.

All contenders start from the same weights, and at the same noise they must have the same losses (checked before the
clock starts). The hand-written programs use what an expert knows: fused Adam, flushed denormals, samples without a
graph in the critic's step, gradients of nothing but the moving player's weights; in JAX one donated `lax.scan` over the
block, the critic's steps an inner one. A block is 100 steps of the critic, as in a run.
"""

from __future__ import annotations

import os

os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F

from benchmarks.emitted import Ours, Values, prepared
from benchmarks.paired import Ratio, begin, command, compare, table
from dgmppl.compiler import Compilation

LATENT, LAYERS, BATCH = 2, 3, 256


@dataclass(frozen=True)
class Game:
    """A game.

    Attributes:
        name: as it is called.
        objective: as the spec says it.
        rates: of Adam, for generator and discriminator.
        betas: of Adam, for both.
        critic_steps: steps of the critic for one of the generator.
        constant: what the emitted critic's loss has beside the hand-written one.
    """

    name: str
    objective: str
    rates: tuple[float, float]
    betas: tuple[float, float]
    critic_steps: int = 1
    constant: float = 0.0

    @property
    def spec(self) -> dict[str, Any]:
        """What is compiled."""
        rules = [f"adam({rate}, beta1={self.betas[0]}, beta2={self.betas[1]})" for rate in self.rates]
        return {
            "dgmppl": 1,
            "name": self.name,
            "data": {"x": {"dataset": "eight_gaussians", "size": 8192}},
            "networks": {
                "generator": "mlp([128, 128], activation=relu)",
                "discriminator": "mlp([128, 128], activation=leaky_relu)",
            },
            "model": {"z": f"Normal(0, 1, shape={LATENT})", "x": "generator(z)"},
            "critics": {"x": "discriminator(x)"},
            "objective": self.objective,
            "train": {
                "optimizers": dict(zip(("generator", "discriminator"), rules, strict=True)),
                "batch_size": BATCH,
                "steps": 1000,
            },
        }


GAMES = (
    Game("gan", "adversarial(x)", (1e-4, 1e-4), (0.5, 0.999), constant=-float(np.log(2.0))),
    Game(
        "wgan_gp", "adversarial(x, divergence=wasserstein, penalty=gradient(10), critic_steps=5)", (5e-4, 1e-3),
        (0.0, 0.9), critic_steps=5,
    ),
)  # fmt: skip

# ---- torch -----------------------------------------------------------------------------------------------------------


def perceptron(values: Values, name: str, activation: torch.nn.Module) -> torch.nn.Sequential:
    """A network with the emitted program's weights."""
    parts: list[torch.nn.Module] = []
    for number in range(LAYERS):
        weight, bias = (torch.tensor(values[f"{name}.layers.{number}.{kind}"]).float() for kind in ("weight", "bias"))
        layer = torch.nn.Linear(*reversed(weight.shape))
        layer.load_state_dict({"weight": weight, "bias": bias})
        parts += [layer, activation] if number < LAYERS - 1 else [layer]
    return torch.nn.Sequential(*parts)


class TorchGame:
    """What an expert writes in torch, eagerly or with compiled losses."""

    def __init__(self, game: Game, values: Values, data: np.ndarray, rows: np.ndarray, *, compiled: bool) -> None:
        self.game, self.count = game, 0
        self.generator = perceptron(values, "generator", torch.nn.ReLU())
        self.critic = perceptron(values, "discriminator", torch.nn.LeakyReLU(0.01))
        self.own = [list(network.parameters()) for network in (self.generator, self.critic)]
        self.optimizers = [
            torch.optim.Adam(own, lr=rate, betas=game.betas, fused=True)
            for own, rate in zip(self.own, game.rates, strict=True)
        ]
        self.data, self.rows = torch.tensor(data, dtype=torch.float32), torch.as_tensor(rows)
        self.random, self.losses = torch.Generator().manual_seed(0), np.zeros(0)
        # torch.compile has no second derivatives: a penalized critic stays eager, its generator does not.
        penalized = game.critic_steps > 1
        self.make = torch.compile(self.generator) if compiled else self.generator
        self.critic_loss = torch.compile(self._critic_loss) if compiled and not penalized else self._critic_loss
        self.model_loss = torch.compile(self._model_loss) if compiled else self._model_loss

    def _critic_loss(self, x: torch.Tensor, fake: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
        real, made = self.critic(x)[:, 0], self.critic(fake)[:, 0]
        if share is None:
            return 0.5 * (F.softplus(-real) + F.softplus(made)).mean()
        point = (x + share[:, None] * (fake - x)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(point).sum(), point, create_graph=True)
        norm = (slope.square().sum(-1) + 1e-12).sqrt()
        return (made - real).mean() + 10.0 * (norm - 1.0).square().mean()

    def _model_loss(self, z: torch.Tensor) -> torch.Tensor:
        made = self.critic(self.generator(z))[:, 0]
        return -made.mean() if self.game.critic_steps > 1 else 0.5 * F.softplus(-made).mean()

    def noise(self, rows: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        z = torch.randn(rows, LATENT, generator=self.random)
        return z, torch.rand(rows, generator=self.random) if self.game.critic_steps > 1 else None

    def move(self, player: int, loss: torch.Tensor) -> torch.Tensor:
        gradients = torch.autograd.grad(loss, self.own[player])
        for leaf, slope in zip(self.own[player], gradients, strict=True):
            leaf.grad = slope
        self.optimizers[player].step()
        return loss.detach()

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        x, (z, share) = self.data[rows], self.noise(len(rows))
        with torch.no_grad():
            fake = self.make(z)
        loss = self.move(1, self.critic_loss(x, fake, share))
        self.count += 1
        if self.count % self.game.critic_steps == 0:
            self.move(0, self.model_loss(self.noise(len(rows))[0]))
        return loss

    def __call__(self) -> None:
        self.losses = torch.stack([self.step(rows) for rows in self.rows]).numpy()


# ---- JAX -------------------------------------------------------------------------------------------------------------


def layers(values: Values, name: str) -> list[tuple[jax.Array, ...]]:
    """A network with the emitted program's weights, torch's layout."""
    places = [f"{name}.layers.{number}" for number in range(LAYERS)]
    return [tuple(jnp.asarray(values[f"{one}.{kind}"], jnp.float32) for kind in ("weight", "bias")) for one in places]


def apply(network: Any, x: jax.Array, activation: Any) -> jax.Array:
    for weight, bias in network[:-1]:
        x = activation(x @ weight.T + bias)
    return x @ network[-1][0].T + network[-1][1]


class JaxGame:
    """What an expert writes in JAX."""

    def __init__(self, game: Game, values: Values, data: np.ndarray, rows: np.ndarray) -> None:
        self.game, self.losses = game, np.zeros(0)
        self.optimizers = [optax.adam(rate, *game.betas) for rate in game.rates]
        networks = [layers(values, name) for name in ("generator", "discriminator")]
        states = [rule.init(network) for rule, network in zip(self.optimizers, networks, strict=True)]
        self.carry = networks, states, jnp.asarray(data, jnp.float32), jax.random.key(0)
        self.rows = jnp.asarray(rows).reshape(-1, game.critic_steps, rows.shape[-1])
        self.block = jax.jit(lambda carry, rows: jax.lax.scan(self.step, carry, rows), donate_argnums=0)

    def make(self, generator: Any, z: jax.Array) -> jax.Array:
        return apply(generator, z, jax.nn.relu)

    def judge(self, critic: Any, x: jax.Array) -> jax.Array:
        return apply(critic, x, jax.nn.leaky_relu)[:, 0]

    def critic_loss(self, critic: Any, x: jax.Array, fake: jax.Array, share: jax.Array | None) -> jax.Array:
        real, made = self.judge(critic, x), self.judge(critic, fake)
        if share is None:
            return 0.5 * (jax.nn.softplus(-real) + jax.nn.softplus(made)).mean()
        slope = jax.grad(lambda point: self.judge(critic, point).sum())(x + share[:, None] * (fake - x))
        norm = jnp.sqrt(jnp.square(slope).sum(-1) + 1e-12)
        return (made - real).mean() + 10.0 * jnp.square(norm - 1.0).mean()

    def model_loss(self, generator: Any, critic: Any, z: jax.Array) -> jax.Array:
        made = self.judge(critic, self.make(generator, z))
        return -made.mean() if self.game.critic_steps > 1 else 0.5 * jax.nn.softplus(-made).mean()

    def moved(self, player: int, slopes: Any, network: Any, state: Any) -> tuple[Any, Any]:
        updates, state = self.optimizers[player].update(slopes, state)
        return optax.apply_updates(network, updates), state

    def critic_step(self, generator: Any, data: jax.Array, carry: Any, rows: jax.Array) -> Any:
        critic, state, key = carry
        key, for_z, for_share = jax.random.split(key, 3)
        z = jax.random.normal(for_z, (len(rows), LATENT))
        share = jax.random.uniform(for_share, (len(rows),)) if self.game.critic_steps > 1 else None
        loss, slopes = jax.value_and_grad(self.critic_loss)(critic, data[rows], self.make(generator, z), share)
        return (*self.moved(1, slopes, critic, state), key), loss

    def step(self, carry: Any, rows: jax.Array) -> Any:
        (generator, critic), (first, second), data, key = carry

        def inner(carry: Any, rows: jax.Array) -> Any:
            return self.critic_step(generator, data, carry, rows)

        (critic, second, key), losses = jax.lax.scan(inner, (critic, second, key), rows)
        key, for_z = jax.random.split(key)
        z = jax.random.normal(for_z, (rows.shape[-1], LATENT))
        generator, first = self.moved(0, jax.grad(self.model_loss)(generator, critic, z), generator, first)
        return ([generator, critic], [first, second], data, key), losses

    def __call__(self) -> None:
        self.carry, losses = self.block(self.carry, self.rows)
        self.losses = np.asarray(losses).ravel()


# ---- pairs -----------------------------------------------------------------------------------------------------------


def check(game: Game, compiled: Compilation, values: Values, data: np.ndarray, torch_game: Any, jax_game: Any) -> None:
    """The losses of both players, of every contender, at the same weights, data and noise."""
    generator, batch = np.random.default_rng(1), {"x": data[:BATCH]}
    z, share = generator.normal(size=(BATCH, LATENT)), generator.uniform(size=BATCH)
    between = share if game.critic_steps > 1 else None
    noise = {"z@model": z, "x@between": share}
    ours = [
        compiled.executable.loss("critic", values, batch, noise=noise)[0] - game.constant,
        compiled.executable.loss("model", values, batch, noise=noise)[0] - 0.5 * game.constant,
    ]
    x, tensors = data[:BATCH], [None if a is None else torch.tensor(a).float() for a in (data[:BATCH], z, between)]
    fake = torch_game.generator(tensors[1]).detach()
    theirs = torch_game._critic_loss(tensors[0], fake, tensors[2]), torch_game._model_loss(tensors[1])
    np.testing.assert_allclose([one.item() for one in theirs], ours, rtol=1e-4)
    (make, judge), *_ = jax_game.carry
    made = jax_game.make(make, jnp.asarray(z, jnp.float32))
    losses = (
        jax_game.critic_loss(judge, jnp.asarray(x, jnp.float32), made, between),
        jax_game.model_loss(make, judge, z),
    )
    np.testing.assert_allclose([float(one) for one in losses], ours, rtol=1e-4)


def ratios(game: Game, steps: int, pairs: int) -> list[Ratio]:
    """Both emitted programs against their contenders."""
    found = []
    compiled, values, data, rows = prepared(game.spec, "pyro", steps)
    eager = TorchGame(game, values, data, rows, compiled=False)
    check(game, compiled, values, data, eager, JaxGame(game, values, data, rows))
    for name, fast in (("torch, fused Adam", False), ("torch.compile, fused Adam; ours with --compile", True)):
        ours = Ours(compiled, values, data, rows, fused=fast)
        theirs = TorchGame(game, values, data, rows, compiled=fast)
        found.append(compare(f"{game.name}: {name}", ours, theirs, pairs=pairs, target=0.97, warm_up=ours.warm_up))
    compiled, values, data, rows = prepared(game.spec, "numpyro", steps)
    ours, scan = Ours(compiled, values, data, rows), JaxGame(game, values, data, rows)
    found.append(compare(f"{game.name}: pure JAX, one scan", ours, scan, pairs=pairs, target=0.97))
    return found


def main() -> None:
    steps, pairs = (20, 4) if begin(command(__doc__)).smoke else (100, 20)
    for game in GAMES:
        table(f"{game.name}, one thread", ratios(game, steps, pairs), steps)


if __name__ == "__main__":
    main()

"""VAE 784-400-400-20, batch 128, one thread: the emitted Pyro program against hand-written torch and Pyro.

All contenders start from the same weights and must reach the same loss: the noise differs, so losses are compared by
their mean over the last block, within four standard errors.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.infer import SVI, Trace_ELBO

from benchmarks.emitted import Ours
from benchmarks.paired import compare, table
from dgmppl.compiler import compile_spec
from dgmppl.ir.parameters import initial_values

STEPS, BATCH, LATENT = 100, 128, 20  # the block of steps that a run takes at a time


class Perceptron(torch.nn.Module):
    """784-400-400-40 or 20-400-400-784."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def networks(values: dict[str, np.ndarray]) -> tuple[Perceptron, Perceptron]:
    encoder, decoder = Perceptron([784, 400, 400, 2 * LATENT]), Perceptron([LATENT, 400, 400, 784])
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        state = {key.removeprefix(f"{name}."): torch.tensor(value, dtype=torch.float32)
                 for key, value in values.items() if key.startswith(f"{name}.")}  # fmt: skip
        network.load_state_dict(state)
    return encoder, decoder


class PlainTorch:
    """What an expert writes: analytic KL, fused Adam, zero_grad to None."""

    def __init__(self, values: dict[str, np.ndarray], data: torch.Tensor, rows: np.ndarray) -> None:
        self.encoder, self.decoder = networks(values)
        self.parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)
        self.data, self.rows, self.losses = data, torch.as_tensor(rows), []
        self.generator = torch.Generator().manual_seed(0)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.data[rows]
        loc, raw = self.encoder(x).chunk(2, dim=-1)
        scale = F.softplus(raw) + 1e-6
        z = loc + scale * torch.randn(loc.shape, generator=self.generator)
        kl = 0.5 * (loc.square() + scale.square() - 1) - scale.log()
        nll = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        loss = (nll + kl.sum()) / len(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def __call__(self) -> None:
        self.losses = torch.stack([self.step(rows) for rows in self.rows]).tolist()


class HandPyro:
    """A Pyro model and guide trained with SVI, as its tutorial does."""

    def __init__(self, values: dict[str, np.ndarray], data: torch.Tensor, rows: np.ndarray) -> None:
        self.encoder, self.decoder = networks(values)
        pyro.clear_param_store()
        self.data, self.rows, self.losses = data, torch.as_tensor(rows), []
        self.svi = SVI(self.model, self.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())

    def model(self, x: torch.Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, raw = self.encoder(x).chunk(2, dim=-1)
            pyro.sample("z", dist.Normal(loc, F.softplus(raw) + 1e-6).to_event(1))

    def __call__(self) -> None:
        self.losses = [self.svi.step(self.data[rows]) / len(rows) for rows in self.rows]


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the emitted program's training loop does
    compiled = compile_spec(Path(__file__).with_name("vae.yaml"), backend="pyro")
    values = initial_values(compiled.module.parameters, 0)
    images = np.load(Path(__file__).parent / "data" / "mnist10k.npz")["train_images"]
    data = (images.reshape(len(images), -1) > 127).astype(np.float64)
    rows = np.random.default_rng(0).integers(0, len(data), (STEPS, BATCH))
    tensor = torch.tensor(data, dtype=torch.float32)
    contenders = {"plain torch, fused Adam": (PlainTorch, 0.97), "hand-written Pyro SVI": (HandPyro, 1.4)}
    ratios = []
    for name, (build, target) in contenders.items():
        ours = Ours(compiled, values, data, rows)
        theirs = build(values, tensor, rows)
        ratios.append(compare(name, ours, theirs, target=target, warm_up=ours.warm_up))
        print(f"{name}: last block's mean loss {np.mean(theirs.losses):.3f} nats, ours {np.mean(ours.losses):.3f}")
    table("VAE 784-400-400-20, batch 128, one thread, torch", ratios, STEPS)


if __name__ == "__main__":
    main()

"""conditional-gan: compiled by dgmppl from conditional_gan.yaml (sha256 8df92f551d9b), backend pyro.

p(x, z | y) = p(z) p(x | y, z)
minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    D_JS(p_data ‖ p_model)
minimize  −E_{p}[T(x)]    D_JS(p_data ‖ p_model), by the non-saturating variant of its descent
"""

import math

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import draws, operations, programs


class Generator(nn.Module):
    """[16], [10] -> out [64]; mlp([128, 128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(26, 128), nn.Linear(128, 128), nn.Linear(128, 64)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.relu(self.layers[0](h))
        h = F.relu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(nn.Module):
    """[64], [10] -> out []; mlp([128, 128]), leaky_relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(74, 128), nn.Linear(128, 128), nn.Linear(128, 1)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.leaky_relu(self.layers[0](h), 0.01)
        h = F.leaky_relu(self.layers[1](h), 0.01)
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"generator": Generator, "discriminator": Discriminator}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"generator": Generator(), "discriminator": Discriminator()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.generator_ = parameters["generator"]

    def forward(self, y, *, rows=1797, size=None):
        like = self.like
        generator_ = self.generator_
        size = len(y)
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            z = pyro.sample("z", dist.Normal(like.new_zeros(16), 1.0).to_event(1))
            generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
            x = pyro.deterministic("x", generator_out, event_dim=1)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 16))},
    "loss_model": {"z@model": ("normal", ("data", 16))},
    "sample": {"z": ("normal", ("data", 16))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    (nats per datum)"""
    generator_ = other["generator"]
    discriminator = own["discriminator"]
    like = noise["z@model"]
    x = batch["x"]
    y = batch["y"]
    z = noise["z@model"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 64]
    discriminator_out = discriminator(x_sides, operations.one_hot(y, 10, like))  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))
    loss = (-divergence).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{p}[T(x)]    (nats per datum)"""
    generator_ = own["generator"]
    discriminator = other["discriminator"]
    like = noise["z@model"]
    y = batch["y"]
    # the critic on samples of the model
    z = noise["z@model"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    discriminator_out = discriminator(generator_out, operations.one_hot(y, 10, like))  # [B]
    loss = (-(0.5 * (math.log(2) - operations.softplus(-discriminator_out)))).mean()  # []
    return loss, state, {"loss": loss}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    generator_ = parameters["generator"]
    like = noise["z"]
    y = batch["y"]
    z = noise["z"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    return {"z": z, "x": generator_out}

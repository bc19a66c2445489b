"""gan: compiled by dgmppl from gan.yaml (sha256 b124044b10dd), backend pyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    D_JS(p_data ‖ p_model)
minimize  r1(0.1) on T    the critic's penalty
minimize  −E_{p}[T(x)]    D_JS(p_data ‖ p_model), by the non-saturating variant of its descent
"""

import math

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import derivatives, draws, operations, programs


class Generator(nn.Module):
    """[2] -> out [2]; mlp([128, 128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 2)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(nn.Module):
    """[2] -> out []; mlp([128, 128]), leaky_relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 1)])

    def forward(self, x):
        h = F.leaky_relu(self.layers[0](x), 0.01)
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

    def forward(self, *, rows=8192, size=None):
        like = self.like
        generator_ = self.generator_
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            z = pyro.sample("z", dist.Normal(like.new_zeros(2), 1.0).to_event(1))
            generator_out = generator_(z)  # [B, 2]
            x = pyro.deterministic("x", generator_out, event_dim=1)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 2))},
    "loss_model": {"z@model": ("normal", ("data", 2))},
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]] + r1(0.1) on T    (nats per datum)"""
    generator_ = other["generator"]
    discriminator = own["discriminator"]
    x = batch["x"]
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 2]
    discriminator_out = discriminator(x_sides)  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))

    def critic(point):
        discriminator_out_ = discriminator(point)  # [B]
        return discriminator_out_
    slope = derivatives.gradient(critic, x, 1)  # [B, 2]
    loss = (-divergence).mean() + (0.5 * 0.1 * torch.square(slope).sum(-1)).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{p}[T(x)]    (nats per datum)"""
    generator_ = own["generator"]
    discriminator = other["discriminator"]
    # the critic on samples of the model
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    discriminator_out = discriminator(generator_out)  # [B]
    loss = (-(0.5 * (math.log(2) - operations.softplus(-discriminator_out)))).mean()  # []
    return loss, state, {"loss": loss}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    generator_ = parameters["generator"]
    z = noise["z"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    return {"z": z, "x": generator_out}

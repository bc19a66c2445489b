"""bigan: compiled by dgmppl from bigan.yaml (sha256 39c464e05cce), backend pyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data q}[T(x, z)] − E_{p}[f*(T(x, z))]]    D_JS(p_data(x) q(z | x) ‖ p(z) p(x | z))
minimize  E_{p_data q}[f*(T(x, z))] − E_{p}[T(x, z)]    D_JS(p_data(x) q(z | x) ‖ p(z) p(x | z)), by the
non-saturating variant of its descent
"""

import math

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import draws, operations, programs


class Generator(nn.Module):
    """[2] -> out [2]; mlp([128, 128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 2)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        return self.layers[2](h)


class Encoder(nn.Module):
    """[2] -> out [2]; mlp([128, 128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 2)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(nn.Module):
    """[2], [2] -> out []; mlp([128, 128]), leaky_relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 128), nn.Linear(128, 128), nn.Linear(128, 1)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.leaky_relu(self.layers[0](h), 0.01)
        h = F.leaky_relu(self.layers[1](h), 0.01)
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"generator": Generator, "encoder": Encoder, "discriminator": Discriminator}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"generator": Generator(), "encoder": Encoder(), "discriminator": Discriminator()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.generator_ = parameters["generator"]

    def forward(self, x=None, *, rows=8192, size=None):
        like = self.like
        generator_ = self.generator_
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            z = pyro.sample("z", dist.Normal(like.new_zeros(2), 1.0).to_event(1))
            generator_out = generator_(z)  # [B, 2]
            x = pyro.deterministic("x", generator_out, event_dim=1)


class Guide(programs.LocalModule):
    """the variational posterior, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.encoder = parameters["encoder"]

    def forward(self, x=None, *, rows=8192, size=None):
        encoder = self.encoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            encoder_out = encoder(x)  # [B, 2]
            z = pyro.deterministic("z", encoder_out, event_dim=1)


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


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
    """minimize  −[E_{p_data q}[T(x, z)] − E_{p}[f*(T(x, z))]]    (nats per datum)"""
    encoder = other["encoder"]
    generator_ = other["generator"]
    discriminator = own["discriminator"]
    x = batch["x"]
    encoder_out = encoder(x)  # [B, 2]
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 2]
    z_sides = operations.stack([encoder_out, z], -3)  # [sides, B, 2]
    discriminator_out = discriminator(x_sides, z_sides)  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))
    loss = (-divergence).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  E_{p_data q}[f*(T(x, z))] − E_{p}[T(x, z)]    (nats per datum)"""
    encoder = own["encoder"]
    generator_ = own["generator"]
    discriminator = other["discriminator"]
    x = batch["x"]
    encoder_out = encoder(x)  # [B, 2]
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 2]
    z_sides = operations.stack([encoder_out, z], -3)  # [sides, B, 2]
    discriminator_out = discriminator(x_sides, z_sides)  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # []
    loss = (
        0.5 * (operations.softplus(critic_data) - math.log(2))
        - 0.5 * (math.log(2) - operations.softplus(-critic_fake))
    ).mean()
    return loss, state, {"loss": loss}


def encode(parameters, batch):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    x = batch["x"]
    encoder_out = encoder(x)  # [B, 2]
    return {"z": encoder_out[..., None, :, :]}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    generator_ = parameters["generator"]
    z = noise["z"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    return {"z": z, "x": generator_out}

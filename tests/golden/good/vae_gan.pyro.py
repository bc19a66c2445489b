"""vae-gan: compiled by dgmppl from vae_gan.yaml (sha256 69ea432ec080), backend pyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    D_JS(p_data ‖ p_model)
minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    E_data[log p(x)]
minimize  −E_{p}[T(x)]    D_JS(p_data ‖ p_model), by the non-saturating variant of its descent
"""

import math

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import densities, draws, networks, operations, programs


class Encoder(nn.Module):
    """[64] -> loc [16], scale [16]; mlp([256, 256]), silu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 256), nn.Linear(256, 256), nn.Linear(256, 32)])

    def forward(self, x):
        h = F.silu(self.layers[0](x))
        h = F.silu(self.layers[1](h))
        h = self.layers[2](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Decoder(nn.Module):
    """[16] -> loc [64]; mlp([256, 256]), silu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 256), nn.Linear(256, 256), nn.Linear(256, 64)])

    def forward(self, x):
        h = F.silu(self.layers[0](x))
        h = F.silu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(nn.Module):
    """[64] -> out []; mlp([128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 128), nn.Linear(128, 1)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "discriminator": Discriminator}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "decoder": Decoder(), "discriminator": Discriminator()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.decoder = parameters["decoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        decoder = self.decoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            z = pyro.sample("z", dist.Normal(like.new_zeros(16), 1.0).to_event(1))
            decoder_loc = decoder(z)  # [B, 64]
            x = pyro.sample("x", dist.Normal(decoder_loc, 0.5).to_event(1), obs=x)


class Guide(programs.LocalModule):
    """the variational posterior, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.encoder = parameters["encoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        encoder = self.encoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
            z = pyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 16)), "x@model": ("normal", ("data", 64))},
    "loss_model": {
        "z": ("normal", ("data", 16)),
        "z@model": ("normal", ("data", 16)),
        "x@model": ("normal", ("data", 64)),
    },
    "elbo": {"z": ("normal", ("particles", "data", 16))},
    "log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"z": ("normal", ("particles", "data", 16))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("normal", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    (nats per datum)"""
    decoder = other["decoder"]
    discriminator = own["discriminator"]
    x = batch["x"]
    z = noise["z@model"]  # [B, 16]
    decoder_loc = decoder(z)  # [B, 64]
    x_ = decoder_loc + 0.5 * noise["x@model"]  # [B, 64]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, x_], -3)  # [sides, B, 64]
    discriminator_out = discriminator(x_sides)  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))
    loss = (-divergence).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))] − E_{p}[T(x)]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    discriminator = other["discriminator"]
    x = batch["x"]
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_loc = decoder(z)  # [B, 64]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [B]
    # the critic on samples of the model
    z_ = noise["z@model"]  # [B, 16]
    decoder_loc_ = decoder(z_)  # [B, 64]
    x_ = decoder_loc_ + 0.5 * noise["x@model"]  # [B, 64]
    discriminator_out = discriminator(x_)  # [B]
    # []
    loss = (
        (kl_z - densities.normal(x, decoder_loc, 0.5).sum(-1)).mean()
        + 0.1 * (-(0.5 * (math.log(2) - operations.softplus(-discriminator_out)))).mean()
    )
    return loss, state, {"loss": loss, "kl_z": kl_z.mean()}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) − KL(q(z|x) ‖ p(z))], averaged over particles: [B], nats, a lower bound on log p
    in expectation.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    x = batch["x"]
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_loc = decoder(z)  # [K, B, 64]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [B]
    return (densities.normal(x, decoder_loc, 0.5).sum(-1) - kl_z).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    x = batch["x"]
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_loc = decoder(z)  # [K, B, 64]
    return (
        densities.normal(x, decoder_loc, 0.5).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    x = batch["x"]
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    return {"z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    decoder = parameters["decoder"]
    z = noise["z"]  # [B, 16]
    decoder_loc = decoder(z)  # [B, 64]
    x = decoder_loc + 0.5 * noise["x"]  # [B, 64]
    return {"z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    z = batch["z"]
    decoder_loc = decoder(z)  # [B, 64]
    return {"x.loc": decoder_loc, "x.scale": 0.5}

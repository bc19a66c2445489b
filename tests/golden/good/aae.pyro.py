"""aae: compiled by dgmppl from aae.yaml (sha256 de0cc2cef1f1), backend pyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{q}[T(z)] − E_{p}[f*(T(z))]]    D_JS(q(z) ‖ p(z))
minimize  −E_{q(z|x)}[log p(x|z) − log r(z)]    E_data[log p(x)]
"""

import math

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import densities, draws, operations, programs


class Encoder(nn.Module):
    """[64], [4] -> out [16]; mlp([256, 256]), silu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(68, 256), nn.Linear(256, 256), nn.Linear(256, 16)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.silu(self.layers[0](h))
        h = F.silu(self.layers[1](h))
        return self.layers[2](h)


class Decoder(nn.Module):
    """[16] -> logits [64]; mlp([256, 256]), silu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 256), nn.Linear(256, 256), nn.Linear(256, 64)])

    def forward(self, x):
        h = F.silu(self.layers[0](x))
        h = F.silu(self.layers[1](h))
        return self.layers[2](h)


class Ratio(nn.Module):
    """[16] -> out []; mlp([64, 64]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 1)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "ratio": Ratio}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "decoder": Decoder(), "ratio": Ratio()}


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
            decoder_logits = decoder(z)  # [B, 64]
            x = pyro.sample(
                "x",
                dist.Bernoulli(logits=decoder_logits).to_event(1),
                obs=None if x is None else x.to(like.dtype),
            )


class Guide(programs.LocalModule):
    """the variational posterior, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.encoder = parameters["encoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        encoder = self.encoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            e = pyro.sample("e", dist.Normal(like.new_zeros(4), 1.0).to_event(1))
            encoder_out = encoder(x.to(like.dtype), e)  # [B, 16]
            z = pyro.deterministic("z", encoder_out, event_dim=1)


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"e@guide": ("normal", ("data", 4)), "z@prior": ("normal", ("data", 16))},
    "loss_model": {"e": ("normal", ("data", 4))},
    "encode": {"e": ("normal", ("particles", "data", 4))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{q}[T(z)] − E_{p}[f*(T(z))]]    (nats per datum)"""
    encoder = other["encoder"]
    ratio = own["ratio"]
    like = noise["e@guide"]
    x = batch["x"].to(like.dtype)
    e = noise["e@guide"]  # [B, 4]
    encoder_out = encoder(x, e)  # [B, 16]
    z = noise["z@prior"]  # [B, 16]
    # the critic on draws of the guide and on draws of the prior
    z_sides = operations.stack([encoder_out, z], -3)  # [sides, B, 16]
    ratio_out = ratio(z_sides)  # [sides, B]
    critic_data = ratio_out[0]  # [B]
    critic_fake = ratio_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))
    loss = (-divergence).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) − log r(z)]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    ratio = other["ratio"]
    like = noise["e"]
    x = batch["x"].to(like.dtype)
    e = noise["e"]  # [B, 4]
    encoder_out = encoder(x, e)  # [B, 16]
    decoder_logits = decoder(encoder_out)  # [B, 64]
    ratio_out = ratio(encoder_out)  # [B]
    loss = (ratio_out - densities.bernoulli_logits(x, decoder_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    like = noise["e"]
    x = batch["x"].to(like.dtype)
    e = noise["e"]  # [K, B, 4]
    encoder_out = encoder(x, e)  # [K, B, 16]
    return {"e": e, "z": encoder_out}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    decoder = parameters["decoder"]
    z = noise["z"]  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    z = batch["z"]
    decoder_logits = decoder(z)  # [B, 64]
    return {"x.logits": decoder_logits}

"""hierarchical-vae: compiled by dgmppl from hierarchical_vae.yaml (sha256 3c579553843b), backend pyro.

p(x, z2, z1) = p(z2) p(z1 | z2) p(x | z1)
minimize  −E_{q(z1|x) q(z2|z1)}[log p(x|z1) + log p(z1|z2) − log q(z1|x) − KL(q(z2|z1) ‖ p(z2))]    E_data[log
p(x)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import densities, draws, networks, programs


class Top(nn.Module):
    """[8] -> loc [16], scale [16]; mlp([128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 128), nn.Linear(128, 32)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Decoder(nn.Module):
    """[16] -> logits [64]; mlp([256]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 256), nn.Linear(256, 64)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        return self.layers[1](h)


class GuideZ1(nn.Module):
    """[64] -> loc [16], scale [16]; mlp([256]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 256), nn.Linear(256, 32)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class GuideZ2(nn.Module):
    """[16] -> loc [8], scale [8]; mlp([128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 128), nn.Linear(128, 16)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :8]
        scale = networks.positive(h[..., 8:])
        return loc, scale


NETWORKS = {"top": Top, "decoder": Decoder, "guide.z1": GuideZ1, "guide.z2": GuideZ2}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"top": Top(), "decoder": Decoder(), "guide.z1": GuideZ1(), "guide.z2": GuideZ2()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.top = parameters["top"]
        self.decoder = parameters["decoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        top = self.top
        decoder = self.decoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            z2 = pyro.sample("z2", dist.Normal(like.new_zeros(8), 1.0).to_event(1))
            top_loc, top_scale = top(z2)  # [B, 16], [B, 16]
            z1 = pyro.sample("z1", dist.Normal(top_loc, top_scale).to_event(1))
            decoder_logits = decoder(z1)  # [B, 64]
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
        self.guide_z1 = parameters["guide.z1"]
        self.guide_z2 = parameters["guide.z2"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        guide_z1 = self.guide_z1
        guide_z2 = self.guide_z2
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            guide_z1_loc, guide_z1_scale = guide_z1(x.to(like.dtype))  # [B, 16], [B, 16]
            z1 = pyro.sample("z1", dist.Normal(guide_z1_loc, guide_z1_scale).to_event(1))
            guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [B, 8], [B, 8]
            z2 = pyro.sample("z2", dist.Normal(guide_z2_loc, guide_z2_scale).to_event(1))


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z1": ("normal", ("data", 16)), "z2": ("normal", ("data", 8))},
    "elbo": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "log_weights": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "encode": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "sample": {"z2": ("normal", ("data", 8)), "z1": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z1|x) q(z2|z1)}[log p(x|z1) + log p(z1|z2) − log q(z1|x) − KL(q(z2|z1) ‖ p(z2))]
    (nats per datum)
    """
    guide_z1 = own["guide.z1"]
    guide_z2 = own["guide.z2"]
    decoder = own["decoder"]
    top = own["top"]
    like = noise["z1"]
    x = batch["x"].to(like.dtype)
    guide_z1_loc, guide_z1_scale = guide_z1(x)  # [B, 16], [B, 16]
    z1 = guide_z1_loc + guide_z1_scale * noise["z1"]  # [B, 16]
    guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [B, 8], [B, 8]
    z2 = guide_z2_loc + guide_z2_scale * noise["z2"]  # [B, 8]
    decoder_logits = decoder(z1)  # [B, 64]
    top_loc, top_scale = top(z2)  # [B, 16], [B, 16]
    kl_z2 = densities.kl_standard_normal(guide_z2_loc, guide_z2_scale).sum(-1)  # [B]
    # []
    loss = (
        kl_z2
        - (
            densities.bernoulli_logits(x, decoder_logits).sum(-1)
            + densities.normal(z1, top_loc, top_scale).sum(-1)
            - densities.normal(z1, guide_z1_loc, guide_z1_scale).sum(-1)
        )
    ).mean()
    return loss, state, {"loss": loss, "kl_z2": kl_z2.mean()}


def elbo(parameters, batch, noise):
    """E_{q(z1|x) q(z2|z1)}[log p(x|z1) + log p(z1|z2) − log q(z1|x) − KL(q(z2|z1) ‖ p(z2))], averaged over
    particles: [B], nats, a lower bound on log p in expectation.
    """
    guide_z1 = parameters["guide.z1"]
    guide_z2 = parameters["guide.z2"]
    decoder = parameters["decoder"]
    top = parameters["top"]
    like = noise["z1"]
    x = batch["x"].to(like.dtype)
    guide_z1_loc, guide_z1_scale = guide_z1(x)  # [B, 16], [B, 16]
    z1 = guide_z1_loc + guide_z1_scale * noise["z1"]  # [K, B, 16]
    guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [K, B, 8], [K, B, 8]
    z2 = guide_z2_loc + guide_z2_scale * noise["z2"]  # [K, B, 8]
    decoder_logits = decoder(z1)  # [K, B, 64]
    top_loc, top_scale = top(z2)  # [K, B, 16], [K, B, 16]
    kl_z2 = densities.kl_standard_normal(guide_z2_loc, guide_z2_scale).sum(-1)  # [K, B]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.normal(z1, top_loc, top_scale).sum(-1)
        - densities.normal(z1, guide_z1_loc, guide_z1_scale).sum(-1)
        - kl_z2
    ).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    guide_z1 = parameters["guide.z1"]
    guide_z2 = parameters["guide.z2"]
    decoder = parameters["decoder"]
    top = parameters["top"]
    like = noise["z1"]
    x = batch["x"].to(like.dtype)
    guide_z1_loc, guide_z1_scale = guide_z1(x)  # [B, 16], [B, 16]
    z1 = guide_z1_loc + guide_z1_scale * noise["z1"]  # [K, B, 16]
    guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [K, B, 8], [K, B, 8]
    z2 = guide_z2_loc + guide_z2_scale * noise["z2"]  # [K, B, 8]
    decoder_logits = decoder(z1)  # [K, B, 64]
    top_loc, top_scale = top(z2)  # [K, B, 16], [K, B, 16]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.normal(z1, top_loc, top_scale).sum(-1)
        - densities.normal(z1, guide_z1_loc, guide_z1_scale).sum(-1)
        + densities.standard_normal(z2).sum(-1)
        - densities.normal(z2, guide_z2_loc, guide_z2_scale).sum(-1)
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    guide_z1 = parameters["guide.z1"]
    guide_z2 = parameters["guide.z2"]
    like = noise["z1"]
    x = batch["x"].to(like.dtype)
    guide_z1_loc, guide_z1_scale = guide_z1(x)  # [B, 16], [B, 16]
    z1 = guide_z1_loc + guide_z1_scale * noise["z1"]  # [K, B, 16]
    guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [K, B, 8], [K, B, 8]
    z2 = guide_z2_loc + guide_z2_scale * noise["z2"]  # [K, B, 8]
    return {"z1": z1, "z2": z2}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    top = parameters["top"]
    decoder = parameters["decoder"]
    z2 = noise["z2"]  # [B, 8]
    top_loc, top_scale = top(z2)  # [B, 16], [B, 16]
    z1 = top_loc + top_scale * noise["z1"]  # [B, 16]
    decoder_logits = decoder(z1)  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"z2": z2, "z1": z1, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    z2 = batch["z2"]
    z1 = batch["z1"]
    decoder_logits = decoder(z1)  # [B, 64]
    return {"x.logits": decoder_logits}

"""latent-ebm: compiled by dgmppl from latent_ebm.yaml (sha256 ac6b0ae025bd), backend pyro.

p(x, z) = [p₀(z) exp(−E(z)) / Z] p(x | z)
minimize  E_{q(z|x)}[∇_θ E(z)] − E_{p(z)}[∇_θ E(z)]    the gradient of −E_q[log p(z)]
minimize  −E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)]    E_data[log p(x)] + log Z_z
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import annealing, densities, distributions, draws, networks, programs, samplers


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
    """[16] -> logits [64]; mlp([256, 256]), silu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 256), nn.Linear(256, 256), nn.Linear(256, 64)])

    def forward(self, x):
        h = F.silu(self.layers[0](x))
        h = F.silu(self.layers[1](h))
        return self.layers[2](h)


class Tilt(nn.Module):
    """[16] -> out []; mlp([64, 64]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 1)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "tilt": Tilt}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "decoder": Decoder(), "tilt": Tilt()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.tilt = parameters["tilt"]
        self.decoder = parameters["decoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        tilt = self.tilt
        decoder = self.decoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_z_(z_value):
                tilt_out = tilt(z_value)  # [B]
                return densities.standard_normal(z_value).sum(-1) - tilt_out

            def draw_z(noise):
                z_start = noise["z.start"]  # [B, 16]

                def log_p_z(z_value_):
                    tilt_out_ = tilt(z_value_)  # [B]
                    return densities.standard_normal(z_value_).sum(-1) - tilt_out_
                # [B, 16]
                z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)
                return z_sampled

            z = pyro.sample(
                "z",
                distributions.Composed(
                    log_p_z_,
                    draw_z,
                    {"z.start": ("normal", (16,)), "z.chain": ("normal", (200, 16))},
                    (16,),
                    dist.constraints.independent(dist.constraints.real, 1),
                    reparameterized=True,
                    like=like,
                ),
            )
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
            encoder_loc, encoder_scale = encoder(x.to(like.dtype))  # [B, 16], [B, 16]
            z = pyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_energy": {
        "z": ("normal", ("data", 16)),
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 60, 16)),
    },
    "loss_model": {"z": ("normal", ("data", 16))},
    "anneal_z": {
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 200, 16)),
        "z.accept": ("uniform", ("data", 200)),
        "z.size": ("uniform", ("data", 200)),
    },
    "anneal_z_back": {
        "z.chain": ("normal", ("data", 200, 16)),
        "z.accept": ("uniform", ("data", 200)),
        "z.size": ("uniform", ("data", 200)),
    },
    "unnormalized_elbo": {"z": ("normal", ("particles", "data", 16))},
    "unnormalized_log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"z": ("normal", ("particles", "data", 16))},
    "sample": {
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 200, 16)),
        "x": ("uniform", ("data", 64)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_energy(own, other, state, batch, noise, step):
    """minimize  E_{q(z|x)}[∇_θ E(z)] − E_{p(z)}[∇_θ E(z)]    (nats per datum)"""
    encoder = other["encoder"]
    tilt = own["tilt"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = (encoder_loc + encoder_scale * noise["z"]).detach()  # [B, 16]
    z_start = noise["z.start"]  # [B, 16]

    def log_p_z(z_value):
        tilt_out = tilt(z_value)  # [B]
        return densities.standard_normal(z_value).sum(-1) - tilt_out
    z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)  # [B, 16]
    tilt_out_ = tilt(z_sampled)  # [B]
    log_p_z_ = densities.standard_normal(z_sampled).sum(-1) - tilt_out_  # [B]
    tilt_out_2 = tilt(z)  # [B]
    log_p_z_2 = densities.standard_normal(z).sum(-1) - tilt_out_2  # [B]
    loss = (log_p_z_ - log_p_z_2).mean()  # []
    return loss, state, {"loss": loss}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    tilt = other["tilt"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    tilt_out = tilt(z)  # [B]
    # []
    loss = (
        densities.normal(z, encoder_loc, encoder_scale).sum(-1)
        - (
            densities.bernoulli_logits(x, decoder_logits).sum(-1)
            + densities.standard_normal(z).sum(-1)
            - tilt_out
        )
    ).mean()
    return loss, state, {"loss": loss}


def unnormalized_z(parameters, batch):
    """log p(z) + log Z: [B], nats."""
    tilt = parameters["tilt"]
    z = batch["z"]
    tilt_out = tilt(z)  # [B]
    return densities.standard_normal(z).sum(-1) - tilt_out


def anneal_z(parameters, batch, noise):
    """annealed importance sampling from the base: one chain per row, log w [B], E[w] = Z."""
    tilt = parameters["tilt"]
    z_start = noise["z.start"]  # [B, 16]

    def log_base_z(z_value):
        return densities.standard_normal(z_value).sum(-1)

    def log_p_z(z_value_):
        tilt_out = tilt(z_value_)  # [B]
        return densities.standard_normal(z_value_).sum(-1) - tilt_out
    # [B, 16]
    z_sampled = annealing.hmc(
        log_base_z,
        log_p_z,
        z_start,
        1,
        noise["z.chain"],
        noise["z.accept"],
        noise["z.size"],
        leapfrog=10,
        reverse=False,
    )
    return {"z": z_sampled[0], "log_weights": z_sampled[1]}


def anneal_z_back(parameters, batch, noise):
    """annealed importance sampling from exact draws of z: one chain per row, log w [B], E[1/w] = 1/Z."""
    tilt = parameters["tilt"]
    z = batch["z"]

    def log_base_z(z_value):
        return densities.standard_normal(z_value).sum(-1)

    def log_p_z(z_value_):
        tilt_out = tilt(z_value_)  # [B]
        return densities.standard_normal(z_value_).sum(-1) - tilt_out
    # [B, 16]
    z_sampled = annealing.hmc(
        log_base_z,
        log_p_z,
        z,
        1,
        noise["z.chain"],
        noise["z.accept"],
        noise["z.size"],
        leapfrog=10,
        reverse=True,
    )
    return {"z": z_sampled[0], "log_weights": z_sampled[1]}


def unnormalized_elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation, up to log Z.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    tilt = parameters["tilt"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    tilt_out = tilt(z)  # [K, B]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - tilt_out
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    ).mean(0)


def unnormalized_log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats, up to log Z."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    tilt = parameters["tilt"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    tilt_out = tilt(z)  # [K, B]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - tilt_out
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    return {"z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]. z is the end of
    langevin(steps=200, step_size=0.01), approximate.
    """
    tilt = parameters["tilt"]
    decoder = parameters["decoder"]
    z_start = noise["z.start"]  # [B, 16]

    def log_p_z(z_value):
        tilt_out = tilt(z_value)  # [B]
        return densities.standard_normal(z_value).sum(-1) - tilt_out
    z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)  # [B, 16]
    decoder_logits = decoder(z_sampled)  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"z": z_sampled, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    z = batch["z"]
    decoder_logits = decoder(z)  # [B, 64]
    return {"x.logits": decoder_logits}

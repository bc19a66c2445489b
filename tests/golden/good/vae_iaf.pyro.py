"""vae-iaf: compiled by dgmppl from vae_iaf.yaml (sha256 6a899f740940), backend pyro.

p(x, z) = p(z) p(x | z)
minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import bijectors, causal, densities, distributions, draws, networks, programs


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


class IafConditioner(nn.Module):
    """[16] -> shift [16], log_scale [16]; made([64], order=raster), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                causal.MaskedLinear(16, 64, (1, 17), (1, 16), 0),
                causal.MaskedLinear(64, 32, (1, 16), (0, 16), 0),
            ],
        )

    def forward(self, x):
        x = causal.number(x, self.layers[0].weight)
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        h = h.reshape(*h.shape[:-1], 16, 2)
        shift = h[..., 0]
        log_scale = h[..., 1]
        return shift, log_scale

    def start(self, batch=()):
        """The cache before the first element."""
        return self.layers[0].room(batch), self.layers[1].room(batch)

    def step(self, cache, i, previous):
        """The cache, and what the network says of the i-th element visited, given the one before."""
        x, h1 = cache
        layer0, layer1 = self.layers
        x = layer0.fill(x, causal.number(previous, layer0.weight)[..., None], i)
        h1 = layer1.fill(h1, F.relu(layer0.units(x, i)), i)
        h = layer1.units(h1, i)
        shift = h[..., 0]
        log_scale = h[..., 1]
        return (x, h1), (shift, log_scale)


class Iaf(bijectors.Chain):
    """z [16] -> x [16]: 2 x (autoregressive(made([64]), affine(), direction=inverse), reverse())."""

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.Autoregressive(IafConditioner(), bijectors.Affine(), 16, direction="inverse"),
                    bijectors.Reverse(16),
                ] for _ in range(2)
            ]
        )


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "iaf": Iaf}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "decoder": Decoder(), "iaf": Iaf()}


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
        self.iaf = parameters["iaf"]
        self.encoder = parameters["encoder"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        iaf = self.iaf
        encoder = self.encoder
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_z(z_value):
                u, u_log_det = iaf.inverse_and_log_det(z_value)  # [B, 16]
                encoder_loc, encoder_scale = encoder(x.to(like.dtype))  # [B, 16], [B, 16]
                return densities.normal(u, encoder_loc, encoder_scale).sum(-1) + u_log_det

            def draw_z(noise):
                encoder_loc_, encoder_scale_ = encoder(x.to(like.dtype))  # [B, 16], [B, 16]
                u_ = encoder_loc_ + encoder_scale_ * noise["u"]  # [B, 16]
                z = iaf.forward(u_)  # [B, 16]
                return z

            z_ = pyro.sample(
                "z",
                distributions.Composed(
                    log_p_z,
                    draw_z,
                    {"u": ("normal", (16,))},
                    (16,),
                    dist.constraints.independent(dist.constraints.real, 1),
                    reparameterized=True,
                    like=like,
                ),
            )


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"u": ("normal", ("data", 16))},
    "elbo": {"u": ("normal", ("particles", "data", 16))},
    "log_weights": {"u": ("normal", ("particles", "data", 16))},
    "encode": {"u": ("normal", ("particles", "data", 16))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    (nats per datum)"""
    encoder = own["encoder"]
    iaf = own["iaf"]
    decoder = own["decoder"]
    like = noise["u"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    u = encoder_loc + encoder_scale * noise["u"]  # [B, 16]
    z, z_log_det = iaf.forward_and_log_det(u)  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    # []
    loss = (
        -(
            densities.bernoulli_logits(x, decoder_logits).sum(-1)
            + densities.standard_normal(z).sum(-1)
            + z_log_det
            - densities.normal(u, encoder_loc, encoder_scale).sum(-1)
        )
    ).mean()
    return loss, state, {"loss": loss}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation.
    """
    encoder = parameters["encoder"]
    iaf = parameters["iaf"]
    decoder = parameters["decoder"]
    like = noise["u"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    u = encoder_loc + encoder_scale * noise["u"]  # [K, B, 16]
    z, z_log_det = iaf.forward_and_log_det(u)  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        + z_log_det
        - densities.normal(u, encoder_loc, encoder_scale).sum(-1)
    ).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    iaf = parameters["iaf"]
    decoder = parameters["decoder"]
    like = noise["u"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    u = encoder_loc + encoder_scale * noise["u"]  # [K, B, 16]
    z, z_log_det = iaf.forward_and_log_det(u)  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        + z_log_det
        - densities.normal(u, encoder_loc, encoder_scale).sum(-1)
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    iaf = parameters["iaf"]
    like = noise["u"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    u = encoder_loc + encoder_scale * noise["u"]  # [K, B, 16]
    z = iaf.forward(u)  # [K, B, 16]
    return {"u": u, "z": z}


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

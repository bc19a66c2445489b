"""vae-ar-decoder: compiled by dgmppl from vae_ar_decoder.yaml (sha256 4aa0b9412bc2), backend pyro.

p(x, z) = p(z) ∏ᵢ p(x[i] | x[<i], z)
minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import causal, densities, distributions, draws, loops, networks, operations, programs


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
    """[64], [16] -> logits [64]; made([256, 256], order=raster), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                causal.MaskedLinear(64, 256, (1, 65), (0, 64), 16),
                causal.MaskedLinear(256, 256, (0, 64), (0, 64), 0),
                causal.MaskedLinear(256, 64, (0, 64), (0, 64), 16),
            ],
        )

    def forward(self, x, c):
        x = causal.number(x, self.layers[0].weight)
        h = F.relu(self.layers[0](operations.concatenate([c, x], -1)))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](operations.concatenate([c, h], -1))
        return h

    def start(self, c, batch=()):
        """The cache before the first element."""
        batch = causal.joint_batch(batch, c)
        return self.layers[0].room(batch, c), self.layers[1].room(batch), self.layers[2].room(batch, c)

    def step(self, cache, i, previous):
        """The cache, and what the network says of the i-th element visited, given the one before."""
        x, h1, h2 = cache
        layer0, layer1, layer2 = self.layers
        x = layer0.fill(x, causal.number(previous, layer0.weight)[..., None], i)
        h1 = layer1.fill(h1, F.relu(layer0.units(x, i)), i)
        h2 = layer2.fill(h2, F.relu(layer1.units(h1, i)), i)
        h = layer2.units(h2, i)
        return (x, h1, h2), h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "decoder": Decoder()}


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

            def log_p_x(x_value):
                decoder_logits = decoder(x_value, z)  # [B, 64]
                return densities.bernoulli_logits(x_value, decoder_logits).sum(-1)

            def draw_x(noise):

                def element_of_x(carry, inputs, i):
                    decoder_cache, x_previous = carry
                    noise_now, = inputs
                    decoder_cache_, decoder_logits_ = decoder.step(decoder_cache, i, x_previous)
                    x_now = draws.bernoulli_logits(decoder_logits_, noise_now)  # [B]
                    return (decoder_cache_, x_now), (x_now,)

                x_, = loops.scan(
                    element_of_x,
                    (decoder.start(z, batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
                    [(noise["x"], 0)],
                    (0,),
                    range(0, 64),
                )
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"x": ("uniform", (64,))},
                    (64,),
                    dist.constraints.independent(dist.constraints.boolean, 1),
                    reparameterized=False,
                    like=like,
                ),
                obs=x,
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
    "loss_model": {"z": ("normal", ("data", 16))},
    "elbo": {"z": ("normal", ("particles", "data", 16))},
    "log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"z": ("normal", ("particles", "data", 16))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
    "complete": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_logits = decoder(x, z)  # [B, 64]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [B]
    loss = (kl_z - densities.bernoulli_logits(x, decoder_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss, "kl_z": kl_z.mean()}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) − KL(q(z|x) ‖ p(z))], averaged over particles: [B], nats, a lower bound on log p
    in expectation.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(x, z)  # [K, B, 64]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [B]
    return (densities.bernoulli_logits(x, decoder_logits).sum(-1) - kl_z).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(x, z)  # [K, B, 64]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
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
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    decoder = parameters["decoder"]
    like = noise["z"]
    z = noise["z"]  # [B, 16]

    def element_of_x(carry, inputs, i):
        decoder_cache, x_previous = carry
        noise_now, = inputs
        decoder_cache_, decoder_logits = decoder.step(decoder_cache, i, x_previous)
        x_now = draws.bernoulli_logits(decoder_logits, noise_now)  # [B]
        return (decoder_cache_, x_now), (x_now,)

    x, = loops.scan(
        element_of_x,
        (decoder.start(z, batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
        [(noise["x"], 0)],
        (0,),
        range(0, 64),
    )
    return {"z": z, "x": x}


def complete(parameters, batch, noise):
    """one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."""
    decoder = parameters["decoder"]
    like = noise["z"]
    x_given = batch["x.given"]
    x = batch["x"].to(like.dtype)
    z = noise["z"]  # [B, 16]

    def element_of_x(carry, inputs, i):
        decoder_cache, x_previous = carry
        noise_now, x_given_now, x_now = inputs
        decoder_cache_, decoder_logits = decoder.step(decoder_cache, i, x_previous)
        x_now_ = torch.where(x_given_now, x_now, draws.bernoulli_logits(decoder_logits, noise_now))  # [B]
        return (decoder_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (decoder.start(z, batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
        [(noise["x"], 0), (x_given, 0), (x, 0)],
        (0,),
        range(0, 64),
    )
    return {"z": z, "x": x_}

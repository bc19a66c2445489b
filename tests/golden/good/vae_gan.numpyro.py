"""vae-gan: compiled by dgmppl from vae_gan.yaml (sha256 69ea432ec080), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    D_JS(p_data ‖ p_model)
minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    E_data[log p(x)]
minimize  −E_{p}[T(x)]    D_JS(p_data ‖ p_model), by the non-saturating variant of its descent
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import densities, draws, networks, operations


class Encoder(eqx.Module):
    """[64] -> loc [16], scale [16]; mlp([256, 256]), silu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(64, 256, keys[0]),
            networks.Linear(256, 256, keys[1]),
            networks.Linear(256, 32, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.silu(self.layers[0](x))
        h = jax.nn.silu(self.layers[1](h))
        h = self.layers[2](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Decoder(eqx.Module):
    """[16] -> loc [64]; mlp([256, 256]), silu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(16, 256, keys[0]),
            networks.Linear(256, 256, keys[1]),
            networks.Linear(256, 64, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.silu(self.layers[0](x))
        h = jax.nn.silu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(eqx.Module):
    """[64] -> out []; mlp([128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(64, 128, keys[0]), networks.Linear(128, 1, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "discriminator": Discriminator}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1]), "discriminator": Discriminator(keys[2])}


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    decoder = eqx_module("decoder", parameters["decoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(16), 1.0).to_event(1))
        decoder_loc = decoder(z)  # [B, 64]
        x = numpyro.sample("x", dist.Normal(decoder_loc, 0.5).to_event(1), obs=x)


def guide(parameters, x=None, *, rows=1617, size=None):
    """the variational posterior, as a program of the library."""
    encoder = eqx_module("encoder", parameters["encoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
        z = numpyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


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


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


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

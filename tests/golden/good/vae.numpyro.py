"""vae: compiled by dgmppl from vae.yaml (sha256 c6fa9a5adb4c), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    E_data[log p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import densities, draws, networks


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
    """[16] -> logits [64]; mlp([256, 256]), silu."""

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


NETWORKS = {"encoder": Encoder, "decoder": Decoder}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 2)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1])}


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    decoder = eqx_module("decoder", parameters["decoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(16), 1.0).to_event(1))
        decoder_logits = decoder(z)  # [B, 64]
        x = numpyro.sample("x", dist.Bernoulli(logits=decoder_logits).to_event(1), obs=x)


def guide(parameters, x=None, *, rows=1617, size=None):
    """the variational posterior, as a program of the library."""
    encoder = eqx_module("encoder", parameters["encoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        encoder_loc, encoder_scale = encoder(x.astype(float))  # [B, 16], [B, 16]
        z = numpyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z": ("normal", ("data", 16))},
    "elbo": {"z": ("normal", ("particles", "data", 16))},
    "log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"z": ("normal", ("particles", "data", 16))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
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
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [B]
    return (densities.bernoulli_logits(x, decoder_logits).sum(-1) - kl_z).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    return {"z": z}


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

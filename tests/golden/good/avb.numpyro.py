"""avb: compiled by dgmppl from avb.yaml (sha256 1edf47d5b9fa), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{q}[T(z)] − E_{p}[f*(T(z))]]    D_JS(p_data(x) q(z | x) ‖ p_data(x) p(z))
minimize  −E_{q(z|x)}[log p(x|z) − log r(z)]    E_data[log p(x)]
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
    """[64], [8] -> out [16]; mlp([256, 256]), silu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(72, 256, keys[0]),
            networks.Linear(256, 256, keys[1]),
            networks.Linear(256, 16, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.silu(self.layers[0](h))
        h = jax.nn.silu(self.layers[1](h))
        return self.layers[2](h)


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


class Ratio(eqx.Module):
    """[64], [16] -> out []; mlp([128, 128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(80, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 1, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        h = jax.nn.relu(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "ratio": Ratio}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1]), "ratio": Ratio(keys[2])}


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
        e = numpyro.sample("e", dist.Normal(jnp.zeros(8), 1.0).to_event(1))
        encoder_out = encoder(x.astype(float), e)  # [B, 16]
        z = numpyro.deterministic("z", encoder_out)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"e@guide": ("normal", ("data", 8)), "z@prior": ("normal", ("data", 16))},
    "loss_model": {"e": ("normal", ("data", 8))},
    "encode": {"e": ("normal", ("particles", "data", 8))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{q}[T(z)] − E_{p}[f*(T(z))]]    (nats per datum)"""
    encoder = other["encoder"]
    ratio = own["ratio"]
    like = noise["e@guide"]
    x = batch["x"].astype(like.dtype)
    e = noise["e@guide"]  # [B, 8]
    encoder_out = encoder(x, e)  # [B, 16]
    z = noise["z@prior"]  # [B, 16]
    # the critic on draws of the guide and on draws of the prior
    z_sides = operations.stack([encoder_out, z], -3)  # [sides, B, 16]
    ratio_out = ratio(x, z_sides)  # [sides, B]
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
    x = batch["x"].astype(like.dtype)
    e = noise["e"]  # [B, 8]
    encoder_out = encoder(x, e)  # [B, 16]
    decoder_logits = decoder(encoder_out)  # [B, 64]
    ratio_out = ratio(x, encoder_out)  # [B]
    loss = (ratio_out - densities.bernoulli_logits(x, decoder_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    encoder = parameters["encoder"]
    like = noise["e"]
    x = batch["x"].astype(like.dtype)
    e = noise["e"]  # [K, B, 8]
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

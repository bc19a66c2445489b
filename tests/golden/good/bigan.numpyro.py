"""bigan: compiled by dgmppl from bigan.yaml (sha256 39c464e05cce), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data q}[T(x, z)] − E_{p}[f*(T(x, z))]]    D_JS(p_data(x) q(z | x) ‖ p(z) p(x | z))
minimize  E_{p_data q}[f*(T(x, z))] − E_{p}[T(x, z)]    D_JS(p_data(x) q(z | x) ‖ p(z) p(x | z)), by the
non-saturating variant of its descent
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import draws, networks, operations


class Generator(eqx.Module):
    """[2] -> out [2]; mlp([128, 128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(2, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 2, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
        return self.layers[2](h)


class Encoder(eqx.Module):
    """[2] -> out [2]; mlp([128, 128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(2, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 2, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(eqx.Module):
    """[2], [2] -> out []; mlp([128, 128]), leaky_relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(4, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 1, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.leaky_relu(self.layers[0](h), 0.01)
        h = jax.nn.leaky_relu(self.layers[1](h), 0.01)
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"generator": Generator, "encoder": Encoder, "discriminator": Discriminator}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {
        "generator": Generator(keys[0]), "encoder": Encoder(keys[1]), "discriminator": Discriminator(keys[2])
    }


def model(parameters, x=None, *, rows=8192, size=None):
    """the generative story, as a program of the library."""
    generator_ = eqx_module("generator", parameters["generator"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        generator_out = generator_(z)  # [B, 2]
        x = numpyro.deterministic("x", generator_out)


def guide(parameters, x=None, *, rows=8192, size=None):
    """the variational posterior, as a program of the library."""
    encoder = eqx_module("encoder", parameters["encoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        encoder_out = encoder(x)  # [B, 2]
        z = numpyro.deterministic("z", encoder_out)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 2))},
    "loss_model": {"z@model": ("normal", ("data", 2))},
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


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

"""conditional-gan: compiled by dgmppl from conditional_gan.yaml (sha256 8df92f551d9b), backend numpyro.

p(x, z | y) = p(z) p(x | y, z)
minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    D_JS(p_data ‖ p_model)
minimize  −E_{p}[T(x)]    D_JS(p_data ‖ p_model), by the non-saturating variant of its descent
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
    """[16], [10] -> out [64]; mlp([128, 128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(26, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 64, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        h = jax.nn.relu(self.layers[1](h))
        return self.layers[2](h)


class Discriminator(eqx.Module):
    """[64], [10] -> out []; mlp([128, 128]), leaky_relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(74, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 1, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.leaky_relu(self.layers[0](h), 0.01)
        h = jax.nn.leaky_relu(self.layers[1](h), 0.01)
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"generator": Generator, "discriminator": Discriminator}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 2)
    return {"generator": Generator(keys[0]), "discriminator": Discriminator(keys[1])}


def model(parameters, y, *, rows=1797, size=None):
    """the generative story, as a program of the library."""
    like = jnp.zeros(())
    generator_ = eqx_module("generator", parameters["generator"])
    size = len(y)
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(16), 1.0).to_event(1))
        generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
        x = numpyro.deterministic("x", generator_out)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 16))},
    "loss_model": {"z@model": ("normal", ("data", 16))},
    "sample": {"z": ("normal", ("data", 16))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{p_data}[T(x)] − E_{p}[f*(T(x))]]    (nats per datum)"""
    generator_ = other["generator"]
    discriminator = own["discriminator"]
    like = noise["z@model"]
    x = batch["x"]
    y = batch["y"]
    z = noise["z@model"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 64]
    discriminator_out = discriminator(x_sides, operations.one_hot(y, 10, like))  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    # [B]
    divergence = math.log(2) - 0.5 * (operations.softplus(-critic_data) + operations.softplus(critic_fake))
    loss = (-divergence).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{p}[T(x)]    (nats per datum)"""
    generator_ = own["generator"]
    discriminator = other["discriminator"]
    like = noise["z@model"]
    y = batch["y"]
    # the critic on samples of the model
    z = noise["z@model"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    discriminator_out = discriminator(generator_out, operations.one_hot(y, 10, like))  # [B]
    loss = (-(0.5 * (math.log(2) - operations.softplus(-discriminator_out)))).mean()  # []
    return loss, state, {"loss": loss}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    generator_ = parameters["generator"]
    like = noise["z"]
    y = batch["y"]
    z = noise["z"]  # [B, 16]
    generator_out = generator_(z, operations.one_hot(y, 10, like))  # [B, 64]
    return {"z": z, "x": generator_out}

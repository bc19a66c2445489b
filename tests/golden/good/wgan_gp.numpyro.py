"""wgan-gp: compiled by dgmppl from wgan_gp.yaml (sha256 d2e9b433fcd3), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −[E_{p_data}[T(x)] − E_{p}[T(x)]]    W₁(p_data, p_model)
minimize  gradient(1) on T    the critic's penalty
minimize  −E_{p}[T(x)]    W₁(p_data, p_model) − E_{p_data}[T], whose second part it does not move
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import derivatives, draws, networks, operations


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


class Discriminator(eqx.Module):
    """[2] -> out []; mlp([128, 128]), leaky_relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(2, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 1, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.leaky_relu(self.layers[0](x), 0.01)
        h = jax.nn.leaky_relu(self.layers[1](h), 0.01)
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"generator": Generator, "discriminator": Discriminator}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 2)
    return {"generator": Generator(keys[0]), "discriminator": Discriminator(keys[1])}


def model(parameters, *, rows=8192, size=None):
    """the generative story, as a program of the library."""
    generator_ = eqx_module("generator", parameters["generator"])
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        generator_out = generator_(z)  # [B, 2]
        x = numpyro.deterministic("x", generator_out)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_critic": {"z@model": ("normal", ("data", 2)), "x@between": ("uniform", ("data",))},
    "loss_model": {"z@model": ("normal", ("data", 2))},
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_critic(own, other, state, batch, noise, step):
    """minimize  −[E_{p_data}[T(x)] − E_{p}[T(x)]] + gradient(1) on T    (nats per datum)"""
    generator_ = other["generator"]
    discriminator = own["discriminator"]
    x = batch["x"]
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    # the critic on the data and on samples of the model
    x_sides = operations.stack([x, generator_out], -3)  # [sides, B, 2]
    discriminator_out = discriminator(x_sides)  # [sides, B]
    critic_data = discriminator_out[0]  # [B]
    critic_fake = discriminator_out[1]  # [B]
    divergence = critic_data - critic_fake  # [B]
    share = noise["x@between"]  # [B]
    x_between = x + share[..., None] * (generator_out - x)  # [B, 2]

    def critic(point):
        discriminator_out_ = discriminator(point)  # [B]
        return discriminator_out_
    slope = derivatives.gradient(critic, x_between, 1)  # [B, 2]
    gradient_norm = jnp.sqrt(jnp.square(slope).sum(-1) + 1e-12)  # [B]
    loss = (-divergence).mean() + (1.0 * jnp.square(gradient_norm - 1.0)).mean()  # []
    return loss, state, {"loss": loss, "divergence": divergence.mean(), "gradient_norm": gradient_norm.mean()}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{p}[T(x)]    (nats per datum)"""
    generator_ = own["generator"]
    discriminator = other["discriminator"]
    # the critic on samples of the model
    z = noise["z@model"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    discriminator_out = discriminator(generator_out)  # [B]
    loss = (-discriminator_out).mean()  # []
    return loss, state, {"loss": loss}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    generator_ = parameters["generator"]
    z = noise["z"]  # [B, 2]
    generator_out = generator_(z)  # [B, 2]
    return {"z": z, "x": generator_out}

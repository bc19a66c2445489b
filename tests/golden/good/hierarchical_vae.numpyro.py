"""hierarchical-vae: compiled by dgmppl from hierarchical_vae.yaml (sha256 3c579553843b), backend
numpyro.

p(x, z2, z1) = p(z2) p(z1 | z2) p(x | z1)
minimize  −E_{q(z1|x) q(z2|z1)}[log p(x|z1) + log p(z1|z2) − log q(z1|x) − KL(q(z2|z1) ‖ p(z2))]    E_data[log
p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import densities, draws, networks


class Top(eqx.Module):
    """[8] -> loc [16], scale [16]; mlp([128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(8, 128, keys[0]), networks.Linear(128, 32, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Decoder(eqx.Module):
    """[16] -> logits [64]; mlp([256]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(16, 256, keys[0]), networks.Linear(256, 64, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        return self.layers[1](h)


class GuideZ1(eqx.Module):
    """[64] -> loc [16], scale [16]; mlp([256]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(64, 256, keys[0]), networks.Linear(256, 32, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class GuideZ2(eqx.Module):
    """[16] -> loc [8], scale [8]; mlp([128]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(16, 128, keys[0]), networks.Linear(128, 16, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :8]
        scale = networks.positive(h[..., 8:])
        return loc, scale


NETWORKS = {"top": Top, "decoder": Decoder, "guide.z1": GuideZ1, "guide.z2": GuideZ2}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 4)
    return {
        "top": Top(keys[0]),
        "decoder": Decoder(keys[1]),
        "guide.z1": GuideZ1(keys[2]),
        "guide.z2": GuideZ2(keys[3]),
    }


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    top = eqx_module("top", parameters["top"])
    decoder = eqx_module("decoder", parameters["decoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z2 = numpyro.sample("z2", dist.Normal(jnp.zeros(8), 1.0).to_event(1))
        top_loc, top_scale = top(z2)  # [B, 16], [B, 16]
        z1 = numpyro.sample("z1", dist.Normal(top_loc, top_scale).to_event(1))
        decoder_logits = decoder(z1)  # [B, 64]
        x = numpyro.sample("x", dist.Bernoulli(logits=decoder_logits).to_event(1), obs=x)


def guide(parameters, x=None, *, rows=1617, size=None):
    """the variational posterior, as a program of the library."""
    guide_z1 = eqx_module("guide.z1", parameters["guide.z1"])
    guide_z2 = eqx_module("guide.z2", parameters["guide.z2"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        guide_z1_loc, guide_z1_scale = guide_z1(x.astype(float))  # [B, 16], [B, 16]
        z1 = numpyro.sample("z1", dist.Normal(guide_z1_loc, guide_z1_scale).to_event(1))
        guide_z2_loc, guide_z2_scale = guide_z2(z1)  # [B, 8], [B, 8]
        z2 = numpyro.sample("z2", dist.Normal(guide_z2_loc, guide_z2_scale).to_event(1))


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z1": ("normal", ("data", 16)), "z2": ("normal", ("data", 8))},
    "elbo": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "log_weights": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "encode": {"z1": ("normal", ("particles", "data", 16)), "z2": ("normal", ("particles", "data", 8))},
    "sample": {"z2": ("normal", ("data", 8)), "z1": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z1|x) q(z2|z1)}[log p(x|z1) + log p(z1|z2) − log q(z1|x) − KL(q(z2|z1) ‖ p(z2))]
    (nats per datum)
    """
    guide_z1 = own["guide.z1"]
    guide_z2 = own["guide.z2"]
    decoder = own["decoder"]
    top = own["top"]
    like = noise["z1"]
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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

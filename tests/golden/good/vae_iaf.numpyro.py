"""vae-iaf: compiled by dgmppl from vae_iaf.yaml (sha256 6a899f740940), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    E_data[log p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import bijectors, causal, densities, distributions, draws, networks


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


class IafConditioner(eqx.Module):
    """[16] -> shift [16], log_scale [16]; made([64], order=raster), relu."""

    layers: list[causal.MaskedLinear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [
            causal.MaskedLinear(16, 64, (1, 17), (1, 16), 0, keys[0]),
            causal.MaskedLinear(64, 32, (1, 16), (0, 16), 0, keys[1]),
        ]

    def __call__(self, x):
        x = causal.number(x, self.layers[0].weight)
        h = jax.nn.relu(self.layers[0](x))
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
        h1 = layer1.fill(h1, jax.nn.relu(layer0.units(x, i)), i)
        h = layer1.units(h1, i)
        shift = h[..., 0]
        log_scale = h[..., 1]
        return (x, h1), (shift, log_scale)


class Iaf(bijectors.Chain):
    """z [16] -> x [16]: 2 x (autoregressive(made([64]), affine(), direction=inverse), reverse())."""

    def __init__(self, key=None):
        keys = iter(jax.random.split(jax.random.key(0) if key is None else key, 2))
        super().__init__(
            [
                [
                    bijectors.Autoregressive(
                        IafConditioner(next(keys)), bijectors.Affine(), 16, direction="inverse"
                    ),
                    bijectors.Reverse(16),
                ] for _ in range(2)
            ]
        )


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "iaf": Iaf}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1]), "iaf": Iaf(keys[2])}


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
    iaf = eqx_module("iaf", parameters["iaf"])
    encoder = eqx_module("encoder", parameters["encoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_z(z_value):
            u, u_log_det = iaf.inverse_and_log_det(z_value)  # [B, 16]
            encoder_loc, encoder_scale = encoder(x.astype(float))  # [B, 16], [B, 16]
            return densities.normal(u, encoder_loc, encoder_scale).sum(-1) + u_log_det

        def draw_z(noise):
            encoder_loc_, encoder_scale_ = encoder(x.astype(float))  # [B, 16], [B, 16]
            u_ = encoder_loc_ + encoder_scale_ * noise["u"]  # [B, 16]
            z = iaf.forward(u_)  # [B, 16]
            return z

        z_ = numpyro.sample(
            "z",
            distributions.Composed(
                log_p_z,
                draw_z,
                {"u": ("normal", (16,))},
                (16,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"u": ("normal", ("data", 16))},
    "elbo": {"u": ("normal", ("particles", "data", 16))},
    "log_weights": {"u": ("normal", ("particles", "data", 16))},
    "encode": {"u": ("normal", ("particles", "data", 16))},
    "sample": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    (nats per datum)"""
    encoder = own["encoder"]
    iaf = own["iaf"]
    decoder = own["decoder"]
    like = noise["u"]
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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

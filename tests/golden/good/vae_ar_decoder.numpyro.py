"""vae-ar-decoder: compiled by dgmppl from vae_ar_decoder.yaml (sha256 4aa0b9412bc2), backend numpyro.

p(x, z) = p(z) ∏ᵢ p(x[i] | x[<i], z)
minimize  −[E_{q(z|x)}[log p(x|z)] − KL(q(z|x) ‖ p(z))]    E_data[log p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import causal, densities, distributions, draws, loops, networks, operations


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
    """[64], [16] -> logits [64]; made([256, 256], order=raster), relu."""

    layers: list[causal.MaskedLinear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            causal.MaskedLinear(64, 256, (1, 65), (0, 64), 16, keys[0]),
            causal.MaskedLinear(256, 256, (0, 64), (0, 64), 0, keys[1]),
            causal.MaskedLinear(256, 64, (0, 64), (0, 64), 16, keys[2]),
        ]

    def __call__(self, x, c):
        x = causal.number(x, self.layers[0].weight)
        h = jax.nn.relu(self.layers[0](operations.concatenate([c, x], -1)))
        h = jax.nn.relu(self.layers[1](h))
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
        h1 = layer1.fill(h1, jax.nn.relu(layer0.units(x, i)), i)
        h2 = layer2.fill(h2, jax.nn.relu(layer1.units(h1, i)), i)
        h = layer2.units(h2, i)
        return (x, h1, h2), h.squeeze(-1)


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
                (decoder.start(z, batch=draws.batch(noise["x"], 1)), jnp.zeros(())),
                [(noise["x"], 0)],
                (0,),
                range(0, 64),
            )
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"x": ("uniform", (64,))},
                (64,),
                dist.constraints.independent(dist.constraints.boolean, 1),
                reparameterized=False,
            ),
            obs=x,
        )


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
    "complete": {"z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
    x = batch["x"].astype(like.dtype)
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
        (decoder.start(z, batch=draws.batch(noise["x"], 1)), jnp.zeros((), like.dtype)),
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
    x = batch["x"].astype(like.dtype)
    z = noise["z"]  # [B, 16]

    def element_of_x(carry, inputs, i):
        decoder_cache, x_previous = carry
        noise_now, x_given_now, x_now = inputs
        decoder_cache_, decoder_logits = decoder.step(decoder_cache, i, x_previous)
        x_now_ = jnp.where(x_given_now, x_now, draws.bernoulli_logits(decoder_logits, noise_now))  # [B]
        return (decoder_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (decoder.start(z, batch=draws.batch(noise["x"], 1)), jnp.zeros((), like.dtype)),
        [(noise["x"], 0), (x_given, 0), (x, 0)],
        (0,),
        range(0, 64),
    )
    return {"z": z, "x": x_}

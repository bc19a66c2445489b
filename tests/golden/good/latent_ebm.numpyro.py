"""latent-ebm: compiled by dgmppl from latent_ebm.yaml (sha256 ac6b0ae025bd), backend numpyro.

p(x, z) = [p₀(z) exp(−E(z)) / Z] p(x | z)
minimize  E_{q(z|x)}[∇_θ E(z)] − E_{p(z)}[∇_θ E(z)]    the gradient of −E_q[log p(z)]
minimize  −E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)]    E_data[log p(x)] + log Z_z
"""

import equinox as eqx
import jax
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import annealing, densities, distributions, draws, networks, samplers


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


class Tilt(eqx.Module):
    """[16] -> out []; mlp([64, 64]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(16, 64, keys[0]),
            networks.Linear(64, 64, keys[1]),
            networks.Linear(64, 1, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "tilt": Tilt}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1]), "tilt": Tilt(keys[2])}


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    tilt = eqx_module("tilt", parameters["tilt"])
    decoder = eqx_module("decoder", parameters["decoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_z_(z_value):
            tilt_out = tilt(z_value)  # [B]
            return densities.standard_normal(z_value).sum(-1) - tilt_out

        def draw_z(noise):
            z_start = noise["z.start"]  # [B, 16]

            def log_p_z(z_value_):
                tilt_out_ = tilt(z_value_)  # [B]
                return densities.standard_normal(z_value_).sum(-1) - tilt_out_
            z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)  # [B, 16]
            return z_sampled

        z = numpyro.sample(
            "z",
            distributions.Composed(
                log_p_z_,
                draw_z,
                {"z.start": ("normal", (16,)), "z.chain": ("normal", (200, 16))},
                (16,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
        )
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
    "loss_energy": {
        "z": ("normal", ("data", 16)),
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 60, 16)),
    },
    "loss_model": {"z": ("normal", ("data", 16))},
    "anneal_z": {
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 200, 16)),
        "z.accept": ("uniform", ("data", 200)),
        "z.size": ("uniform", ("data", 200)),
    },
    "anneal_z_back": {
        "z.chain": ("normal", ("data", 200, 16)),
        "z.accept": ("uniform", ("data", 200)),
        "z.size": ("uniform", ("data", 200)),
    },
    "unnormalized_elbo": {"z": ("normal", ("particles", "data", 16))},
    "unnormalized_log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"z": ("normal", ("particles", "data", 16))},
    "sample": {
        "z.start": ("normal", ("data", 16)),
        "z.chain": ("normal", ("data", 200, 16)),
        "x": ("uniform", ("data", 64)),
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_energy(own, other, state, batch, noise, step):
    """minimize  E_{q(z|x)}[∇_θ E(z)] − E_{p(z)}[∇_θ E(z)]    (nats per datum)"""
    encoder = other["encoder"]
    tilt = own["tilt"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = jax.lax.stop_gradient(encoder_loc + encoder_scale * noise["z"])  # [B, 16]
    z_start = noise["z.start"]  # [B, 16]

    def log_p_z(z_value):
        tilt_out = tilt(z_value)  # [B]
        return densities.standard_normal(z_value).sum(-1) - tilt_out
    z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)  # [B, 16]
    tilt_out_ = tilt(z_sampled)  # [B]
    log_p_z_ = densities.standard_normal(z_sampled).sum(-1) - tilt_out_  # [B]
    tilt_out_2 = tilt(z)  # [B]
    log_p_z_2 = densities.standard_normal(z).sum(-1) - tilt_out_2  # [B]
    loss = (log_p_z_ - log_p_z_2).mean()  # []
    return loss, state, {"loss": loss}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    tilt = other["tilt"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    tilt_out = tilt(z)  # [B]
    # []
    loss = (
        densities.normal(z, encoder_loc, encoder_scale).sum(-1)
        - (
            densities.bernoulli_logits(x, decoder_logits).sum(-1)
            + densities.standard_normal(z).sum(-1)
            - tilt_out
        )
    ).mean()
    return loss, state, {"loss": loss}


def unnormalized_z(parameters, batch):
    """log p(z) + log Z: [B], nats."""
    tilt = parameters["tilt"]
    z = batch["z"]
    tilt_out = tilt(z)  # [B]
    return densities.standard_normal(z).sum(-1) - tilt_out


def anneal_z(parameters, batch, noise):
    """annealed importance sampling from the base: one chain per row, log w [B], E[w] = Z."""
    tilt = parameters["tilt"]
    z_start = noise["z.start"]  # [B, 16]

    def log_base_z(z_value):
        return densities.standard_normal(z_value).sum(-1)

    def log_p_z(z_value_):
        tilt_out = tilt(z_value_)  # [B]
        return densities.standard_normal(z_value_).sum(-1) - tilt_out
    # [B, 16]
    z_sampled = annealing.hmc(
        log_base_z,
        log_p_z,
        z_start,
        1,
        noise["z.chain"],
        noise["z.accept"],
        noise["z.size"],
        leapfrog=10,
        reverse=False,
    )
    return {"z": z_sampled[0], "log_weights": z_sampled[1]}


def anneal_z_back(parameters, batch, noise):
    """annealed importance sampling from exact draws of z: one chain per row, log w [B], E[1/w] = 1/Z."""
    tilt = parameters["tilt"]
    z = batch["z"]

    def log_base_z(z_value):
        return densities.standard_normal(z_value).sum(-1)

    def log_p_z(z_value_):
        tilt_out = tilt(z_value_)  # [B]
        return densities.standard_normal(z_value_).sum(-1) - tilt_out
    # [B, 16]
    z_sampled = annealing.hmc(
        log_base_z,
        log_p_z,
        z,
        1,
        noise["z.chain"],
        noise["z.accept"],
        noise["z.size"],
        leapfrog=10,
        reverse=True,
    )
    return {"z": z_sampled[0], "log_weights": z_sampled[1]}


def unnormalized_elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p̃(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation, up to log Z.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    tilt = parameters["tilt"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    tilt_out = tilt(z)  # [K, B]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - tilt_out
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    ).mean(0)


def unnormalized_log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats, up to log Z."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    tilt = parameters["tilt"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    tilt_out = tilt(z)  # [K, B]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(z).sum(-1)
        - tilt_out
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
    """one ancestral draw per row: every site of the model by name, [B, *event]. z is the end of
    langevin(steps=200, step_size=0.01), approximate.
    """
    tilt = parameters["tilt"]
    decoder = parameters["decoder"]
    z_start = noise["z.start"]  # [B, 16]

    def log_p_z(z_value):
        tilt_out = tilt(z_value)  # [B]
        return densities.standard_normal(z_value).sum(-1) - tilt_out
    z_sampled = samplers.langevin(log_p_z, z_start, 1, noise["z.chain"], step_size=0.01)  # [B, 16]
    decoder_logits = decoder(z_sampled)  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"z": z_sampled, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    z = batch["z"]
    decoder_logits = decoder(z)  # [B, 64]
    return {"x.logits": decoder_logits}

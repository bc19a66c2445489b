"""vae-flow-prior: compiled by dgmppl from vae_flow_prior.yaml (sha256 b0d0e8554121), backend numpyro.

p(x, z) = p(e) |det ∂e/∂z| p(x | z), e = flow⁻¹(z)
minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    E_data[log p(x)]
"""

import equinox as eqx
import jax
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import bijectors, densities, distributions, draws, networks


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


class FlowConditioner(eqx.Module):
    """[8] -> widths [8, 8], heights [8, 8], derivatives [8, 7]; mlp([64, 64]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(8, 64, keys[0]),
            networks.Linear(64, 64, keys[1]),
            networks.Linear(64, 184, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
        h = self.layers[2](h)
        widths = h[..., :64]
        widths = widths.reshape(*widths.shape[:-1], 8, 8)
        heights = h[..., 64:128]
        heights = heights.reshape(*heights.shape[:-1], 8, 8)
        derivatives_ = h[..., 128:]
        derivatives_ = derivatives_.reshape(*derivatives_.shape[:-1], 8, 7)
        return widths, heights, derivatives_


class Flow(bijectors.Chain):
    """z [16] -> x [16]: 4 x (coupling(mlp([64, 64]), spline(bins=8, bound=5.0)), permute())."""

    orders = [
        [13, 8, 6, 1, 11, 15, 3, 5, 14, 12, 2, 10, 4, 7, 9, 0],
        [1, 13, 5, 7, 2, 3, 15, 12, 9, 14, 0, 8, 4, 6, 10, 11],
        [4, 10, 12, 2, 9, 14, 13, 1, 0, 15, 11, 7, 3, 6, 8, 5],
        [11, 13, 14, 9, 1, 7, 15, 12, 10, 2, 6, 5, 8, 0, 3, 4],
    ]

    def __init__(self, key=None):
        keys = iter(jax.random.split(jax.random.key(0) if key is None else key, 4))
        super().__init__(
            [
                [
                    bijectors.Coupling(FlowConditioner(next(keys)), bijectors.Spline(8, 5.0), 16),
                    bijectors.Permute(order),
                ] for order in self.orders
            ]
        )


NETWORKS = {"encoder": Encoder, "decoder": Decoder, "flow": Flow}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "decoder": Decoder(keys[1]), "flow": Flow(keys[2])}


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    flow = eqx_module("flow", parameters["flow"])
    decoder = eqx_module("decoder", parameters["decoder"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_z(z_value):
            e, e_log_det = flow.inverse_and_log_det(z_value)  # [B, 16]
            return densities.standard_normal(e).sum(-1) + e_log_det

        def draw_z(noise):
            e_ = noise["e"]  # [B, 16]
            z = flow.forward(e_)  # [B, 16]
            return z

        z_ = numpyro.sample(
            "z",
            distributions.Composed(
                log_p_z,
                draw_z,
                {"e": ("normal", (16,))},
                (16,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
        )
        decoder_logits = decoder(z_)  # [B, 64]
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
    "sample": {"e": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    (nats per datum)"""
    encoder = own["encoder"]
    decoder = own["decoder"]
    flow = own["flow"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    e, e_log_det = flow.inverse_and_log_det(z)  # [B, 16]
    # []
    loss = (
        densities.normal(z, encoder_loc, encoder_scale).sum(-1)
        - (
            densities.bernoulli_logits(x, decoder_logits).sum(-1)
            + densities.standard_normal(e).sum(-1)
            + e_log_det
        )
    ).mean()
    return loss, state, {"loss": loss}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    flow = parameters["flow"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    e, e_log_det = flow.inverse_and_log_det(z)  # [K, B, 16]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(e).sum(-1)
        + e_log_det
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    ).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    flow = parameters["flow"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    encoder_loc, encoder_scale = encoder(x)  # [B, 16], [B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    decoder_logits = decoder(z)  # [K, B, 64]
    e, e_log_det = flow.inverse_and_log_det(z)  # [K, B, 16]
    return (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.standard_normal(e).sum(-1)
        + e_log_det
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
    flow = parameters["flow"]
    decoder = parameters["decoder"]
    e = noise["e"]  # [B, 16]
    z = flow.forward(e)  # [B, 16]
    decoder_logits = decoder(z)  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"e": e, "z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    e = batch["e"]
    z = batch["z"]
    decoder_logits = decoder(z)  # [B, 64]
    return {"x.logits": decoder_logits}

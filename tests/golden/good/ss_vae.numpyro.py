"""ss-vae: compiled by dgmppl from ss_vae.yaml (sha256 e7dbae974f4d), backend numpyro.

p(y, x, z) = p(y) p(z) p(x | y, z)
minimize  −E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x) − KL(q(z|y, x) ‖ p(z))]    E_data[log
p(y, x)]
minimize  −log q(y|x)    E_data[log q(y | x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import densities, draws, networks, operations


class Encoder(eqx.Module):
    """[64], [10] -> loc [16], scale [16]; mlp([256]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(74, 256, keys[0]), networks.Linear(256, 32, keys[1])]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Classifier(eqx.Module):
    """[64] -> logits [10]; mlp([256]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(64, 256, keys[0]), networks.Linear(256, 10, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        return self.layers[1](h)


class Decoder(eqx.Module):
    """[16], [10] -> logits [64]; mlp([256]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(26, 256, keys[0]), networks.Linear(256, 64, keys[1])]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        return self.layers[1](h)


NETWORKS = {"encoder": Encoder, "classifier": Classifier, "decoder": Decoder}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {"encoder": Encoder(keys[0]), "classifier": Classifier(keys[1]), "decoder": Decoder(keys[2])}


def model(parameters, y=None, x=None, *, rows=1797, size=None):
    """the generative story, as a program of the library."""
    like = jnp.zeros(())
    decoder = eqx_module("decoder", parameters["decoder"])
    size = next((len(column) for column in (y, x) if column is not None), size)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        y = numpyro.sample(
            "y", dist.Categorical(probs=jnp.ones(10) / 10), obs=y, infer={"enumerate": "parallel"}
        )
        z = numpyro.sample("z", dist.Normal(jnp.zeros(16), 1.0).to_event(1))
        decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
        x = numpyro.sample("x", dist.Bernoulli(logits=decoder_logits).to_event(1), obs=x)


def guide(parameters, y=None, x=None, *, rows=1797, size=None):
    """the variational posterior, as a program of the library."""
    like = jnp.zeros(())
    classifier = eqx_module("classifier", parameters["classifier"])
    encoder = eqx_module("encoder", parameters["encoder"])
    size = next((len(column) for column in (y, x) if column is not None), size)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        classifier_logits = classifier(x.astype(float))  # [B, 10]
        if y is None:
            y = numpyro.sample(
                "y", dist.Categorical(logits=classifier_logits), infer={"enumerate": "parallel"}
            )
        # [B, 16], [B, 16]
        encoder_loc, encoder_scale = encoder(x.astype(float), operations.one_hot(y, 10, like))
        z = numpyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z": ("normal", ("data", 16))},
    "elbo": {"z": ("normal", ("particles", "data", 16))},
    "log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"y": ("gumbel", ("particles", "data", 10)), "z": ("normal", ("particles", "data", 16))},
    "sample": {"y": ("gumbel", ("data", 10)), "z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x) − KL(q(z|y, x) ‖ p(z))] − log
    q(y|x)    (nats per datum)
    """
    encoder = own["encoder"]
    decoder = own["decoder"]
    classifier = own["classifier"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 1, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [y, B]
    # [y, B]
    q_y = jnp.where(
        y_observed, (y == y_).astype(like.dtype), jnp.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, jnp.ones(10, like.dtype) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.astype(like.dtype))
        - kl_z
    )
    log_q_y = densities.categorical_logits(y_, classifier_logits) * y_observed.astype(like.dtype)  # [B]
    loss = (-(q_y * given_y).sum(0)).mean() + (-log_q_y).mean()  # []
    return loss, state, {"loss": loss, "kl_z": kl_z.mean()}


def elbo(parameters, batch, noise):
    """E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x) − KL(q(z|y, x) ‖ p(z))], averaged over
    particles: [B], nats, a lower bound on log p in expectation.
    """
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    classifier = parameters["classifier"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 2, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, K, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, K, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [y, B]
    # [y, B]
    q_y = jnp.where(
        y_observed, (y == y_).astype(like.dtype), jnp.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, K, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, jnp.ones(10, like.dtype) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.astype(like.dtype))
        - kl_z
    )
    return (q_y * given_y).sum(0).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    classifier = parameters["classifier"]
    like = noise["z"]
    x = batch["x"].astype(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 2, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, K, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, K, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    # [y, B]
    q_y = jnp.where(
        y_observed, (y == y_).astype(like.dtype), jnp.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, K, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, jnp.ones(10, like.dtype) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.astype(like.dtype))
        + densities.standard_normal(z).sum(-1)
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    )
    return (q_y * given_y).sum(0)


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    classifier = parameters["classifier"]
    encoder = parameters["encoder"]
    like = noise["y"]
    x = batch["x"].astype(like.dtype)
    classifier_logits = classifier(x)  # [B, 10]
    y = draws.categorical_logits(classifier_logits, noise["y"])  # [K, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [K, B, 16], [K, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    return {"y": y, "z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    decoder = parameters["decoder"]
    like = noise["y"]
    y = draws.categorical_probs(jnp.ones(10, like.dtype) / 10, noise["y"])  # [B]
    z = noise["z"]  # [B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"y": y, "z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    like = jax.tree.leaves(decoder)[0]
    z = batch["z"]
    y = batch["y"]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
    return {"y.probs": jnp.ones(10, like.dtype) / 10, "x.logits": decoder_logits}

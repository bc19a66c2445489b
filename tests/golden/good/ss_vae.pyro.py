"""ss-vae: compiled by dgmppl from ss_vae.yaml (sha256 e7dbae974f4d), backend pyro.

p(y, x, z) = p(y) p(z) p(x | y, z)
minimize  −E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x) − KL(q(z|y, x) ‖ p(z))]    E_data[log
p(y, x)]
minimize  −log q(y|x)    E_data[log q(y | x)]
"""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import densities, draws, networks, operations, programs


class Encoder(nn.Module):
    """[64], [10] -> loc [16], scale [16]; mlp([256]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(74, 256), nn.Linear(256, 32)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.relu(self.layers[0](h))
        h = self.layers[1](h)
        loc = h[..., :16]
        scale = networks.positive(h[..., 16:])
        return loc, scale


class Classifier(nn.Module):
    """[64] -> logits [10]; mlp([256]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 256), nn.Linear(256, 10)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        return self.layers[1](h)


class Decoder(nn.Module):
    """[16], [10] -> logits [64]; mlp([256]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(26, 256), nn.Linear(256, 64)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.relu(self.layers[0](h))
        return self.layers[1](h)


NETWORKS = {"encoder": Encoder, "classifier": Classifier, "decoder": Decoder}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"encoder": Encoder(), "classifier": Classifier(), "decoder": Decoder()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.decoder = parameters["decoder"]

    def forward(self, y=None, x=None, *, rows=1797, size=None):
        like = self.like
        decoder = self.decoder
        size = next((len(column) for column in (y, x) if column is not None), size)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            y = pyro.sample(
                "y", dist.Categorical(probs=like.new_ones(10) / 10), obs=y, infer={"enumerate": "parallel"}
            )
            z = pyro.sample("z", dist.Normal(like.new_zeros(16), 1.0).to_event(1))
            decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
            x = pyro.sample(
                "x",
                dist.Bernoulli(logits=decoder_logits).to_event(1),
                obs=None if x is None else x.to(like.dtype),
            )


class Guide(programs.LocalModule):
    """the variational posterior, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.classifier = parameters["classifier"]
        self.encoder = parameters["encoder"]

    def forward(self, y=None, x=None, *, rows=1797, size=None):
        like = self.like
        classifier = self.classifier
        encoder = self.encoder
        size = next((len(column) for column in (y, x) if column is not None), size)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            classifier_logits = classifier(x.to(like.dtype))  # [B, 10]
            if y is None:
                y = pyro.sample(
                    "y", dist.Categorical(logits=classifier_logits), infer={"enumerate": "parallel"}
                )
            # [B, 16], [B, 16]
            encoder_loc, encoder_scale = encoder(x.to(like.dtype), operations.one_hot(y, 10, like))
            z = pyro.sample("z", dist.Normal(encoder_loc, encoder_scale).to_event(1))


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z": ("normal", ("data", 16))},
    "elbo": {"z": ("normal", ("particles", "data", 16))},
    "log_weights": {"z": ("normal", ("particles", "data", 16))},
    "encode": {"y": ("gumbel", ("particles", "data", 10)), "z": ("normal", ("particles", "data", 16))},
    "sample": {"y": ("gumbel", ("data", 10)), "z": ("normal", ("data", 16)), "x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(y|x) q(z|y, x)}[log p(x|y, z) + log p(y) − log q(y|x) − KL(q(z|y, x) ‖ p(z))] − log
    q(y|x)    (nats per datum)
    """
    encoder = own["encoder"]
    decoder = own["decoder"]
    classifier = own["classifier"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 1, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [y, B]
    # [y, B]
    q_y = torch.where(
        y_observed, (y == y_).to(like.dtype), torch.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, like.new_ones(10) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.to(like.dtype))
        - kl_z
    )
    log_q_y = densities.categorical_logits(y_, classifier_logits) * y_observed.to(like.dtype)  # [B]
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
    x = batch["x"].to(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 2, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, K, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, K, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    kl_z = densities.kl_standard_normal(encoder_loc, encoder_scale).sum(-1)  # [y, B]
    # [y, B]
    q_y = torch.where(
        y_observed, (y == y_).to(like.dtype), torch.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, K, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, like.new_ones(10) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.to(like.dtype))
        - kl_z
    )
    return (q_y * given_y).sum(0).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    encoder = parameters["encoder"]
    decoder = parameters["decoder"]
    classifier = parameters["classifier"]
    like = noise["z"]
    x = batch["x"].to(like.dtype)
    y_observed = batch["y.observed"]
    y_ = batch["y"]
    y = operations.arange(10, 2, like)  # [y, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [y, B, 16], [y, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [y, K, B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [y, K, B, 64]
    classifier_logits = classifier(x)  # [B, 10]
    # [y, B]
    q_y = torch.where(
        y_observed, (y == y_).to(like.dtype), torch.exp(densities.categorical_logits(y, classifier_logits))
    )
    # [y, K, B]
    given_y = (
        densities.bernoulli_logits(x, decoder_logits).sum(-1)
        + densities.categorical_probs(y, like.new_ones(10) / 10)
        - densities.categorical_logits(y, classifier_logits) * (1.0 - y_observed.to(like.dtype))
        + densities.standard_normal(z).sum(-1)
        - densities.normal(z, encoder_loc, encoder_scale).sum(-1)
    )
    return (q_y * given_y).sum(0)


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    classifier = parameters["classifier"]
    encoder = parameters["encoder"]
    like = noise["y"]
    x = batch["x"].to(like.dtype)
    classifier_logits = classifier(x)  # [B, 10]
    y = draws.categorical_logits(classifier_logits, noise["y"])  # [K, B]
    encoder_loc, encoder_scale = encoder(x, operations.one_hot(y, 10, like))  # [K, B, 16], [K, B, 16]
    z = encoder_loc + encoder_scale * noise["z"]  # [K, B, 16]
    return {"y": y, "z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    decoder = parameters["decoder"]
    like = noise["y"]
    y = draws.categorical_probs(like.new_ones(10) / 10, noise["y"])  # [B]
    z = noise["z"]  # [B, 16]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
    x = draws.bernoulli_logits(decoder_logits, noise["x"])  # [B, 64]
    return {"y": y, "z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    decoder = parameters["decoder"]
    like = next(decoder.parameters())
    z = batch["z"]
    y = batch["y"]
    decoder_logits = decoder(z, operations.one_hot(y, 10, like))  # [B, 64]
    return {"y.probs": like.new_ones(10) / 10, "x.logits": decoder_logits}

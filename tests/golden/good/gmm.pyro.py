"""gmm: compiled by dgmppl from gmm.yaml (sha256 89fb4d69d7e2), backend pyro.

p(x, k) = p(k) p(x | k)
minimize  −log ∑_{k} exp[log p(x|k) + log p(k)]    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroParam
from torch import nn

from dgmppl_pyro import constraints, densities, draws, operations, programs


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "weights": constraints.simplex.inverse(torch.full((3,), 0.3333333333333333)),
        "loc": torch.randn((3, 4)),
        "scale": constraints.positive.inverse(torch.full((3, 4), 1.0)),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.weights = PyroParam(constraints.simplex(parameters["weights"]), dist.constraints.simplex)
        self.loc = nn.Parameter(parameters["loc"])
        self.scale = PyroParam(constraints.positive(parameters["scale"]), dist.constraints.positive)

    def forward(self, x=None, *, rows=150, size=None):
        weights = self.weights
        loc = self.loc
        scale = self.scale
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            k = pyro.sample("k", dist.Categorical(probs=weights), infer={"enumerate": "parallel"})
            x = pyro.sample("x", dist.Normal(loc[k], scale[k]).to_event(1), obs=x)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"k": ("gumbel", ("data", 3)), "x": ("normal", ("data", 4))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log ∑_{k} exp[log p(x|k) + log p(k)]    (nats per datum)"""
    loc = own["loc"]
    scale = constraints.positive(own["scale"])
    weights = constraints.simplex(own["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [B]
    log_p = torch.logsumexp(
        densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights), 0
    )
    loss = (-log_p).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log ∑_{k} exp[log p(x|k) + log p(k)]: [B], nats, exact."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    weights = constraints.simplex(parameters["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [B]
    log_p = torch.logsumexp(
        densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights), 0
    )
    return log_p


def posterior(parameters, batch):
    """the posterior of the latents that were integrated out, exact."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    weights = constraints.simplex(parameters["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [k, B]
    log_joint = densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights)
    k_probs = torch.softmax(torch.movedim(log_joint, 0, -1), -1)  # [B]
    return {"k.probs": k_probs}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    weights = constraints.simplex(parameters["weights"])
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    k = draws.categorical_probs(weights, noise["k"])  # [B]
    x = loc[k] + scale[k] * noise["x"]  # [B, 4]
    return {"k": k, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    k = batch["k"]
    return {"x.loc": loc[k.long()], "x.scale": scale[k.long()]}

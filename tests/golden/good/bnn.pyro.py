"""bnn: compiled by dgmppl from bnn.yaml (sha256 e2ea846c3fa3), backend pyro.

p(y, sigma, net | x) = p(net) p(sigma) p(y | x, sigma, net)
minimize  −E_{q(sigma, net)}[log p(y|x, sigma, net) + (1/N) log p(sigma, net) − (1/N) log q(sigma, net)]
(1/N) log p(data)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from dgmppl_pyro import constraints, densities, draws, programs


class Net(nn.Module):
    """[10] -> loc []; mlp([20]), tanh."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(10, 20), nn.Linear(20, 1)])

    def forward(self, x):
        h = torch.tanh(self.layers[0](x))
        h = self.layers[1](h)
        return h.squeeze(-1)


NETWORKS = {"net": Net}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"net": Net(), "sigma": constraints.positive.inverse(torch.full((), 1.0))}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.net = [parameters["net"]]  # in a list: its arrays are drawn, not learned

    def forward(self, x, y=None, *, rows=442, size=None):
        like = self.like
        net = programs.random_module("net", self.net[0], dist.Normal(like.new_zeros(()), 1.0))
        size = len(x)
        sigma = pyro.sample("sigma", dist.HalfNormal(like.new_ones(())))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            net_loc = net(x)  # [B]
            y = pyro.sample("y", dist.Normal(net_loc, sigma), obs=y)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data",))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(y|x, sigma, net): [B], nats, exact."""
    net = parameters["net"]
    sigma = constraints.positive(parameters["sigma"])
    y = batch["y"]
    x = batch["x"]
    net_loc = net(x)  # [B]
    return densities.normal(y, net_loc, sigma)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    sigma = constraints.positive(parameters["sigma"])
    net = parameters["net"]
    y = batch["y"]
    x = batch["x"]
    log_p_sigma = densities.half_normal(sigma, 1.0)  # []
    log_p_net = sum(densities.standard_normal(leaf).sum() for leaf in net.parameters())  # []
    net_loc = net(x)  # [B]
    return log_p_sigma + log_p_net + densities.normal(y, net_loc, sigma).sum()


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    net = parameters["net"]
    sigma = constraints.positive(parameters["sigma"])
    x = batch["x"]
    net_loc = net(x)  # [B]
    y = net_loc + sigma * noise["y"]  # [B]
    return {"y": y}

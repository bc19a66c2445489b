"""radon: compiled by dgmppl from radon.yaml (sha256 dd28faea54f4), backend pyro.

p(log_radon, g0, g1, tau, a, b, sigma | floor, county, uranium) = p(g0) p(g1) p(tau) p(a | uranium, g0, g1,
tau) p(b) p(sigma) p(log_radon | floor, county, a, b, sigma)
minimize  −[log p(log_radon|floor, county, a, b, sigma) + (1/N) log p(g0, g1, tau, a, b, sigma)]    (1/N) log
p(data, unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, draws, programs


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "g0": torch.full((), 0.0),
        "g1": torch.full((), 0.0),
        "tau": constraints.positive.inverse(torch.full((), 1.0)),
        "a": torch.full((25,), 0.0),
        "b": torch.full((), 0.0),
        "sigma": constraints.positive.inverse(torch.full((), 1.0)),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, uranium, county, floor, log_radon=None, *, rows=400, size=None):
        like = self.like
        size = len(county)
        g0 = pyro.sample("g0", dist.Normal(like.new_zeros(()), 10.0))
        g1 = pyro.sample("g1", dist.Normal(like.new_zeros(()), 10.0))
        tau = pyro.sample("tau", dist.HalfNormal(like.new_ones(())))
        with pyro.plate("county", 25, dim=-1):
            a = pyro.sample("a", dist.Normal(g0 + g1 * uranium, tau))
        b = pyro.sample("b", dist.Normal(like.new_zeros(()), 10.0))
        sigma = pyro.sample("sigma", dist.HalfNormal(like.new_ones(())))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            log_radon = pyro.sample(
                "log_radon", dist.Normal(a[county] + b * floor.to(like.dtype), sigma), obs=log_radon
            )


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"log_radon": ("normal", ("data",))},
    "prior": {
        "g0": ("normal", ()),
        "g1": ("normal", ()),
        "tau": ("library", ()),
        "a": ("normal", (25,)),
        "b": ("normal", ()),
        "sigma": ("library", ()),
        "log_radon": ("normal", ("data",)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(log_radon|floor, county, a, b, sigma): [B], nats, exact."""
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    like = a
    log_radon = batch["log_radon"]
    county = batch["county"]
    floor = batch["floor"]
    return densities.normal(log_radon, a[county] + b * floor.to(like.dtype), sigma)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    g0 = parameters["g0"]
    g1 = parameters["g1"]
    tau = constraints.positive(parameters["tau"])
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    like = g0
    uranium = batch["uranium"]
    log_radon = batch["log_radon"]
    county = batch["county"]
    floor = batch["floor"]
    log_p_g0 = densities.normal(g0, 0.0, 10.0)  # []
    log_p_g1 = densities.normal(g1, 0.0, 10.0)  # []
    log_p_tau = densities.half_normal(tau, 1.0)  # []
    log_p_a = densities.normal(a, g0 + g1 * uranium, tau).sum()  # []
    log_p_b = densities.normal(b, 0.0, 10.0)  # []
    log_p_sigma = densities.half_normal(sigma, 1.0)  # []
    return (
        log_p_g0
        + log_p_g1
        + log_p_tau
        + log_p_a
        + log_p_b
        + log_p_sigma
        + densities.normal(log_radon, a[county] + b * floor.to(like.dtype), sigma).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    like = noise["log_radon"]
    county = batch["county"]
    floor = batch["floor"]
    log_radon = a[county] + b * floor.to(like.dtype) + sigma * noise["log_radon"]  # [B]
    return {"log_radon": log_radon}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["g0"]
    uranium = batch["uranium"]
    county = batch["county"]
    floor = batch["floor"]
    g0 = 10.0 * noise["g0"]  # []
    g1 = 10.0 * noise["g1"]  # []
    tau = draws.library(dist.HalfNormal(like.new_ones(())), noise["tau"], ())  # []
    a = g0 + g1 * uranium + tau * noise["a"]  # [25]
    b = 10.0 * noise["b"]  # []
    sigma = draws.library(dist.HalfNormal(like.new_ones(())), noise["sigma"], ())  # []
    log_radon_ = a[county] + b * floor.to(like.dtype) + sigma * noise["log_radon"]  # [B]
    return {"g0": g0, "g1": g1, "tau": tau, "a": a, "b": b, "sigma": sigma, "log_radon": log_radon_}

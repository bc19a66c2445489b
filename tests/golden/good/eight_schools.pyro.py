"""eight-schools: compiled by dgmppl from eight_schools.yaml (sha256 9569e1a9bd98), backend pyro.

p(y, mu, tau, theta | sigma, school) = p(mu) p(tau) p(theta | mu, tau) p(y | sigma, school, theta)
minimize  −[log p(y|sigma, school, theta) + (1/N) log p(mu, tau, theta)]    (1/N) log p(data, unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, draws, programs


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "mu": torch.full((), 0.0),
        "tau": constraints.positive.inverse(torch.full((), 1.0)),
        "theta": torch.full((8,), 0.0),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, school, sigma, y=None, *, rows=8, size=None):
        like = self.like
        size = len(school)
        mu = pyro.sample("mu", dist.Normal(like.new_zeros(()), 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(like.new_full((), 5.0)))
        with pyro.plate("school", 8, dim=-1):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            y = pyro.sample("y", dist.Normal(theta[school], sigma.to(like.dtype)), obs=y)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data",))},
    "prior": {
        "mu": ("normal", ()), "tau": ("library", ()), "theta": ("normal", (8,)), "y": ("normal", ("data",))
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(y|sigma, school, theta): [B], nats, exact."""
    theta = parameters["theta"]
    like = theta
    y = batch["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    return densities.normal(y, theta[school], sigma.to(like.dtype))


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    mu = parameters["mu"]
    tau = constraints.positive(parameters["tau"])
    theta = parameters["theta"]
    like = mu
    y = batch["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    log_p_mu = densities.normal(mu, 0.0, 5.0)  # []
    log_p_tau = densities.half_cauchy(tau, 5.0)  # []
    log_p_theta = densities.normal(theta, mu, tau).sum()  # []
    return log_p_mu + log_p_tau + log_p_theta + densities.normal(y, theta[school], sigma.to(like.dtype)).sum()


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    theta = parameters["theta"]
    like = noise["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    y = theta[school] + sigma.to(like.dtype) * noise["y"]  # [B]
    return {"y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["mu"]
    school = batch["school"]
    sigma = batch["sigma"]
    mu = 5.0 * noise["mu"]  # []
    tau = draws.library(dist.HalfCauchy(like.new_full((), 5.0)), noise["tau"], ())  # []
    theta = mu + tau * noise["theta"]  # [8]
    y_ = theta[school] + sigma.to(like.dtype) * noise["y"]  # [B]
    return {"mu": mu, "tau": tau, "theta": theta, "y": y_}

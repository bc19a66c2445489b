"""gp: compiled by dgmppl from gp.yaml (sha256 c0f6fbe2daf9), backend pyro.

p(y, rho, alpha, sigma | x) = p(rho) p(alpha) p(sigma) p(y | x, rho, alpha, sigma)
minimize  −[log p(y|x, rho, alpha, sigma) + (1/N) log p(rho, alpha, sigma)]    (1/N) log p(data, unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, draws, operations, programs


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "rho": constraints.positive.inverse(torch.full((), 1.0)),
        "alpha": constraints.positive.inverse(torch.full((), 1.0)),
        "sigma": constraints.positive.inverse(torch.full((), 1.0)),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, x, y=None, *, rows=1, size=None):
        like = self.like
        size = len(x)
        rho = pyro.sample("rho", dist.Gamma(like.new_full((), 25.0), 4.0))
        alpha = pyro.sample("alpha", dist.HalfNormal(like.new_full((), 2.0)))
        sigma = pyro.sample("sigma", dist.HalfNormal(like.new_ones(())))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            # [B, 40, 40]
            root = operations.cholesky(
                torch.square(alpha) * operations.rbf(x / rho, 1)
                + sigma * torch.eye(40, dtype=like.dtype, device=like.device),
            )
            y = pyro.sample("y", dist.MultivariateNormal(like.new_zeros(40), scale_tril=root), obs=y)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 40))},
    "prior": {
        "rho": ("library", ()),
        "alpha": ("library", ()),
        "sigma": ("library", ()),
        "y": ("normal", ("data", 40)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(y|x, rho, alpha, sigma): [B], nats, exact."""
    alpha = constraints.positive(parameters["alpha"])
    rho = constraints.positive(parameters["rho"])
    sigma = constraints.positive(parameters["sigma"])
    like = alpha
    y = batch["y"]
    x = batch["x"]
    # [B, 40, 40]
    root = operations.cholesky(
        torch.square(alpha) * operations.rbf(x / rho, 1)
        + sigma * torch.eye(40, dtype=like.dtype, device=like.device),
    )
    return densities.multivariate_normal(y, like.new_zeros(40), root)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    rho = constraints.positive(parameters["rho"])
    alpha = constraints.positive(parameters["alpha"])
    sigma = constraints.positive(parameters["sigma"])
    like = rho
    y = batch["y"]
    x = batch["x"]
    log_p_rho = densities.gamma(rho, 25.0, 4.0)  # []
    log_p_alpha = densities.half_normal(alpha, 2.0)  # []
    log_p_sigma = densities.half_normal(sigma, 1.0)  # []
    # [B, 40, 40]
    root = operations.cholesky(
        torch.square(alpha) * operations.rbf(x / rho, 1)
        + sigma * torch.eye(40, dtype=like.dtype, device=like.device),
    )
    return (
        log_p_rho
        + log_p_alpha
        + log_p_sigma
        + densities.multivariate_normal(y, like.new_zeros(40), root).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    alpha = constraints.positive(parameters["alpha"])
    rho = constraints.positive(parameters["rho"])
    sigma = constraints.positive(parameters["sigma"])
    like = noise["y"]
    x = batch["x"]
    # [B, 40, 40]
    root = operations.cholesky(
        torch.square(alpha) * operations.rbf(x / rho, 1)
        + sigma * torch.eye(40, dtype=like.dtype, device=like.device),
    )
    y = like.new_zeros(40) + operations.matvec(root, noise["y"])  # [B, 40]
    return {"y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["y"]
    x = batch["x"]
    rho = draws.library(dist.Gamma(like.new_full((), 25.0), 4.0), noise["rho"], ())  # []
    alpha = draws.library(dist.HalfNormal(like.new_full((), 2.0)), noise["alpha"], ())  # []
    sigma = draws.library(dist.HalfNormal(like.new_ones(())), noise["sigma"], ())  # []
    # [B, 40, 40]
    root = operations.cholesky(
        torch.square(alpha) * operations.rbf(x / rho, 1)
        + sigma * torch.eye(40, dtype=like.dtype, device=like.device),
    )
    y_ = like.new_zeros(40) + operations.matvec(root, noise["y"])  # [B, 40]
    return {"rho": rho, "alpha": alpha, "sigma": sigma, "y": y_}

"""missing: compiled by dgmppl from missing.yaml (sha256 363888e4937a), backend pyro.

p(x, y, m, s, a, b, sigma) = p(m) p(s) p(a) p(b) p(sigma) p(x | m, s) p(y | a, b, sigma, x)
minimize  −[log p(x|m, s) + log p(y|a, b, sigma, x) + (1/N) log p(m, s, a, b, sigma)]    (1/N) log p(data,
unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, draws, operations, programs


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "m": torch.full((), 0.0),
        "s": constraints.positive.inverse(torch.full((), 1.0)),
        "a": torch.full((), 0.0),
        "b": torch.full((), 0.0),
        "sigma": constraints.positive.inverse(torch.full((), 1.0)),
        "x.missing": torch.full((30,), 0.0),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, x=None, y=None, *, x_observed=True, y_observed=True, rows=300, size=None):
        like = self.like
        size = next((len(column) for column in (x, y) if column is not None), size)
        size = rows if size is None else size
        m = pyro.sample("m", dist.Normal(like.new_zeros(()), 10.0))
        s = pyro.sample("s", dist.HalfNormal(like.new_full((), 5.0)))
        a = pyro.sample("a", dist.Normal(like.new_zeros(()), 10.0))
        b = pyro.sample("b", dist.Normal(like.new_zeros(()), 10.0))
        sigma = pyro.sample("sigma", dist.HalfNormal(like.new_full((), 5.0)))
        if x is not None:
            # missing entries are latents; the density of x below counts theirs
            x_missing = pyro.sample("x.missing", dist.ImproperUniform(dist.constraints.real, (), (30,)))
            x = operations.filled(x, x_observed, x_missing)
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            x = pyro.sample("x", dist.Normal(m, s), obs=x)
            y = pyro.sample("y", dist.Normal(a + b * x, sigma).mask(y_observed), obs=y)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"x": ("normal", ("data",)), "y": ("normal", ("data",))},
    "prior": {
        "m": ("normal", ()),
        "s": ("library", ()),
        "a": ("normal", ()),
        "b": ("normal", ()),
        "sigma": ("library", ()),
        "x": ("normal", ("data",)),
        "y": ("normal", ("data",)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p (with x.missing): a scalar, nats."""
    m = parameters["m"]
    s = constraints.positive(parameters["s"])
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    x_missing = parameters["x.missing"]
    like = m
    x = batch["x"]
    x_observed = batch["x.observed"]
    y = batch["y"]
    y_observed = batch["y.observed"]
    log_p_m = densities.normal(m, 0.0, 10.0)  # []
    log_p_s = densities.half_normal(s, 5.0)  # []
    log_p_a = densities.normal(a, 0.0, 10.0)  # []
    log_p_b = densities.normal(b, 0.0, 10.0)  # []
    log_p_sigma = densities.half_normal(sigma, 5.0)  # []
    x_filled = operations.filled(x, x_observed, x_missing)  # [B]
    return (
        log_p_m
        + log_p_s
        + log_p_a
        + log_p_b
        + log_p_sigma
        + (
            densities.normal(x_filled, m, s)
            + densities.normal(y, a + b * x_filled, sigma) * y_observed.to(like.dtype)
        ).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    m = parameters["m"]
    s = constraints.positive(parameters["s"])
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    x = m + s * noise["x"]  # [B]
    y = a + b * x + sigma * noise["y"]  # [B]
    return {"x": x, "y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["m"]
    m = 10.0 * noise["m"]  # []
    s = draws.library(dist.HalfNormal(like.new_full((), 5.0)), noise["s"], ())  # []
    a = 10.0 * noise["a"]  # []
    b = 10.0 * noise["b"]  # []
    sigma = draws.library(dist.HalfNormal(like.new_full((), 5.0)), noise["sigma"], ())  # []
    x_ = m + s * noise["x"]  # [B]
    y_ = a + b * x_ + sigma * noise["y"]  # [B]
    return {"m": m, "s": s, "a": a, "b": b, "sigma": sigma, "x": x_, "y": y_}

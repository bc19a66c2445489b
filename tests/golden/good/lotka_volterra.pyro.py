"""lotka-volterra: compiled by dgmppl from lotka_volterra.yaml (sha256 4b95b0b1fdd3), backend pyro.

p(y, theta, start, sigma | t) = p(theta) p(start) p(sigma) p(y | t, theta, start, sigma)
minimize  −[log p(y|t, theta, start, sigma) + (1/N) log p(theta, start, sigma)]    (1/N) log p(data, unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, distributions, draws, odes, operations, programs, restrictions, tails


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "theta": constraints.positive.inverse(torch.full((4,), 1.0)),
        "start": constraints.positive.inverse(torch.full((2,), 1.0)),
        "sigma": constraints.positive.inverse(torch.full((2,), 1.0)),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, t, y=None, *, rows=1, size=None):
        like = self.like
        size = len(t)

        def log_p_theta(theta_value):
            theta_loc = like.new_tensor((1.0, 0.05, 1.0, 0.05))
            theta_scale = like.new_tensor((0.5, 0.05, 0.5, 0.05))
            return restrictions.truncated(
                densities.normal(theta_value, theta_loc, theta_scale),
                theta_value,
                tails.Normal(theta_loc, theta_scale),
                low=0.0,
            ).sum(-1)

        def draw_theta(noise):
            theta_loc_ = like.new_tensor((1.0, 0.05, 1.0, 0.05))
            theta_scale_ = like.new_tensor((0.5, 0.05, 0.5, 0.05))
            # [4]
            theta = restrictions.between(noise["theta"], tails.Normal(theta_loc_, theta_scale_), low=0.0)
            return theta

        theta_ = pyro.sample(
            "theta",
            distributions.Composed(
                log_p_theta,
                draw_theta,
                {"theta": ("uniform", (4,))},
                (4,),
                dist.constraints.independent(dist.constraints.positive, 1),
                reparameterized=True,
                like=like,
            ),
        )
        start = pyro.sample("start", dist.LogNormal(like.new_full((2,), 2.302585092994046), 1.0).to_event(1))
        sigma = pyro.sample("sigma", dist.LogNormal(like.new_full((2,), -1.0), 1.0).to_event(1))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def rate(s, _):
                return operations.stack(
                    [
                        (theta_[..., 0] - theta_[..., 1] * s[..., 1]) * s[..., 0],
                        (theta_[..., 3] * s[..., 0] - theta_[..., 2]) * s[..., 1],
                    ],
                    -1,
                )
            path = odes.solve(rate, start, t.to(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
            path = pyro.deterministic("path", path)
            y = pyro.sample(
                "y",
                distributions.broadcast(dist.LogNormal(torch.log(path), sigma), (21, 2)).to_event(2),
                obs=y,
            )


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 21, 2))},
    "prior": {
        "theta": ("uniform", (4,)),
        "start": ("normal", (2,)),
        "sigma": ("normal", (2,)),
        "y": ("normal", ("data", 21, 2)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(y|t, theta, start, sigma): [B], nats, exact."""
    start = constraints.positive(parameters["start"])
    theta = constraints.positive(parameters["theta"])
    sigma = constraints.positive(parameters["sigma"])
    like = start
    y = batch["y"]
    t = batch["t"]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.to(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    return densities.log_normal(y, torch.log(path), sigma).sum((-2, -1))


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    theta = constraints.positive(parameters["theta"])
    start = constraints.positive(parameters["start"])
    sigma = constraints.positive(parameters["sigma"])
    like = theta
    y = batch["y"]
    t = batch["t"]
    theta_loc = like.new_tensor((1.0, 0.05, 1.0, 0.05))
    theta_scale = like.new_tensor((0.5, 0.05, 0.5, 0.05))
    # []
    log_p_theta = restrictions.truncated(
        densities.normal(theta, theta_loc, theta_scale), theta, tails.Normal(theta_loc, theta_scale), low=0.0
    ).sum(-1)
    log_p_start = densities.log_normal(start, 2.302585092994046, 1.0).sum(-1)  # []
    log_p_sigma = densities.log_normal(sigma, -1.0, 1.0).sum(-1)  # []

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.to(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    return (
        log_p_theta
        + log_p_start
        + log_p_sigma
        + densities.log_normal(y, torch.log(path), sigma).sum((-2, -1)).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    start = constraints.positive(parameters["start"])
    theta = constraints.positive(parameters["theta"])
    sigma = constraints.positive(parameters["sigma"])
    like = noise["y"]
    t = batch["t"]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.to(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    y = torch.exp(torch.log(path) + sigma * noise["y"])  # [B, 21, 2]
    return {"path": path, "y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["theta"]
    t = batch["t"]
    theta_loc = like.new_tensor((1.0, 0.05, 1.0, 0.05))
    theta_scale = like.new_tensor((0.5, 0.05, 0.5, 0.05))
    theta = restrictions.between(noise["theta"], tails.Normal(theta_loc, theta_scale), low=0.0)  # [4]
    start = torch.exp(2.302585092994046 + noise["start"])  # [2]
    sigma = torch.exp(-1.0 + noise["sigma"])  # [2]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.to(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    y_ = torch.exp(torch.log(path) + sigma * noise["y"])  # [B, 21, 2]
    return {"theta": theta, "start": start, "sigma": sigma, "path": path, "y": y_}

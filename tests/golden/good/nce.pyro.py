"""nce: compiled by dgmppl from nce.yaml (sha256 397b5d6afc71), backend pyro.

p(x) = p₀(x) exp(−E(x)) / Z
minimize  −log p_noise(x)    E_data[log p_noise(x)]
minimize  −E_{p_data}[log σ(log p(x) − log p_noise(x))] − E_{noise}[log σ(−(log p(x) − log p_noise(x)))]
log p_data(x) − log p_noise(x), by logistic regression
"""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import annealing, bijectors, densities, distributions, draws, operations, programs, samplers


class Potential(nn.Module):
    """[2] -> out []; mlp([128, 128]), softplus."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 1)])

    def forward(self, x):
        h = operations.softplus(self.layers[0](x))
        h = operations.softplus(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


class CoverConditioner(nn.Module):
    """[1] -> shift [1], log_scale [1]; mlp([32]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 32), nn.Linear(32, 2)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        shift = h[..., :1]
        log_scale = h[..., 1:]
        return shift, log_scale


class Cover(bijectors.Chain):
    """z [2] -> x [2]: 2 x (coupling(mlp([32]), affine()), reverse())."""

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.Coupling(CoverConditioner(), bijectors.Affine(), 2), bijectors.Reverse(2)
                ] for _ in range(2)
            ]
        )


NETWORKS = {"potential": Potential, "cover": Cover}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"potential": Potential(), "cover": Cover(), "log_normalizer.x": torch.full((), 0.0)}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.cover = parameters["cover"]
        self.potential = parameters["potential"]

    def forward(self, x=None, *, rows=4096, size=None):
        like = self.like
        cover = self.cover
        potential = self.potential
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_noise(noise_value):
                u, u_log_det = cover.inverse_and_log_det(noise_value)  # [B, 2]
                return densities.normal(u, 0.0, 2.0).sum(-1) + u_log_det

            def draw_noise(noise):
                u_ = 2.0 * noise["u"]  # [B, 2]
                noise_ = cover.forward(u_)  # [B, 2]
                return noise_

            noise_2 = pyro.sample(
                "noise",
                distributions.Composed(
                    log_p_noise,
                    draw_noise,
                    {"u": ("normal", (2,))},
                    (2,),
                    dist.constraints.independent(dist.constraints.real, 1),
                    reparameterized=True,
                    like=like,
                ),
            )

            def log_p_x_(x_value):
                potential_out = potential(x_value)  # [B]
                return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out

            def draw_x(noise):
                x_start = 2.0 * noise["x.start"]  # [B, 2]

                def log_p_x(x_value_):
                    potential_out_ = potential(x_value_)  # [B]
                    return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out_
                x_sampled = samplers.langevin(log_p_x, x_start, 1, noise["x.chain"], step_size=0.01)  # [B, 2]
                return x_sampled

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x_,
                    draw_x,
                    {"x.start": ("normal", (2,)), "x.chain": ("normal", (200, 2))},
                    (2,),
                    dist.constraints.independent(dist.constraints.real, 1),
                    reparameterized=True,
                    like=like,
                ),
                obs=x,
            )


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"u@noise": ("normal", ("data", 2))},
    "anneal_x": {
        "x.start": ("normal", ("data", 2)),
        "x.chain": ("normal", ("data", 200, 2)),
        "x.accept": ("uniform", ("data", 200)),
        "x.size": ("uniform", ("data", 200)),
    },
    "anneal_x_back": {
        "x.chain": ("normal", ("data", 200, 2)),
        "x.accept": ("uniform", ("data", 200)),
        "x.size": ("uniform", ("data", 200)),
    },
    "sample": {
        "u": ("normal", ("data", 2)),
        "x.start": ("normal", ("data", 2)),
        "x.chain": ("normal", ("data", 200, 2)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_noise(own, other, state, batch, noise, step):
    """minimize  −log p_noise(x)    (nats per datum)"""
    cover = own["cover"]
    x = batch["x"]
    u, u_log_det = cover.inverse_and_log_det(x)  # [B, 2]
    loss = (-(densities.normal(u, 0.0, 2.0).sum(-1) + u_log_det)).mean()  # []
    return loss, state, {"loss": loss}


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{p_data}[log σ(log p(x) − log p_noise(x))] − E_{noise}[log σ(−(log p(x) − log
    p_noise(x)))]    (nats per datum)
    """
    cover = other["cover"]
    potential = own["potential"]
    log_normalizer_x = own["log_normalizer.x"]
    x = batch["x"]
    u = 2.0 * noise["u@noise"]  # [B, 2]
    noise_, noise_log_det = cover.forward_and_log_det(u)  # [B, 2]
    noise_2 = noise_.detach()  # [B, 2]
    potential_out = potential(x)  # [B]
    u_, u_log_det = cover.inverse_and_log_det(x)  # [B, 2]
    potential_out_ = potential(noise_2)  # [B]
    u_2, u_log_det_ = cover.inverse_and_log_det(noise_2)  # [B, 2]
    # []
    loss = (
        operations.softplus(
            densities.normal(u_, 0.0, 2.0).sum(-1)
            + u_log_det
            - (densities.normal(x, 0.0, 2.0).sum(-1) - potential_out - log_normalizer_x),
        )
        + operations.softplus(
            densities.normal(noise_2, 0.0, 2.0).sum(-1)
            - potential_out_
            - log_normalizer_x
            - (densities.normal(u_2, 0.0, 2.0).sum(-1) + u_log_det_),
        )
    ).mean()
    return loss, state, {"loss": loss}


def unnormalized_x(parameters, batch):
    """log p(x) + log Z: [B], nats."""
    potential = parameters["potential"]
    x = batch["x"]
    potential_out = potential(x)  # [B]
    return densities.normal(x, 0.0, 2.0).sum(-1) - potential_out


def anneal_x(parameters, batch, noise):
    """annealed importance sampling from the base: one chain per row, log w [B], E[w] = Z."""
    potential = parameters["potential"]
    x_start = 2.0 * noise["x.start"]  # [B, 2]

    def log_base_x(x_value):
        return densities.normal(x_value, 0.0, 2.0).sum(-1)

    def log_p_x(x_value_):
        potential_out = potential(x_value_)  # [B]
        return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out
    # [B, 2]
    x_sampled = annealing.hmc(
        log_base_x,
        log_p_x,
        x_start,
        1,
        noise["x.chain"],
        noise["x.accept"],
        noise["x.size"],
        leapfrog=10,
        reverse=False,
    )
    return {"x": x_sampled[0], "log_weights": x_sampled[1]}


def anneal_x_back(parameters, batch, noise):
    """annealed importance sampling from exact draws of x: one chain per row, log w [B], E[1/w] = 1/Z."""
    potential = parameters["potential"]
    x = batch["x"]

    def log_base_x(x_value):
        return densities.normal(x_value, 0.0, 2.0).sum(-1)

    def log_p_x(x_value_):
        potential_out = potential(x_value_)  # [B]
        return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out
    # [B, 2]
    x_sampled = annealing.hmc(
        log_base_x,
        log_p_x,
        x,
        1,
        noise["x.chain"],
        noise["x.accept"],
        noise["x.size"],
        leapfrog=10,
        reverse=True,
    )
    return {"x": x_sampled[0], "log_weights": x_sampled[1]}


def log_unnormalized(parameters, batch):
    """log p̃(x): [B], nats, up to log Z."""
    potential = parameters["potential"]
    x = batch["x"]
    potential_out = potential(x)  # [B]
    return densities.normal(x, 0.0, 2.0).sum(-1) - potential_out


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]. x is the end of
    langevin(steps=200, step_size=0.01), approximate.
    """
    cover = parameters["cover"]
    potential = parameters["potential"]
    u = 2.0 * noise["u"]  # [B, 2]
    noise_ = cover.forward(u)  # [B, 2]
    x_start = 2.0 * noise["x.start"]  # [B, 2]

    def log_p_x(x_value):
        potential_out = potential(x_value)  # [B]
        return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out
    x_sampled = samplers.langevin(log_p_x, x_start, 1, noise["x.chain"], step_size=0.01)  # [B, 2]
    return {"u": u, "noise": noise_, "x": x_sampled}

"""ebm-cd: compiled by dgmppl from ebm_cd.yaml (sha256 0833bec1c0c3), backend pyro.

p(x) = p₀(x) exp(−E(x)) / Z
minimize  E_{p_data(x)}[∇_θ E(x)] − E_{p(x)}[∇_θ E(x)]    the gradient of −E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
from pyro import poutine
from torch import nn

from dgmppl_pyro import annealing, densities, distributions, draws, operations, programs, samplers


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


NETWORKS = {"potential": Potential}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"potential": Potential()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.potential = parameters["potential"]

    def forward(self, x=None, *, rows=4096, size=None):
        like = self.like
        potential = self.potential
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

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
    "initial_state": {"x.start": ("normal", ("data", 2))},
    "loss_model": {"x.chain": ("normal", ("data", 60, 2))},
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
    "sample": {"x.start": ("normal", ("data", 2)), "x.chain": ("normal", ("data", 200, 2))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def initial_state(noise):
    """what the losses carry from step to step."""
    return {"x.chain": 2.0 * noise["x.start"]}


def loss_model(own, other, state, batch, noise, step):
    """minimize  E_{p_data(x)}[∇_θ E(x)] − E_{p(x)}[∇_θ E(x)]    (nats per datum)"""
    potential = own["potential"]
    x = batch["x"]

    def log_p_x(x_value):
        potential_out = potential(x_value)  # [B]
        return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out
    x_sampled = samplers.langevin(log_p_x, state["x.chain"], 1, noise["x.chain"], step_size=0.01)  # [B, 2]
    potential_out_ = potential(x_sampled)  # [B]
    log_p_x_ = densities.normal(x_sampled, 0.0, 2.0).sum(-1) - potential_out_  # [B]
    potential_out_2 = potential(x)  # [B]
    log_p_x_2 = densities.normal(x, 0.0, 2.0).sum(-1) - potential_out_2  # [B]
    loss = (log_p_x_ - log_p_x_2).mean()  # []
    return loss, {**state, "x.chain": x_sampled}, {"loss": loss}


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
    potential = parameters["potential"]
    x_start = 2.0 * noise["x.start"]  # [B, 2]

    def log_p_x(x_value):
        potential_out = potential(x_value)  # [B]
        return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out
    x_sampled = samplers.langevin(log_p_x, x_start, 1, noise["x.chain"], step_size=0.01)  # [B, 2]
    return {"x": x_sampled}

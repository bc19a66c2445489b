"""garch: compiled by dgmppl from garch.yaml (sha256 3f98634dd374), backend pyro.

p(y, mu, a0, a1, b1 | sigma0) = p(mu) p(a0) p(a1) p(b1 | a1) ∏ₜ p(y[t] | y[<t], sigma0, mu, a0, a1, b1)
minimize  −[log p(y|sigma0, mu, a0, a1, b1) + (1/N) log p(mu, a0, a1, b1)]    (1/N) log p(data, unknowns)
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from dgmppl_pyro import constraints, densities, distributions, draws, loops, operations, programs


def support_of_b1(a1):
    """the bijection from the reals onto where b1 lies, given what its bounds read."""
    return constraints.interval(0.0, 1 - a1)


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "mu": torch.full((), 0.0),
        "a0": constraints.positive.inverse(torch.full((), 1.0)),
        "a1": constraints.interval(0.0, 1.0).inverse(torch.full((), 0.5)),
        "b1": torch.zeros(()),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)

    def forward(self, sigma0, y=None, *, rows=1, size=None):
        like = self.like
        size = len(sigma0)
        mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        a0 = pyro.sample("a0", dist.ImproperUniform(dist.constraints.positive, (), ()))
        a1 = pyro.sample("a1", dist.ImproperUniform(dist.constraints.interval(0.0, 1.0), (), ()))
        b1 = pyro.sample("b1", dist.ImproperUniform(dist.constraints.interval(0.0, 1 - a1), (), ()))
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_y(y_value):

                def step_of_s(carry, inputs, t):
                    s_before, = carry
                    y_value_1_before, = inputs
                    # [B]
                    s_now = torch.sqrt(
                        a0 + a1 * torch.square(y_value_1_before - mu) + b1 * torch.square(s_before)
                    )
                    return (s_now,), (s_now,)

                s_rest, = loops.scan(step_of_s, (sigma0,), [(y_value[..., :299], 0)], (0,), range(1, 300))
                s = operations.concatenate([sigma0[..., None], s_rest], -1)  # [B, 300]
                return densities.normal(y_value, mu, s).sum(-1)

            def draw_y(noise):
                y_0 = mu + sigma0 * noise["y"][..., 0]  # [B]

                def step_of_s_y(carry, inputs, t_):
                    s_before_, y_before = carry
                    noise_now, = inputs
                    # [B]
                    s_now_ = torch.sqrt(a0 + a1 * torch.square(y_before - mu) + b1 * torch.square(s_before_))
                    y_now = mu + s_now_ * noise_now  # [B]
                    return (s_now_, y_now), (s_now_, y_now)

                s_rest_, y_rest = loops.scan(
                    step_of_s_y, (sigma0, y_0), [(noise["y"][..., 1:], 0)], (0, 0), range(1, 300)
                )
                s_ = operations.concatenate([sigma0[..., None], s_rest_], -1)  # [B, 300]
                y_ = operations.concatenate([y_0[..., None], y_rest], -1)  # [B, 300]
                return y_

            y = pyro.sample(
                "y",
                distributions.Composed(
                    log_p_y,
                    draw_y,
                    {"y": ("normal", (300,))},
                    (300,),
                    dist.constraints.independent(dist.constraints.real, 1),
                    reparameterized=True,
                    like=like,
                ),
                obs=y,
            )

            def step_of_s_(carry, inputs, t_2):
                s_before_2, = carry
                y_1_before, = inputs
                # [B]
                s_now_2 = torch.sqrt(a0 + a1 * torch.square(y_1_before - mu) + b1 * torch.square(s_before_2))
                return (s_now_2,), (s_now_2,)

            s_rest_2, = loops.scan(step_of_s_, (sigma0,), [(y[..., :299], 0)], (0,), range(1, 300))
            s_2 = operations.concatenate([sigma0[..., None], s_rest_2], -1)  # [B, 300]
            s = pyro.deterministic("s", s_2)


class Program:
    """`model` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 300))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def log_prob(parameters, batch):
    """log p(y|sigma0, mu, a0, a1, b1): [B], nats, exact."""
    mu = parameters["mu"]
    a0 = constraints.positive(parameters["a0"])
    a1 = constraints.interval(0.0, 1.0)(parameters["a1"])
    b1 = support_of_b1(a1)(parameters["b1"])
    y = batch["y"]
    sigma0 = batch["sigma0"]

    def step_of_s(carry, inputs, t):
        s_before, = carry
        y_1_before, = inputs
        s_now = torch.sqrt(a0 + a1 * torch.square(y_1_before - mu) + b1 * torch.square(s_before))  # [B]
        return (s_now,), (s_now,)

    s_rest, = loops.scan(step_of_s, (sigma0,), [(y[..., :299], 0)], (0,), range(1, 300))
    s = operations.concatenate([sigma0[..., None], s_rest], -1)  # [B, 300]
    return densities.normal(y, mu, s).sum(-1)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    a1 = constraints.interval(0.0, 1.0)(parameters["a1"])
    b1 = support_of_b1(a1)(parameters["b1"])
    mu = parameters["mu"]
    a0 = constraints.positive(parameters["a0"])
    y = batch["y"]
    sigma0 = batch["sigma0"]
    log_p_mu = 0.0  # []
    log_p_a0 = 0.0  # []
    log_p_a1 = 0.0  # []
    log_p_b1 = densities.at_least(b1, 0.0) + densities.at_most(b1, 1 - a1)  # []

    def step_of_s(carry, inputs, t):
        s_before, = carry
        y_1_before, = inputs
        s_now = torch.sqrt(a0 + a1 * torch.square(y_1_before - mu) + b1 * torch.square(s_before))  # [B]
        return (s_now,), (s_now,)

    s_rest, = loops.scan(step_of_s, (sigma0,), [(y[..., :299], 0)], (0,), range(1, 300))
    s = operations.concatenate([sigma0[..., None], s_rest], -1)  # [B, 300]
    return log_p_mu + log_p_a0 + log_p_a1 + log_p_b1 + densities.normal(y, mu, s).sum(-1).sum()


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    mu = parameters["mu"]
    a0 = constraints.positive(parameters["a0"])
    a1 = constraints.interval(0.0, 1.0)(parameters["a1"])
    b1 = support_of_b1(a1)(parameters["b1"])
    sigma0 = batch["sigma0"]
    y_0 = mu + sigma0 * noise["y"][..., 0]  # [B]

    def step_of_s_y(carry, inputs, t):
        s_before, y_before = carry
        noise_now, = inputs
        s_now = torch.sqrt(a0 + a1 * torch.square(y_before - mu) + b1 * torch.square(s_before))  # [B]
        y_now = mu + s_now * noise_now  # [B]
        return (s_now, y_now), (s_now, y_now)

    s_rest, y_rest = loops.scan(step_of_s_y, (sigma0, y_0), [(noise["y"][..., 1:], 0)], (0, 0), range(1, 300))
    s = operations.concatenate([sigma0[..., None], s_rest], -1)  # [B, 300]
    y = operations.concatenate([y_0[..., None], y_rest], -1)  # [B, 300]
    return {"s": s, "y": y}

"""deep-markov: compiled by dgmppl from deep_markov.yaml (sha256 277c915d6633), backend pyro.

p(x, z) = p(z[0]) ∏ₜ p(z[t] | z[t−1]) ∏ₜ p(x[t] | z[t])
minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import densities, distributions, draws, loops, networks, operations, programs, recurrent


class Transition(nn.Module):
    """[4] -> loc [4], scale [4]; mlp([32]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 32), nn.Linear(32, 8)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


class Emission(nn.Module):
    """[4] -> loc [3], scale [3]; mlp([32]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 32), nn.Linear(32, 6)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :3]
        scale = networks.positive(h[..., 3:])
        return loc, scale


class Summary(nn.Module):
    """[40, 3] -> out [40, 32]; gru(32, direction=backward, order=raster)."""

    def __init__(self):
        super().__init__()
        self.body = recurrent.GRU(3, width=32, direction="backward")
        self.last = nn.Linear(32, 32)

    def forward(self, x):
        return self.last(self.body(x))


class Combiner(nn.Module):
    """[4], [32] -> loc [4], scale [4]; mlp([32]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(36, 32), nn.Linear(32, 8)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.relu(self.layers[0](h))
        h = self.layers[1](h)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


class First(nn.Module):
    """[32] -> loc [4], scale [4]; linear."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(32, 8)])

    def forward(self, x):
        h = self.layers[0](x)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


NETWORKS = {
    "transition": Transition, "emission": Emission, "summary": Summary, "combiner": Combiner, "first": First
}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {
        "transition": Transition(),
        "emission": Emission(),
        "summary": Summary(),
        "combiner": Combiner(),
        "first": First(),
    }


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.transition = parameters["transition"]
        self.emission = parameters["emission"]

    def forward(self, x=None, *, rows=None, size=None):
        like = self.like
        transition = self.transition
        emission = self.emission
        size = size if x is None else len(x)
        rows = size if rows is None else rows
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_z(z_value):
                transition_loc, transition_scale = transition(z_value[..., :39, :])  # [B, 4], [B, 4]
                return (
                    densities.standard_normal(z_value[..., 0, :]).sum(-1)
                    + densities.normal(z_value[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
                )

            def draw_z(noise):
                z_0 = noise["z"][..., 0, :]  # [B, 4]

                def step_of_z(carry, inputs, t):
                    z_before, = carry
                    noise_now, = inputs
                    transition_loc_, transition_scale_ = transition(z_before)  # [B, 4], [B, 4]
                    z_now = transition_loc_ + transition_scale_ * noise_now  # [B, 4]
                    return (z_now,), (z_now,)

                z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (1,), range(1, 40))
                z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
                return z

            z_ = pyro.sample(
                "z",
                distributions.Composed(
                    log_p_z,
                    draw_z,
                    {"z": ("normal", (40, 4))},
                    (40, 4),
                    dist.constraints.independent(dist.constraints.real, 2),
                    reparameterized=True,
                    like=like,
                ),
            )

            def log_p_x(x_value):
                emission_loc, emission_scale = emission(z_)  # [B, 3], [B, 3]
                return densities.normal(x_value, emission_loc, emission_scale).sum(-1).sum(-1)

            def draw_x(noise):
                emission_loc_, emission_scale_ = emission(z_)  # [B, 3], [B, 3]
                x_ = emission_loc_ + emission_scale_ * noise["x"]  # [B, 40, 3]
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"x": ("normal", (40, 3))},
                    (40, 3),
                    dist.constraints.independent(dist.constraints.real, 2),
                    reparameterized=True,
                    like=like,
                ),
                obs=x,
            )


class Guide(programs.LocalModule):
    """the variational posterior, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.summary = parameters["summary"]
        self.first = parameters["first"]
        self.combiner = parameters["combiner"]

    def forward(self, x=None, *, rows=None, size=None):
        like = self.like
        summary = self.summary
        first = self.first
        combiner = self.combiner
        size = size if x is None else len(x)
        rows = size if rows is None else rows
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):
            summary_out = summary(x)  # [B, 40, 32]
            h = pyro.deterministic("h", summary_out, event_dim=2)

            def log_p_z(z_value):
                first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
                # [B, 4], [B, 4]
                combiner_loc, combiner_scale = combiner(z_value[..., :39, :], summary_out[..., 1:, :])
                return (
                    densities.normal(z_value[..., 0, :], first_loc, first_scale).sum(-1)
                    + densities.normal(z_value[..., 1:, :], combiner_loc, combiner_scale).sum(-1).sum(-1)
                )

            def draw_z(noise):
                first_loc_, first_scale_ = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
                z_0 = first_loc_ + first_scale_ * noise["z"][..., 0, :]  # [B, 4]

                def step_of_z(carry, inputs, t):
                    z_before, = carry
                    summary_out_now, noise_now = inputs
                    combiner_loc_, combiner_scale_ = combiner(z_before, summary_out_now)  # [B, 4], [B, 4]
                    z_now = combiner_loc_ + combiner_scale_ * noise_now  # [B, 4]
                    return (z_now,), (z_now,)

                z_rest, = loops.scan(
                    step_of_z,
                    (z_0,),
                    [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)],
                    (1,),
                    range(1, 40),
                )
                z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
                return z

            z_ = pyro.sample(
                "z",
                distributions.Composed(
                    log_p_z,
                    draw_z,
                    {"z": ("normal", (40, 4))},
                    (40, 4),
                    dist.constraints.independent(dist.constraints.real, 2),
                    reparameterized=True,
                    like=like,
                ),
            )


class Program:
    """`model` and `guide` on the same parameters."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        self.model = Model(parameters)
        self.guide = Guide(parameters)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z": ("normal", ("data", 40, 4))},
    "elbo": {"z": ("normal", ("particles", "data", 40, 4))},
    "log_weights": {"z": ("normal", ("particles", "data", 40, 4))},
    "encode": {"z": ("normal", ("particles", "data", 40, 4))},
    "sample": {"z": ("normal", ("data", 40, 4)), "x": ("normal", ("data", 40, 3))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    (nats per datum)"""
    summary = own["summary"]
    first = own["first"]
    combiner = own["combiner"]
    emission = own["emission"]
    transition = own["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [B, 4], [B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [B, 3], [B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [B, 4], [B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [B, 4], [B, 4]
    # []
    loss = (
        densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
        + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        - (
            densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
            + densities.standard_normal(z[..., 0, :]).sum(-1)
            + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        )
    ).mean()
    return loss, state, {"loss": loss}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation.
    """
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    emission = parameters["emission"]
    transition = parameters["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [K, B, 3], [K, B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [K, B, 4], [K, B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [K, B, 4], [K, B, 4]
    return (
        densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
        + densities.standard_normal(z[..., 0, :]).sum(-1)
        + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        - (
            densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
            + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        )
    ).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    emission = parameters["emission"]
    transition = parameters["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [K, B, 3], [K, B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [K, B, 4], [K, B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [K, B, 4], [K, B, 4]
    return (
        densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
        + densities.standard_normal(z[..., 0, :]).sum(-1)
        + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        - (
            densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
            + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        )
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    return {"z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    transition = parameters["transition"]
    emission = parameters["emission"]
    z_0 = noise["z"][..., 0, :]  # [B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        noise_now, = inputs
        transition_loc, transition_scale = transition(z_before)  # [B, 4], [B, 4]
        z_now = transition_loc + transition_scale * noise_now  # [B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (1,), range(1, 40))
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [B, 3], [B, 3]
    x = emission_loc + emission_scale * noise["x"]  # [B, 40, 3]
    return {"z": z, "x": x}

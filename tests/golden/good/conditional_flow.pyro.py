"""conditional-flow: compiled by dgmppl from conditional_flow.yaml (sha256 cc4093950ffd), backend pyro.

p(x | y) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  −log p(x|y)    E_data[log p(x | y)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import bijectors, densities, distributions, draws, operations, programs


class FlowConditioner(nn.Module):
    """[6], [3] -> widths [7, 8], heights [7, 8], derivatives [7, 7]; mlp([64, 64]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(9, 64), nn.Linear(64, 64), nn.Linear(64, 161)])

    def forward(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = F.relu(self.layers[0](h))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        widths = h[..., :56]
        widths = widths.reshape(*widths.shape[:-1], 7, 8)
        heights = h[..., 56:112]
        heights = heights.reshape(*heights.shape[:-1], 7, 8)
        derivatives_ = h[..., 112:]
        derivatives_ = derivatives_.reshape(*derivatives_.shape[:-1], 7, 7)
        return widths, heights, derivatives_


class Flow(bijectors.Chain):
    """z [13] -> x [13]: 5 x (coupling(mlp([64, 64]), spline(bins=8, bound=5.0)), permute())."""

    orders = [
        [1, 4, 12, 6, 11, 2, 7, 8, 0, 3, 5, 9, 10],
        [6, 10, 5, 1, 9, 8, 0, 11, 3, 4, 7, 12, 2],
        [8, 11, 5, 10, 7, 6, 4, 2, 1, 12, 0, 3, 9],
        [1, 6, 12, 11, 9, 0, 2, 8, 10, 3, 7, 5, 4],
        [7, 10, 4, 9, 8, 3, 12, 0, 5, 11, 2, 1, 6],
    ]

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.Coupling(FlowConditioner(), bijectors.Spline(8, 5.0), 13),
                    bijectors.Permute(order),
                ] for order in self.orders
            ]
        )


NETWORKS = {"flow": Flow}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"flow": Flow()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.flow = parameters["flow"]

    def forward(self, y, x=None, *, rows=178, size=None):
        like = self.like
        flow = self.flow
        size = len(y)
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                z, z_log_det = flow.inverse_and_log_det(x_value, operations.one_hot(y, 3, like))  # [B, 13]
                return densities.standard_normal(z).sum(-1) + z_log_det

            def draw_x(noise):
                z_ = noise["z"]  # [B, 13]
                x_ = flow.forward(z_, operations.one_hot(y, 3, like))  # [B, 13]
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"z": ("normal", (13,))},
                    (13,),
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
    "sample": {"z": ("normal", ("data", 13))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x|y)    (nats per datum)"""
    flow = own["flow"]
    x = batch["x"]
    y = batch["y"]
    like = x
    z, z_log_det = flow.inverse_and_log_det(x, operations.one_hot(y, 3, like))  # [B, 13]
    loss = (-(densities.standard_normal(z).sum(-1) + z_log_det)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x|y): [B], nats, exact."""
    flow = parameters["flow"]
    x = batch["x"]
    y = batch["y"]
    like = x
    z, z_log_det = flow.inverse_and_log_det(x, operations.one_hot(y, 3, like))  # [B, 13]
    return densities.standard_normal(z).sum(-1) + z_log_det


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    flow = parameters["flow"]
    like = noise["z"]
    y = batch["y"]
    z = noise["z"]  # [B, 13]
    x = flow.forward(z, operations.one_hot(y, 3, like))  # [B, 13]
    return {"z": z, "x": x}

"""nsf: compiled by dgmppl from nsf.yaml (sha256 da0743549894), backend pyro.

p(x) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  −log p(x)    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import bijectors, densities, distributions, draws, programs


class FlowConditioner(nn.Module):
    """[1] -> widths [1, 8], heights [1, 8], derivatives [1, 7]; mlp([64, 64]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 64), nn.Linear(64, 64), nn.Linear(64, 23)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        widths = h[..., :8]
        widths = widths.reshape(*widths.shape[:-1], 1, 8)
        heights = h[..., 8:16]
        heights = heights.reshape(*heights.shape[:-1], 1, 8)
        derivatives_ = h[..., 16:]
        derivatives_ = derivatives_.reshape(*derivatives_.shape[:-1], 1, 7)
        return widths, heights, derivatives_


class Flow(bijectors.Chain):
    """z [2] -> x [2]: 4 x (coupling(mlp([64, 64]), spline(bins=8, bound=4)), reverse())."""

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.Coupling(FlowConditioner(), bijectors.Spline(8, 4), 2), bijectors.Reverse(2)
                ] for _ in range(4)
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

    def forward(self, x=None, *, rows=3072, size=None):
        like = self.like
        flow = self.flow
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                z, z_log_det = flow.inverse_and_log_det(x_value)  # [B, 2]
                return densities.standard_normal(z).sum(-1) + z_log_det

            def draw_x(noise):
                z_ = noise["z"]  # [B, 2]
                x_ = flow.forward(z_)  # [B, 2]
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"z": ("normal", (2,))},
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
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    flow = own["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 2]
    loss = (-(densities.standard_normal(z).sum(-1) + z_log_det)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    flow = parameters["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 2]
    return densities.standard_normal(z).sum(-1) + z_log_det


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    flow = parameters["flow"]
    z = noise["z"]  # [B, 2]
    x = flow.forward(z)  # [B, 2]
    return {"z": z, "x": x}

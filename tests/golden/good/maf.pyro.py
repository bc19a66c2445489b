"""maf: compiled by dgmppl from maf.yaml (sha256 7e6bf27ee65f), backend pyro.

p(x) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  −log p(x)    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import bijectors, causal, densities, distributions, draws, programs


class FlowConditioner(nn.Module):
    """[13] -> shift [13], log_scale [13]; made([64, 64], order=raster), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                causal.MaskedLinear(13, 64, (1, 14), (1, 13), 0),
                causal.MaskedLinear(64, 64, (1, 13), (1, 13), 0),
                causal.MaskedLinear(64, 26, (1, 13), (0, 13), 0),
            ],
        )

    def forward(self, x):
        x = causal.number(x, self.layers[0].weight)
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        h = h.reshape(*h.shape[:-1], 13, 2)
        shift = h[..., 0]
        log_scale = h[..., 1]
        return shift, log_scale

    def start(self, batch=()):
        """The cache before the first element."""
        return self.layers[0].room(batch), self.layers[1].room(batch), self.layers[2].room(batch)

    def step(self, cache, i, previous):
        """The cache, and what the network says of the i-th element visited, given the one before."""
        x, h1, h2 = cache
        layer0, layer1, layer2 = self.layers
        x = layer0.fill(x, causal.number(previous, layer0.weight)[..., None], i)
        h1 = layer1.fill(h1, F.relu(layer0.units(x, i)), i)
        h2 = layer2.fill(h2, F.relu(layer1.units(h1, i)), i)
        h = layer2.units(h2, i)
        shift = h[..., 0]
        log_scale = h[..., 1]
        return (x, h1, h2), (shift, log_scale)


class Flow(bijectors.Chain):
    """z [13] -> x [13]: 5 x (autoregressive(made([64, 64]), affine()), reverse())."""

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.Autoregressive(FlowConditioner(), bijectors.Affine(), 13), bijectors.Reverse(13)
                ] for _ in range(5)
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

    def forward(self, x=None, *, rows=142, size=None):
        like = self.like
        flow = self.flow
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                z, z_log_det = flow.inverse_and_log_det(x_value)  # [B, 13]
                return densities.standard_normal(z).sum(-1) + z_log_det

            def draw_x(noise):
                z_ = noise["z"]  # [B, 13]
                x_ = flow.forward(z_)  # [B, 13]
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
    """minimize  −log p(x)    (nats per datum)"""
    flow = own["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 13]
    loss = (-(densities.standard_normal(z).sum(-1) + z_log_det)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    flow = parameters["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 13]
    return densities.standard_normal(z).sum(-1) + z_log_det


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    flow = parameters["flow"]
    z = noise["z"]  # [B, 13]
    x = flow.forward(z)  # [B, 13]
    return {"z": z, "x": x}

"""realnvp: compiled by dgmppl from realnvp.yaml (sha256 d27c44f5a801), backend pyro.

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
    """[32] -> shift [32], log_scale [32]; mlp([128, 128]), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(32, 128), nn.Linear(128, 128), nn.Linear(128, 64)])

    def forward(self, x):
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        shift = h[..., :32]
        log_scale = h[..., 32:]
        return shift, log_scale


class Flow(bijectors.Chain):
    """z [64] -> x [64]: 8 x (actnorm(), coupling(mlp([128, 128]), affine()), permute())."""

    orders = [
        [
            11,
            6,
            53,
            37,
            7,
            31,
            0,
            50,
            55,
            27,
            40,
            14,
            29,
            21,
            45,
            10,
            57,
            43,
            49,
            38,
            48,
            9,
            35,
            63,
            4,
            30,
            24,
            20,
            47,
            39,
            51,
            54,
            44,
            46,
            62,
            52,
            23,
            3,
            2,
            26,
            34,
            8,
            25,
            22,
            61,
            17,
            42,
            1,
            18,
            36,
            56,
            58,
            59,
            13,
            60,
            32,
            15,
            28,
            5,
            16,
            33,
            41,
            12,
            19,
        ],
        [
            48,
            61,
            4,
            47,
            29,
            45,
            17,
            15,
            43,
            31,
            1,
            37,
            39,
            52,
            36,
            16,
            38,
            35,
            51,
            54,
            40,
            57,
            18,
            9,
            34,
            28,
            12,
            53,
            26,
            62,
            59,
            6,
            55,
            44,
            46,
            32,
            50,
            20,
            41,
            24,
            33,
            63,
            7,
            60,
            27,
            21,
            25,
            22,
            8,
            3,
            2,
            14,
            19,
            49,
            23,
            58,
            42,
            13,
            5,
            0,
            56,
            10,
            30,
            11,
        ],
        [
            36,
            27,
            32,
            14,
            62,
            30,
            33,
            42,
            13,
            51,
            15,
            29,
            3,
            6,
            24,
            23,
            48,
            63,
            58,
            54,
            19,
            37,
            16,
            43,
            38,
            21,
            49,
            0,
            31,
            45,
            25,
            44,
            28,
            12,
            55,
            8,
            11,
            18,
            46,
            7,
            47,
            26,
            35,
            5,
            39,
            59,
            22,
            1,
            10,
            34,
            61,
            17,
            53,
            50,
            60,
            4,
            40,
            41,
            56,
            57,
            52,
            9,
            20,
            2,
        ],
        [
            53,
            0,
            54,
            7,
            26,
            47,
            38,
            19,
            2,
            13,
            11,
            23,
            29,
            42,
            21,
            60,
            18,
            52,
            45,
            31,
            32,
            24,
            27,
            55,
            28,
            15,
            57,
            16,
            8,
            63,
            49,
            39,
            37,
            59,
            56,
            14,
            61,
            48,
            40,
            17,
            34,
            4,
            51,
            33,
            22,
            10,
            58,
            1,
            5,
            3,
            30,
            43,
            20,
            46,
            36,
            41,
            62,
            44,
            9,
            35,
            25,
            6,
            50,
            12,
        ],
        [
            13,
            55,
            32,
            21,
            29,
            18,
            3,
            39,
            59,
            35,
            57,
            51,
            45,
            6,
            49,
            27,
            22,
            14,
            41,
            1,
            15,
            12,
            33,
            16,
            56,
            36,
            20,
            26,
            38,
            30,
            10,
            58,
            11,
            5,
            25,
            8,
            61,
            7,
            34,
            23,
            63,
            9,
            54,
            53,
            50,
            52,
            19,
            40,
            24,
            62,
            17,
            28,
            0,
            60,
            2,
            44,
            48,
            42,
            37,
            47,
            46,
            4,
            31,
            43,
        ],
        [
            16,
            44,
            27,
            34,
            38,
            18,
            48,
            55,
            17,
            62,
            37,
            60,
            8,
            23,
            20,
            36,
            25,
            29,
            50,
            46,
            28,
            61,
            13,
            6,
            32,
            22,
            51,
            59,
            31,
            10,
            56,
            49,
            53,
            63,
            30,
            40,
            11,
            0,
            41,
            42,
            3,
            54,
            24,
            35,
            15,
            33,
            52,
            9,
            57,
            26,
            47,
            4,
            45,
            7,
            2,
            19,
            1,
            5,
            21,
            39,
            14,
            12,
            58,
            43,
        ],
        [
            25,
            46,
            61,
            42,
            62,
            27,
            26,
            23,
            30,
            29,
            22,
            40,
            63,
            14,
            34,
            13,
            12,
            6,
            44,
            4,
            47,
            10,
            19,
            58,
            1,
            59,
            18,
            51,
            36,
            5,
            43,
            53,
            24,
            0,
            9,
            57,
            37,
            48,
            15,
            55,
            7,
            54,
            49,
            52,
            20,
            2,
            35,
            38,
            28,
            39,
            56,
            50,
            3,
            31,
            16,
            41,
            21,
            11,
            45,
            17,
            8,
            33,
            60,
            32,
        ],
        [
            30,
            57,
            0,
            35,
            59,
            2,
            18,
            17,
            3,
            8,
            50,
            20,
            55,
            40,
            19,
            34,
            45,
            49,
            62,
            42,
            26,
            16,
            27,
            46,
            39,
            12,
            33,
            6,
            63,
            21,
            1,
            58,
            44,
            13,
            29,
            41,
            15,
            61,
            60,
            5,
            51,
            47,
            28,
            10,
            43,
            37,
            32,
            14,
            7,
            25,
            31,
            9,
            53,
            22,
            24,
            4,
            11,
            56,
            52,
            48,
            38,
            54,
            36,
            23,
        ],
    ]

    def __init__(self):
        super().__init__(
            [
                [
                    bijectors.ActNorm(64),
                    bijectors.Coupling(FlowConditioner(), bijectors.Affine(), 64),
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

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        flow = self.flow
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                z, z_log_det = flow.inverse_and_log_det(x_value)  # [B, 64]
                return densities.standard_normal(z).sum(-1) + z_log_det

            def draw_x(noise):
                z_ = noise["z"]  # [B, 64]
                x_ = flow.forward(z_)  # [B, 64]
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"z": ("normal", (64,))},
                    (64,),
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
    "sample": {"z": ("normal", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    flow = own["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 64]
    loss = (-(densities.standard_normal(z).sum(-1) + z_log_det)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    flow = parameters["flow"]
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 64]
    return densities.standard_normal(z).sum(-1) + z_log_det


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    flow = parameters["flow"]
    z = noise["z"]  # [B, 64]
    x = flow.forward(z)  # [B, 64]
    return {"z": z, "x": x}


def warm_start(parameters, batch):
    """start values of every actnorm, so that each gives mean 0 and variance 1 on this batch."""
    flow = parameters["flow"]
    x = batch["x"]
    start_values = flow.warm_start(x)  # []
    return {
        "flow.0.0.shift": start_values["0.0.shift"],
        "flow.0.0.log_scale": start_values["0.0.log_scale"],
        "flow.1.0.shift": start_values["1.0.shift"],
        "flow.1.0.log_scale": start_values["1.0.log_scale"],
        "flow.2.0.shift": start_values["2.0.shift"],
        "flow.2.0.log_scale": start_values["2.0.log_scale"],
        "flow.3.0.shift": start_values["3.0.shift"],
        "flow.3.0.log_scale": start_values["3.0.log_scale"],
        "flow.4.0.shift": start_values["4.0.shift"],
        "flow.4.0.log_scale": start_values["4.0.log_scale"],
        "flow.5.0.shift": start_values["5.0.shift"],
        "flow.5.0.log_scale": start_values["5.0.log_scale"],
        "flow.6.0.shift": start_values["6.0.shift"],
        "flow.6.0.log_scale": start_values["6.0.log_scale"],
        "flow.7.0.shift": start_values["7.0.shift"],
        "flow.7.0.log_scale": start_values["7.0.log_scale"],
    }

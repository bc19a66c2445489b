"""pixelcnn: compiled by dgmppl from pixelcnn.yaml (sha256 357c314b7e6d), backend pyro.

p(x) = ∏ᵢ p(x[i] | x[<i])
minimize  −log p(x)    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from dgmppl_pyro import convolutions, densities, distributions, draws, loops, operations, programs


class Net(nn.Module):
    """[8, 8] -> logits [8, 8, 17]; causal_conv(layers=5, width=32, kernel=3, gated=False, order=raster),
    relu.
    """

    def __init__(self):
        super().__init__()
        self.body = convolutions.CausalConv(
            (8, 8), layers=5, width=32, kernel=3, gated=False, activation="relu", states=17
        )
        self.last = nn.Linear(32, 17)

    def forward(self, x):
        x = operations.flatten(x, 2)
        h = self.last(self.body(x))
        h = h.reshape(*h.shape[:-2], 8, 8, 17)
        return h

    def start(self, batch=()):
        """The cache before the first element."""
        return self.body.start(batch),

    def step(self, cache, i, previous):
        """The cache, and what the network says of the i-th element visited, given the one before."""
        seen, = cache
        seen, h = self.body.step(seen, i, previous)
        h = self.last(h)
        return (seen,), h


NETWORKS = {"net": Net}


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"net": Net()}


class Model(programs.LocalModule):
    """the generative story, as a program of the library."""

    def __init__(self, parameters=None):
        parameters = initial() if parameters is None else parameters
        super().__init__(parameters)
        self.net = parameters["net"]

    def forward(self, x=None, *, rows=1617, size=None):
        like = self.like
        net = self.net
        size = size if x is None else len(x)
        size = rows if size is None else size
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                net_logits = net(x_value)  # [B, 8, 8, 17]
                return densities.categorical_logits(x_value, net_logits).sum((-2, -1))

            def draw_x(noise):

                def element_of_x(carry, inputs, i):
                    net_cache, x_previous = carry
                    noise_now, = inputs
                    net_cache_, net_logits_ = net.step(net_cache, i, x_previous)
                    x_now = draws.categorical_logits(net_logits_, noise_now)  # [B]
                    return (net_cache_, x_now), (x_now,)

                x_, = loops.scan(
                    element_of_x,
                    (net.start(batch=draws.batch(noise["x"], 3)), like.new_zeros(())),
                    [(noise["x"].reshape(*noise["x"].shape[:-3], 64, 17), 1)],
                    (0,),
                    range(0, 64),
                )
                x_2 = x_.reshape(*x_.shape[:-1], 8, 8)  # [B, 8, 8]
                return x_2

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"x": ("gumbel", (8, 8, 17))},
                    (8, 8),
                    dist.constraints.independent(dist.constraints.integer_interval(0, 16), 2),
                    reparameterized=False,
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
    "sample": {"x": ("gumbel", ("data", 8, 8, 17))},
    "complete": {"x": ("gumbel", ("data", 8, 8, 17))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    net = own["net"]
    x = batch["x"]
    net_logits = net(x)  # [B, 8, 8, 17]
    loss = (-densities.categorical_logits(x, net_logits).sum((-2, -1))).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    net = parameters["net"]
    x = batch["x"]
    net_logits = net(x)  # [B, 8, 8, 17]
    return densities.categorical_logits(x, net_logits).sum((-2, -1))


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    net = parameters["net"]
    like = noise["x"]

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now = draws.categorical_logits(net_logits, noise_now)  # [B]
        return (net_cache_, x_now), (x_now,)

    x, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 3)), like.new_zeros(())),
        [(noise["x"].reshape(*noise["x"].shape[:-3], 64, 17), 1)],
        (0,),
        range(0, 64),
    )
    x_ = x.reshape(*x.shape[:-1], 8, 8)  # [B, 8, 8]
    return {"x": x_}


def complete(parameters, batch, noise):
    """one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."""
    net = parameters["net"]
    like = noise["x"]
    x_given = batch["x.given"]
    x = batch["x"]

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, noise_now_, noise_now_2 = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now = torch.where(noise_now_, noise_now_2, draws.categorical_logits(net_logits, noise_now))  # [B]
        return (net_cache_, x_now), (x_now,)

    x_, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 3)), like.new_zeros(())),
        [
            (noise["x"].reshape(*noise["x"].shape[:-3], 64, 17), 1),
            (x_given.reshape(*x_given.shape[:-2], 64), 0),
            (x.reshape(*x.shape[:-2], 64), 0),
        ],
        (0,),
        range(0, 64),
    )
    x_2 = x_.reshape(*x_.shape[:-1], 8, 8)  # [B, 8, 8]
    return {"x": x_2}

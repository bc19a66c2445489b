"""transformer: compiled by dgmppl from transformer.yaml (sha256 b87cb2c54942), backend pyro.

p(x) = ∏ᵢ p(x[i] | x[<i])
minimize  −log p(x)    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from dgmppl_pyro import attention, densities, distributions, draws, loops, programs


class Net(nn.Module):
    """[128] -> logits [128, 256]; causal_transformer(layers=4, heads=4, width=128, order=raster)."""

    def __init__(self):
        super().__init__()
        self.body = attention.CausalTransformer(128, layers=4, heads=4, width=128, states=256)
        self.last = nn.Linear(128, 256)

    def forward(self, x):
        h = self.last(self.body(x))
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

    def forward(self, x=None, *, rows=None, size=None):
        like = self.like
        net = self.net
        size = size if x is None else len(x)
        rows = size if rows is None else rows
        with pyro.plate("data", size, dim=-1), poutine.scale(scale=rows / size):

            def log_p_x(x_value):
                net_logits = net(x_value)  # [B, 128, 256]
                return densities.categorical_logits(x_value, net_logits).sum(-1)

            def draw_x(noise):

                def element_of_x(carry, inputs, i):
                    net_cache, x_previous = carry
                    noise_now, = inputs
                    net_cache_, net_logits_ = net.step(net_cache, i, x_previous)
                    x_now = draws.categorical_logits(net_logits_, noise_now)  # [B]
                    return (net_cache_, x_now), (x_now,)

                x_, = loops.scan(
                    element_of_x,
                    (net.start(batch=draws.batch(noise["x"], 2)), like.new_zeros(())),
                    [(noise["x"], 1)],
                    (0,),
                    range(0, 128),
                )
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"x": ("gumbel", (128, 256))},
                    (128,),
                    dist.constraints.independent(dist.constraints.integer_interval(0, 255), 1),
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
    "sample": {"x": ("gumbel", ("data", 128, 256))},
    "complete": {"x": ("gumbel", ("data", 128, 256))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    net = own["net"]
    x = batch["x"]
    net_logits = net(x)  # [B, 128, 256]
    loss = (-densities.categorical_logits(x, net_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    net = parameters["net"]
    x = batch["x"]
    net_logits = net(x)  # [B, 128, 256]
    return densities.categorical_logits(x, net_logits).sum(-1)


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
        (net.start(batch=draws.batch(noise["x"], 2)), like.new_zeros(())),
        [(noise["x"], 1)],
        (0,),
        range(0, 128),
    )
    return {"x": x}


def complete(parameters, batch, noise):
    """one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."""
    net = parameters["net"]
    like = noise["x"]
    x_given = batch["x.given"]
    x = batch["x"]

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, x_given_now, x_now = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now_ = torch.where(x_given_now, x_now, draws.categorical_logits(net_logits, noise_now))  # [B]
        return (net_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 2)), like.new_zeros(())),
        [(noise["x"], 1), (x_given, 0), (x, 0)],
        (0,),
        range(0, 128),
    )
    return {"x": x_}

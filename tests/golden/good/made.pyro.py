"""made: compiled by dgmppl from made.yaml (sha256 9be10cc7046a), backend pyro.

p(x) = ∏ᵢ p(x[i] | x[<i])
minimize  −log p(x)    E_data[log p(x)]
"""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from dgmppl_pyro import causal, densities, distributions, draws, loops, programs


class Net(nn.Module):
    """[64] -> logits [64]; made([512, 512], order=raster), relu."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                causal.MaskedLinear(64, 512, (1, 65), (1, 64), 0),
                causal.MaskedLinear(512, 512, (1, 64), (1, 64), 0),
                causal.MaskedLinear(512, 64, (1, 64), (0, 64), 0),
            ],
        )

    def forward(self, x):
        x = causal.number(x, self.layers[0].weight)
        h = F.relu(self.layers[0](x))
        h = F.relu(self.layers[1](h))
        h = self.layers[2](h)
        return h

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
        return (x, h1, h2), h.squeeze(-1)


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
                net_logits = net(x_value)  # [B, 64]
                return densities.bernoulli_logits(x_value, net_logits).sum(-1)

            def draw_x(noise):

                def element_of_x(carry, inputs, i):
                    net_cache, x_previous = carry
                    noise_now, = inputs
                    net_cache_, net_logits_ = net.step(net_cache, i, x_previous)
                    x_now = draws.bernoulli_logits(net_logits_, noise_now)  # [B]
                    return (net_cache_, x_now), (x_now,)

                x_, = loops.scan(
                    element_of_x,
                    (net.start(batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
                    [(noise["x"], 0)],
                    (0,),
                    range(0, 64),
                )
                return x_

            x = pyro.sample(
                "x",
                distributions.Composed(
                    log_p_x,
                    draw_x,
                    {"x": ("uniform", (64,))},
                    (64,),
                    dist.constraints.independent(dist.constraints.boolean, 1),
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
    "sample": {"x": ("uniform", ("data", 64))},
    "complete": {"x": ("uniform", ("data", 64))},
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    net = own["net"]
    like = next(net.parameters())
    x = batch["x"].to(like.dtype)
    net_logits = net(x)  # [B, 64]
    loss = (-densities.bernoulli_logits(x, net_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    net = parameters["net"]
    like = next(net.parameters())
    x = batch["x"].to(like.dtype)
    net_logits = net(x)  # [B, 64]
    return densities.bernoulli_logits(x, net_logits).sum(-1)


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    net = parameters["net"]
    like = noise["x"]

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now = draws.bernoulli_logits(net_logits, noise_now)  # [B]
        return (net_cache_, x_now), (x_now,)

    x, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
        [(noise["x"], 0)],
        (0,),
        range(0, 64),
    )
    return {"x": x}


def complete(parameters, batch, noise):
    """one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."""
    net = parameters["net"]
    like = noise["x"]
    x_given = batch["x.given"]
    x = batch["x"].to(like.dtype)

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, x_given_now, x_now = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now_ = torch.where(x_given_now, x_now, draws.bernoulli_logits(net_logits, noise_now))  # [B]
        return (net_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 1)), like.new_zeros(())),
        [(noise["x"], 0), (x_given, 0), (x, 0)],
        (0,),
        range(0, 64),
    )
    return {"x": x_}

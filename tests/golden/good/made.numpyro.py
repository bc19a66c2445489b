"""made: compiled by dgmppl from made.yaml (sha256 9be10cc7046a), backend numpyro.

p(x) = ∏ᵢ p(x[i] | x[<i])
minimize  −log p(x)    E_data[log p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import causal, densities, distributions, draws, loops


class Net(eqx.Module):
    """[64] -> logits [64]; made([512, 512], order=raster), relu."""

    layers: list[causal.MaskedLinear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            causal.MaskedLinear(64, 512, (1, 65), (1, 64), 0, keys[0]),
            causal.MaskedLinear(512, 512, (1, 64), (1, 64), 0, keys[1]),
            causal.MaskedLinear(512, 64, (1, 64), (0, 64), 0, keys[2]),
        ]

    def __call__(self, x):
        x = causal.number(x, self.layers[0].weight)
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
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
        h1 = layer1.fill(h1, jax.nn.relu(layer0.units(x, i)), i)
        h2 = layer2.fill(h2, jax.nn.relu(layer1.units(h1, i)), i)
        h = layer2.units(h2, i)
        return (x, h1, h2), h.squeeze(-1)


NETWORKS = {"net": Net}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"net": Net(keys[0])}


def model(parameters, x=None, *, rows=1617, size=None):
    """the generative story, as a program of the library."""
    net = eqx_module("net", parameters["net"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

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
                (net.start(batch=draws.batch(noise["x"], 1)), jnp.zeros(())),
                [(noise["x"], 0)],
                (0,),
                range(0, 64),
            )
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"x": ("uniform", (64,))},
                (64,),
                dist.constraints.independent(dist.constraints.boolean, 1),
                reparameterized=False,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"x": ("uniform", ("data", 64))},
    "complete": {"x": ("uniform", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log p(x)    (nats per datum)"""
    net = own["net"]
    like = jax.tree.leaves(net)[0]
    x = batch["x"].astype(like.dtype)
    net_logits = net(x)  # [B, 64]
    loss = (-densities.bernoulli_logits(x, net_logits).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    net = parameters["net"]
    like = jax.tree.leaves(net)[0]
    x = batch["x"].astype(like.dtype)
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
        (net.start(batch=draws.batch(noise["x"], 1)), jnp.zeros((), like.dtype)),
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
    x = batch["x"].astype(like.dtype)

    def element_of_x(carry, inputs, i):
        net_cache, x_previous = carry
        noise_now, x_given_now, x_now = inputs
        net_cache_, net_logits = net.step(net_cache, i, x_previous)
        x_now_ = jnp.where(x_given_now, x_now, draws.bernoulli_logits(net_logits, noise_now))  # [B]
        return (net_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 1)), jnp.zeros((), like.dtype)),
        [(noise["x"], 0), (x_given, 0), (x, 0)],
        (0,),
        range(0, 64),
    )
    return {"x": x_}

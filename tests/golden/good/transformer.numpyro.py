"""transformer: compiled by dgmppl from transformer.yaml (sha256 b87cb2c54942), backend numpyro.

p(x) = ∏ᵢ p(x[i] | x[<i])
minimize  −log p(x)    E_data[log p(x)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import attention, densities, distributions, draws, loops, networks


class Net(eqx.Module):
    """[128] -> logits [128, 256]; causal_transformer(layers=4, heads=4, width=128, order=raster)."""

    body: attention.CausalTransformer
    last: networks.Linear

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.body = attention.CausalTransformer(128, keys[0], layers=4, heads=4, width=128, states=256)
        self.last = networks.Linear(128, 256, keys[1])

    def __call__(self, x):
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


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"net": Net(keys[0])}


def model(parameters, x=None, *, rows=None, size=None):
    """the generative story, as a program of the library."""
    net = eqx_module("net", parameters["net"])
    size = size if x is None else len(x)
    rows = size if rows is None else rows
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

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
                (net.start(batch=draws.batch(noise["x"], 2)), jnp.zeros(())),
                [(noise["x"], 1)],
                (0,),
                range(0, 128),
            )
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"x": ("gumbel", (128, 256))},
                (128,),
                dist.constraints.independent(dist.constraints.integer_interval(0, 255), 1),
                reparameterized=False,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"x": ("gumbel", ("data", 128, 256))},
    "complete": {"x": ("gumbel", ("data", 128, 256))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


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
        (net.start(batch=draws.batch(noise["x"], 2)), jnp.zeros((), like.dtype)),
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
        x_now_ = jnp.where(x_given_now, x_now, draws.categorical_logits(net_logits, noise_now))  # [B]
        return (net_cache_, x_now_), (x_now_,)

    x_, = loops.scan(
        element_of_x,
        (net.start(batch=draws.batch(noise["x"], 2)), jnp.zeros((), like.dtype)),
        [(noise["x"], 1), (x_given, 0), (x, 0)],
        (0,),
        range(0, 128),
    )
    return {"x": x_}

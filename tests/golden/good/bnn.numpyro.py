"""bnn: compiled by dgmppl from bnn.yaml (sha256 e2ea846c3fa3), backend numpyro.

p(y, sigma, net | x) = p(net) p(sigma) p(y | x, sigma, net)
minimize  −E_{q(sigma, net)}[log p(y|x, sigma, net) + (1/N) log p(sigma, net) − (1/N) log q(sigma, net)]
(1/N) log p(data)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, draws, networks, programs


class Net(eqx.Module):
    """[10] -> loc []; mlp([20]), tanh."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(10, 20, keys[0]), networks.Linear(20, 1, keys[1])]

    def __call__(self, x):
        h = jnp.tanh(self.layers[0](x))
        h = self.layers[1](h)
        return h.squeeze(-1)


NETWORKS = {"net": Net}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 2)
    return {"net": Net(keys[0]), "sigma": constraints.positive.inverse(jnp.full((), 1.0))}


def model(parameters, x, y=None, *, rows=442, size=None):
    """the generative story, as a program of the library."""
    net = programs.random_module("net", parameters["net"], dist.Normal(jnp.zeros(()), 1.0))
    size = len(x)
    sigma = numpyro.sample("sigma", dist.HalfNormal(jnp.ones(())))
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        net_loc = net(x)  # [B]
        y = numpyro.sample("y", dist.Normal(net_loc, sigma), obs=y)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data",))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_prob(parameters, batch):
    """log p(y|x, sigma, net): [B], nats, exact."""
    net = parameters["net"]
    sigma = constraints.positive(parameters["sigma"])
    y = batch["y"]
    x = batch["x"]
    net_loc = net(x)  # [B]
    return densities.normal(y, net_loc, sigma)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    sigma = constraints.positive(parameters["sigma"])
    net = parameters["net"]
    y = batch["y"]
    x = batch["x"]
    log_p_sigma = densities.half_normal(sigma, 1.0)  # []
    log_p_net = sum(densities.standard_normal(leaf).sum() for leaf in jax.tree.leaves(net))  # []
    net_loc = net(x)  # [B]
    return log_p_sigma + log_p_net + densities.normal(y, net_loc, sigma).sum()


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    net = parameters["net"]
    sigma = constraints.positive(parameters["sigma"])
    x = batch["x"]
    net_loc = net(x)  # [B]
    y = net_loc + sigma * noise["y"]  # [B]
    return {"y": y}

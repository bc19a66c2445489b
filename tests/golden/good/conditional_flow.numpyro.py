"""conditional-flow: compiled by dgmppl from conditional_flow.yaml (sha256 cc4093950ffd), backend
numpyro.

p(x | y) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  −log p(x|y)    E_data[log p(x | y)]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import bijectors, densities, distributions, draws, networks, operations


class FlowConditioner(eqx.Module):
    """[6], [3] -> widths [7, 8], heights [7, 8], derivatives [7, 7]; mlp([64, 64]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(9, 64, keys[0]),
            networks.Linear(64, 64, keys[1]),
            networks.Linear(64, 161, keys[2]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        h = jax.nn.relu(self.layers[1](h))
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

    def __init__(self, key=None):
        keys = iter(jax.random.split(jax.random.key(0) if key is None else key, 5))
        super().__init__(
            [
                [
                    bijectors.Coupling(FlowConditioner(next(keys)), bijectors.Spline(8, 5.0), 13),
                    bijectors.Permute(order),
                ] for order in self.orders
            ]
        )


NETWORKS = {"flow": Flow}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"flow": Flow(keys[0])}


def model(parameters, y, x=None, *, rows=178, size=None):
    """the generative story, as a program of the library."""
    like = jnp.zeros(())
    flow = eqx_module("flow", parameters["flow"])
    size = len(y)
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_x(x_value):
            z, z_log_det = flow.inverse_and_log_det(x_value, operations.one_hot(y, 3, like))  # [B, 13]
            return densities.standard_normal(z).sum(-1) + z_log_det

        def draw_x(noise):
            z_ = noise["z"]  # [B, 13]
            x_ = flow.forward(z_, operations.one_hot(y, 3, like))  # [B, 13]
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"z": ("normal", (13,))},
                (13,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"z": ("normal", ("data", 13))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


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

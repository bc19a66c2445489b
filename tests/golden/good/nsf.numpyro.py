"""nsf: compiled by dgmppl from nsf.yaml (sha256 da0743549894), backend numpyro.

p(x) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  −log p(x)    E_data[log p(x)]
"""

import equinox as eqx
import jax
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import bijectors, densities, distributions, draws, networks


class FlowConditioner(eqx.Module):
    """[1] -> widths [1, 8], heights [1, 8], derivatives [1, 7]; mlp([64, 64]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(1, 64, keys[0]),
            networks.Linear(64, 64, keys[1]),
            networks.Linear(64, 23, keys[2]),
        ]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = jax.nn.relu(self.layers[1](h))
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

    def __init__(self, key=None):
        keys = iter(jax.random.split(jax.random.key(0) if key is None else key, 4))
        super().__init__(
            [
                [
                    bijectors.Coupling(FlowConditioner(next(keys)), bijectors.Spline(8, 4), 2),
                    bijectors.Reverse(2),
                ] for _ in range(4)
            ]
        )


NETWORKS = {"flow": Flow}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"flow": Flow(keys[0])}


def model(parameters, x=None, *, rows=3072, size=None):
    """the generative story, as a program of the library."""
    flow = eqx_module("flow", parameters["flow"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_x(x_value):
            z, z_log_det = flow.inverse_and_log_det(x_value)  # [B, 2]
            return densities.standard_normal(z).sum(-1) + z_log_det

        def draw_x(noise):
            z_ = noise["z"]  # [B, 2]
            x_ = flow.forward(z_)  # [B, 2]
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"z": ("normal", (2,))},
                (2,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


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

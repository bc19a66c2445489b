"""flow-matching: compiled by dgmppl from flow_matching.yaml (sha256 a2657847dc71), backend numpyro.

p(x) = p(z) |det ∂z/∂x|, z = flow⁻¹(x)
minimize  E_{t,x₀,x₁}‖field(xₜ, t) − (x₁ − x₀)‖²    E‖field(xₜ, t) − E[∂ₜxₜ | xₜ]‖² + const
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import bijectors, densities, distributions, draws, networks, odes, operations


class Field(eqx.Module):
    """[2], [] -> out [2]; mlp([64, 64, 64]), tanh."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 4)
        self.layers = [
            networks.Linear(3, 64, keys[0]),
            networks.Linear(64, 64, keys[1]),
            networks.Linear(64, 64, keys[2]),
            networks.Linear(64, 2, keys[3]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2[..., None]], -1)
        h = jnp.tanh(self.layers[0](h))
        h = jnp.tanh(self.layers[1](h))
        h = jnp.tanh(self.layers[2](h))
        return self.layers[3](h)


class Flow(bijectors.Chain):
    """z [2] -> x [2]: ode(field, solver=dopri5, rtol=1e-05, atol=1e-05, steps=20, trace=exact)."""

    def __init__(self, key=None):
        super().__init__([odes.Ode(bijectors.Shared("field"), 2, "dopri5", 1e-05, 1e-05, 20, "exact")])


NETWORKS = {"field": Field, "flow": Flow}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 2)
    return {"field": Field(keys[0]), "flow": Flow(keys[1])}


def model(parameters, x=None, *, rows=4096, size=None):
    """the generative story, as a program of the library."""
    field = eqx_module("field", parameters["field"])
    flow = eqx_module("flow", parameters["flow"])
    flow = flow.bind({"field": field})
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
    "loss_model": {"z": ("normal", ("data", 2)), "x.time": ("uniform", ("data",))},
    "sample": {"z": ("normal", ("data", 2))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  E_{t,x₀,x₁}‖field(xₜ, t) − (x₁ − x₀)‖²    (nats per datum)"""
    field = own["field"]
    flow = other["flow"]
    flow = flow.bind({"field": field})
    x = batch["x"]
    z = noise["z"]  # [B, 2]
    t = noise["x.time"]  # [B]
    velocity = x - z  # [B, 2]
    x_t = z + t[..., None] * velocity  # [B, 2]
    field_ = flow.velocity(x_t, t)  # [B, 2]
    loss = jnp.square(field_ - velocity).sum(-1).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log p(x): [B], nats, exact."""
    field = parameters["field"]
    flow = parameters["flow"]
    flow = flow.bind({"field": field})
    x = batch["x"]
    z, z_log_det = flow.inverse_and_log_det(x)  # [B, 2]
    return densities.standard_normal(z).sum(-1) + z_log_det


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    field = parameters["field"]
    flow = parameters["flow"]
    flow = flow.bind({"field": field})
    z = noise["z"]  # [B, 2]
    x = flow.forward(z)  # [B, 2]
    return {"z": z, "x": x}

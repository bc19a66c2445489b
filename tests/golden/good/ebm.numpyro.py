"""ebm: compiled by dgmppl from ebm.yaml (sha256 20d4144f3c7b), backend numpyro.

p(x) = p₀(x) exp(−E(x)) / Z
minimize  ½ E‖∇log p(x + 0.1ε) + ε/0.1‖²    D_F(p_data ∗ N(0, σ²I) ‖ p_model) + const
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import annealing, densities, derivatives, distributions, draws, networks, operations, samplers


class Potential(eqx.Module):
    """[2] -> out []; mlp([128, 128]), softplus."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 3)
        self.layers = [
            networks.Linear(2, 128, keys[0]),
            networks.Linear(128, 128, keys[1]),
            networks.Linear(128, 1, keys[2]),
        ]

    def __call__(self, x):
        h = operations.softplus(self.layers[0](x))
        h = operations.softplus(self.layers[1](h))
        h = self.layers[2](h)
        return h.squeeze(-1)


NETWORKS = {"potential": Potential}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"potential": Potential(keys[0])}


def model(parameters, x=None, *, rows=4096, size=None):
    """the generative story, as a program of the library."""
    potential = eqx_module("potential", parameters["potential"])
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_x_(x_value):
            potential_out = potential(x_value)  # [B]
            return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out

        def draw_x(noise):
            x_start = 2.0 * noise["x.start"]  # [B, 2]

            def log_p_x(x_value_):
                potential_out_ = potential(x_value_)  # [B]
                return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out_
            x_sampled = samplers.langevin(log_p_x, x_start, 1, noise["x.chain"], step_size=0.01)  # [B, 2]
            return x_sampled

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x_,
                draw_x,
                {"x.start": ("normal", (2,)), "x.chain": ("normal", (200, 2))},
                (2,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"x.smoothing": ("normal", ("data", 2))},
    "anneal_x": {
        "x.start": ("normal", ("data", 2)),
        "x.chain": ("normal", ("data", 200, 2)),
        "x.accept": ("uniform", ("data", 200)),
        "x.size": ("uniform", ("data", 200)),
    },
    "anneal_x_back": {
        "x.chain": ("normal", ("data", 200, 2)),
        "x.accept": ("uniform", ("data", 200)),
        "x.size": ("uniform", ("data", 200)),
    },
    "sample": {"x.start": ("normal", ("data", 2)), "x.chain": ("normal", ("data", 200, 2))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  ½ E‖∇log p(x + 0.1ε) + ε/0.1‖²    (nats per datum)"""
    potential = own["potential"]
    x = batch["x"]
    eps = noise["x.smoothing"]  # [B, 2]
    x_noisy = x + 0.1 * eps  # [B, 2]

    def log_p_x(x_value):
        potential_out = potential(x_value)  # [B]
        return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out
    loss = (0.5 * jnp.square(derivatives.gradient(log_p_x, x_noisy, 1) + eps / 0.1).sum(-1)).mean()  # []
    return loss, state, {"loss": loss}


def unnormalized_x(parameters, batch):
    """log p(x) + log Z: [B], nats."""
    potential = parameters["potential"]
    x = batch["x"]
    potential_out = potential(x)  # [B]
    return densities.normal(x, 0.0, 2.0).sum(-1) - potential_out


def anneal_x(parameters, batch, noise):
    """annealed importance sampling from the base: one chain per row, log w [B], E[w] = Z."""
    potential = parameters["potential"]
    x_start = 2.0 * noise["x.start"]  # [B, 2]

    def log_base_x(x_value):
        return densities.normal(x_value, 0.0, 2.0).sum(-1)

    def log_p_x(x_value_):
        potential_out = potential(x_value_)  # [B]
        return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out
    # [B, 2]
    x_sampled = annealing.hmc(
        log_base_x,
        log_p_x,
        x_start,
        1,
        noise["x.chain"],
        noise["x.accept"],
        noise["x.size"],
        leapfrog=10,
        reverse=False,
    )
    return {"x": x_sampled[0], "log_weights": x_sampled[1]}


def anneal_x_back(parameters, batch, noise):
    """annealed importance sampling from exact draws of x: one chain per row, log w [B], E[1/w] = 1/Z."""
    potential = parameters["potential"]
    x = batch["x"]

    def log_base_x(x_value):
        return densities.normal(x_value, 0.0, 2.0).sum(-1)

    def log_p_x(x_value_):
        potential_out = potential(x_value_)  # [B]
        return densities.normal(x_value_, 0.0, 2.0).sum(-1) - potential_out
    # [B, 2]
    x_sampled = annealing.hmc(
        log_base_x,
        log_p_x,
        x,
        1,
        noise["x.chain"],
        noise["x.accept"],
        noise["x.size"],
        leapfrog=10,
        reverse=True,
    )
    return {"x": x_sampled[0], "log_weights": x_sampled[1]}


def log_unnormalized(parameters, batch):
    """log p̃(x): [B], nats, up to log Z."""
    potential = parameters["potential"]
    x = batch["x"]
    potential_out = potential(x)  # [B]
    return densities.normal(x, 0.0, 2.0).sum(-1) - potential_out


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]. x is the end of
    langevin(steps=200, step_size=0.01), approximate.
    """
    potential = parameters["potential"]
    x_start = 2.0 * noise["x.start"]  # [B, 2]

    def log_p_x(x_value):
        potential_out = potential(x_value)  # [B]
        return densities.normal(x_value, 0.0, 2.0).sum(-1) - potential_out
    x_sampled = samplers.langevin(log_p_x, x_start, 1, noise["x.chain"], step_size=0.01)  # [B, 2]
    return {"x": x_sampled}

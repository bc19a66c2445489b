"""ppca: compiled by dgmppl from ppca.yaml (sha256 c0f73745a683), backend numpyro.

p(x, z) = p(z) p(x | z)
minimize  −log ∫ exp[log p(x|z) + log p(z)] dz    E_data[log p(x)]
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, draws, operations


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 3)
    return {
        "W": jax.random.normal(keys[0], (64, 8)),
        "mu": jnp.full((64,), 0.0),
        "sigma": constraints.positive.inverse(jnp.full((), 1.0)),
    }


def model(parameters, x=None, *, rows=1797, size=None):
    """the generative story, as a program of the library."""
    mu = numpyro.param("mu", parameters["mu"])
    W = numpyro.param("W", parameters["W"])
    sigma = numpyro.param(
        "sigma", constraints.positive(parameters["sigma"]), constraint=dist.constraints.positive
    )
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(8), 1.0).to_event(1))
        x = numpyro.sample("x", dist.Normal(mu + operations.matvec(W, z), sigma).to_event(1), obs=x)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"z": ("normal", ("data", 8)), "x": ("normal", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log ∫ exp[log p(x|z) + log p(z)] dz    (nats per datum)"""
    mu = own["mu"]
    W = own["W"]
    sigma = constraints.positive(own["sigma"])
    like = mu
    x = batch["x"]
    eps = operations.simplex_points(8, 1, like)  # [points, B, 8]
    mean = operations.broadcast(mu + operations.matvec(W, eps), (64,))  # [points, B, 64]
    offset = mean[0]  # [B, 64]
    loading = jnp.moveaxis(mean[1:] - offset, 0, -1)  # [B, 64, 8]
    # [points, B]
    log_p = densities.low_rank_normal(x, offset, loading, operations.broadcast(jnp.square(sigma), (64,)))
    loss = (-log_p).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log ∫ exp[log p(x|z) + log p(z)] dz: [B], nats, exact."""
    mu = parameters["mu"]
    W = parameters["W"]
    sigma = constraints.positive(parameters["sigma"])
    like = mu
    x = batch["x"]
    eps = operations.simplex_points(8, 1, like)  # [points, B, 8]
    mean = operations.broadcast(mu + operations.matvec(W, eps), (64,))  # [points, B, 64]
    offset = mean[0]  # [B, 64]
    loading = jnp.moveaxis(mean[1:] - offset, 0, -1)  # [B, 64, 8]
    # [points, B]
    log_p = densities.low_rank_normal(x, offset, loading, operations.broadcast(jnp.square(sigma), (64,)))
    return log_p


def posterior(parameters, batch):
    """the posterior of the latents that were integrated out, exact."""
    mu = parameters["mu"]
    W = parameters["W"]
    sigma = constraints.positive(parameters["sigma"])
    like = mu
    x = batch["x"]
    eps = operations.simplex_points(8, 1, like)  # [points, B, 8]
    mean = operations.broadcast(mu + operations.matvec(W, eps), (64,))  # [points, B, 64]
    z_offset = eps[0]  # [B, 8]
    z_loading = jnp.moveaxis(eps[1:] - z_offset, 0, -1)  # [B, 8, 8]
    offset = mean[0]  # [B, 64]
    loading = jnp.moveaxis(mean[1:] - offset, 0, -1)  # [B, 64, 8]
    # [B]
    eps_posterior = densities.gaussian_posterior(
        x, offset, loading, operations.broadcast(jnp.square(sigma), (64,))
    )
    z_factor = z_loading @ eps_posterior[1]  # [B, 8, 8]
    return {
        "z.loc": z_offset + operations.matvec(z_loading, eps_posterior[0]),
        "z.covariance": z_factor @ z_factor.mT,
    }


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    mu = parameters["mu"]
    W = parameters["W"]
    sigma = constraints.positive(parameters["sigma"])
    z = noise["z"]  # [B, 8]
    x = mu + operations.matvec(W, z) + sigma * noise["x"]  # [B, 64]
    return {"z": z, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    mu = parameters["mu"]
    W = parameters["W"]
    sigma = constraints.positive(parameters["sigma"])
    z = batch["z"]
    return {"x.loc": mu + operations.matvec(W, z), "x.scale": sigma}

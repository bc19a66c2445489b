"""gp: compiled by dgmppl from gp.yaml (sha256 c0f6fbe2daf9), backend numpyro.

p(y, rho, alpha, sigma | x) = p(rho) p(alpha) p(sigma) p(y | x, rho, alpha, sigma)
minimize  −[log p(y|x, rho, alpha, sigma) + (1/N) log p(rho, alpha, sigma)]    (1/N) log p(data, unknowns)
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, draws, operations


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    return {
        "rho": constraints.positive.inverse(jnp.full((), 1.0)),
        "alpha": constraints.positive.inverse(jnp.full((), 1.0)),
        "sigma": constraints.positive.inverse(jnp.full((), 1.0)),
    }


def model(parameters, x, y=None, *, rows=1, size=None):
    """the generative story, as a program of the library."""
    size = len(x)
    rho = numpyro.sample("rho", dist.Gamma(jnp.full((), 25.0), 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(jnp.full((), 2.0)))
    sigma = numpyro.sample("sigma", dist.HalfNormal(jnp.ones(())))
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        # [B, 40, 40]
        root = operations.cholesky(jnp.square(alpha) * operations.rbf(x / rho, 1) + sigma * jnp.eye(40))
        y = numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(40), scale_tril=root), obs=y)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 40))},
    "prior": {
        "rho": ("library", ()),
        "alpha": ("library", ()),
        "sigma": ("library", ()),
        "y": ("normal", ("data", 40)),
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_prob(parameters, batch):
    """log p(y|x, rho, alpha, sigma): [B], nats, exact."""
    alpha = constraints.positive(parameters["alpha"])
    rho = constraints.positive(parameters["rho"])
    sigma = constraints.positive(parameters["sigma"])
    like = alpha
    y = batch["y"]
    x = batch["x"]
    # [B, 40, 40]
    root = operations.cholesky(
        jnp.square(alpha) * operations.rbf(x / rho, 1) + sigma * jnp.eye(40, dtype=like.dtype)
    )
    return densities.multivariate_normal(y, jnp.zeros(40, like.dtype), root)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    rho = constraints.positive(parameters["rho"])
    alpha = constraints.positive(parameters["alpha"])
    sigma = constraints.positive(parameters["sigma"])
    like = rho
    y = batch["y"]
    x = batch["x"]
    log_p_rho = densities.gamma(rho, 25.0, 4.0)  # []
    log_p_alpha = densities.half_normal(alpha, 2.0)  # []
    log_p_sigma = densities.half_normal(sigma, 1.0)  # []
    # [B, 40, 40]
    root = operations.cholesky(
        jnp.square(alpha) * operations.rbf(x / rho, 1) + sigma * jnp.eye(40, dtype=like.dtype)
    )
    return (
        log_p_rho
        + log_p_alpha
        + log_p_sigma
        + densities.multivariate_normal(y, jnp.zeros(40, like.dtype), root).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    alpha = constraints.positive(parameters["alpha"])
    rho = constraints.positive(parameters["rho"])
    sigma = constraints.positive(parameters["sigma"])
    like = noise["y"]
    x = batch["x"]
    # [B, 40, 40]
    root = operations.cholesky(
        jnp.square(alpha) * operations.rbf(x / rho, 1) + sigma * jnp.eye(40, dtype=like.dtype)
    )
    y = jnp.zeros(40, like.dtype) + operations.matvec(root, noise["y"])  # [B, 40]
    return {"y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["y"]
    x = batch["x"]
    rho = draws.library(dist.Gamma(jnp.full((), 25.0, like.dtype), 4.0), noise["rho"], ())  # []
    alpha = draws.library(dist.HalfNormal(jnp.full((), 2.0, like.dtype)), noise["alpha"], ())  # []
    sigma = draws.library(dist.HalfNormal(jnp.ones((), like.dtype)), noise["sigma"], ())  # []
    # [B, 40, 40]
    root = operations.cholesky(
        jnp.square(alpha) * operations.rbf(x / rho, 1) + sigma * jnp.eye(40, dtype=like.dtype)
    )
    y_ = jnp.zeros(40, like.dtype) + operations.matvec(root, noise["y"])  # [B, 40]
    return {"rho": rho, "alpha": alpha, "sigma": sigma, "y": y_}

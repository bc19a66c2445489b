"""eight-schools: compiled by dgmppl from eight_schools.yaml (sha256 9569e1a9bd98), backend numpyro.

p(y, mu, tau, theta | sigma, school) = p(mu) p(tau) p(theta | mu, tau) p(y | sigma, school, theta)
minimize  −[log p(y|sigma, school, theta) + (1/N) log p(mu, tau, theta)]    (1/N) log p(data, unknowns)
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, draws


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    return {
        "mu": jnp.full((), 0.0),
        "tau": constraints.positive.inverse(jnp.full((), 1.0)),
        "theta": jnp.full((8,), 0.0),
    }


def model(parameters, school, sigma, y=None, *, rows=8, size=None):
    """the generative story, as a program of the library."""
    size = len(school)
    mu = numpyro.sample("mu", dist.Normal(jnp.zeros(()), 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(jnp.full((), 5.0)))
    with numpyro.plate("school", 8, dim=-1):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        y = numpyro.sample("y", dist.Normal(theta[school], sigma.astype(float)), obs=y)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data",))},
    "prior": {
        "mu": ("normal", ()), "tau": ("library", ()), "theta": ("normal", (8,)), "y": ("normal", ("data",))
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_prob(parameters, batch):
    """log p(y|sigma, school, theta): [B], nats, exact."""
    theta = parameters["theta"]
    like = theta
    y = batch["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    return densities.normal(y, theta[school], sigma.astype(like.dtype))


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    mu = parameters["mu"]
    tau = constraints.positive(parameters["tau"])
    theta = parameters["theta"]
    like = mu
    y = batch["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    log_p_mu = densities.normal(mu, 0.0, 5.0)  # []
    log_p_tau = densities.half_cauchy(tau, 5.0)  # []
    log_p_theta = densities.normal(theta, mu, tau).sum()  # []
    return (
        log_p_mu
        + log_p_tau
        + log_p_theta
        + densities.normal(y, theta[school], sigma.astype(like.dtype)).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    theta = parameters["theta"]
    like = noise["y"]
    school = batch["school"]
    sigma = batch["sigma"]
    y = theta[school] + sigma.astype(like.dtype) * noise["y"]  # [B]
    return {"y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["mu"]
    school = batch["school"]
    sigma = batch["sigma"]
    mu = 5.0 * noise["mu"]  # []
    tau = draws.library(dist.HalfCauchy(jnp.full((), 5.0, like.dtype)), noise["tau"], ())  # []
    theta = mu + tau * noise["theta"]  # [8]
    y_ = theta[school] + sigma.astype(like.dtype) * noise["y"]  # [B]
    return {"mu": mu, "tau": tau, "theta": theta, "y": y_}

"""missing: compiled by dgmppl from missing.yaml (sha256 363888e4937a), backend numpyro.

p(x, y, m, s, a, b, sigma) = p(m) p(s) p(a) p(b) p(sigma) p(x | m, s) p(y | a, b, sigma, x)
minimize  −[log p(x|m, s) + log p(y|a, b, sigma, x) + (1/N) log p(m, s, a, b, sigma)]    (1/N) log p(data,
unknowns)
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, draws, operations


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    return {
        "m": jnp.full((), 0.0),
        "s": constraints.positive.inverse(jnp.full((), 1.0)),
        "a": jnp.full((), 0.0),
        "b": jnp.full((), 0.0),
        "sigma": constraints.positive.inverse(jnp.full((), 1.0)),
        "x.missing": jnp.full((30,), 0.0),
    }


def model(parameters, x=None, y=None, *, x_observed=True, y_observed=True, rows=300, size=None):
    """the generative story, as a program of the library."""
    size = next((len(column) for column in (x, y) if column is not None), size)
    size = rows if size is None else size
    m = numpyro.sample("m", dist.Normal(jnp.zeros(()), 10.0))
    s = numpyro.sample("s", dist.HalfNormal(jnp.full((), 5.0)))
    a = numpyro.sample("a", dist.Normal(jnp.zeros(()), 10.0))
    b = numpyro.sample("b", dist.Normal(jnp.zeros(()), 10.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(jnp.full((), 5.0)))
    if x is not None:
        # missing entries are latents; the density of x below counts theirs
        x_missing = numpyro.sample("x.missing", dist.ImproperUniform(dist.constraints.real, (), (30,)))
        x = operations.filled(x, x_observed, x_missing)
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        x = numpyro.sample("x", dist.Normal(m, s), obs=x)
        y = numpyro.sample("y", dist.Normal(a + b * x, sigma).mask(y_observed), obs=y)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"x": ("normal", ("data",)), "y": ("normal", ("data",))},
    "prior": {
        "m": ("normal", ()),
        "s": ("library", ()),
        "a": ("normal", ()),
        "b": ("normal", ()),
        "sigma": ("library", ()),
        "x": ("normal", ("data",)),
        "y": ("normal", ("data",)),
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p (with x.missing): a scalar, nats."""
    m = parameters["m"]
    s = constraints.positive(parameters["s"])
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    x_missing = parameters["x.missing"]
    like = m
    x = batch["x"]
    x_observed = batch["x.observed"]
    y = batch["y"]
    y_observed = batch["y.observed"]
    log_p_m = densities.normal(m, 0.0, 10.0)  # []
    log_p_s = densities.half_normal(s, 5.0)  # []
    log_p_a = densities.normal(a, 0.0, 10.0)  # []
    log_p_b = densities.normal(b, 0.0, 10.0)  # []
    log_p_sigma = densities.half_normal(sigma, 5.0)  # []
    x_filled = operations.filled(x, x_observed, x_missing)  # [B]
    return (
        log_p_m
        + log_p_s
        + log_p_a
        + log_p_b
        + log_p_sigma
        + (
            densities.normal(x_filled, m, s)
            + densities.normal(y, a + b * x_filled, sigma) * y_observed.astype(like.dtype)
        ).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    m = parameters["m"]
    s = constraints.positive(parameters["s"])
    a = parameters["a"]
    b = parameters["b"]
    sigma = constraints.positive(parameters["sigma"])
    x = m + s * noise["x"]  # [B]
    y = a + b * x + sigma * noise["y"]  # [B]
    return {"x": x, "y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["m"]
    m = 10.0 * noise["m"]  # []
    s = draws.library(dist.HalfNormal(jnp.full((), 5.0, like.dtype)), noise["s"], ())  # []
    a = 10.0 * noise["a"]  # []
    b = 10.0 * noise["b"]  # []
    sigma = draws.library(dist.HalfNormal(jnp.full((), 5.0, like.dtype)), noise["sigma"], ())  # []
    x_ = m + s * noise["x"]  # [B]
    y_ = a + b * x_ + sigma * noise["y"]  # [B]
    return {"m": m, "s": s, "a": a, "b": b, "sigma": sigma, "x": x_, "y": y_}

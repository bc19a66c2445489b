"""ar2: compiled by dgmppl from ar2.yaml (sha256 8ae6a615ee6e), backend numpyro.

p(y, alpha, beta, sigma) = p(alpha) p(beta) p(sigma) ∏ₜ p(y[t] | y[t−1], y[t−2], alpha, beta, sigma)
minimize  −[log p(y|alpha, beta, sigma) + (1/N) log p(alpha, beta, sigma)]    (1/N) log p(data, unknowns)
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, distributions, draws, loops, operations


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    return {
        "alpha": jnp.full((), 0.0),
        "beta": jnp.full((2,), 0.0),
        "sigma": constraints.positive.inverse(jnp.full((), 1.0)),
    }


def model(parameters, y=None, *, rows=1, size=None):
    """the generative story, as a program of the library."""
    size = size if y is None else len(y)
    size = rows if size is None else size
    alpha = numpyro.sample("alpha", dist.Normal(jnp.zeros(()), 10.0))
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(2), 10.0).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(jnp.full((), 2.5)))
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_y(y_value):
            return densities.normal(
                y_value[..., 2:],
                alpha + beta[..., 0] * y_value[..., 1:199] + beta[..., 1] * y_value[..., :198],
                sigma,
            ).sum(-1)

        def draw_y(noise):

            def step_of_y(carry, inputs, t):
                y_before, y_2_before = carry
                noise_now, = inputs
                y_now = alpha + beta[..., 0] * y_before + beta[..., 1] * y_2_before + sigma * noise_now  # [B]
                return (y_now, y_before), (y_now,)

            y_rest, = loops.scan(
                step_of_y, (y[..., 1], y[..., 0]), [(noise["y"][..., 2:], 0)], (0,), range(2, 200)
            )
            y_ = operations.concatenate([y[..., 0][..., None], y[..., 1][..., None], y_rest], -1)  # [B, 200]
            return y_

        y = numpyro.sample(
            "y",
            distributions.Composed(
                log_p_y,
                draw_y,
                {"y": ("normal", (200,))},
                (200,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=True,
            ),
            obs=y,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 200))},
    "prior": {
        "alpha": ("normal", ()),
        "beta": ("normal", (2,)),
        "sigma": ("library", ()),
        "y": ("normal", ("data", 200)),
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_prob(parameters, batch):
    """log p(y|alpha, beta, sigma): [B], nats, exact."""
    alpha = parameters["alpha"]
    beta = parameters["beta"]
    sigma = constraints.positive(parameters["sigma"])
    y = batch["y"]
    return densities.normal(
        y[..., 2:], alpha + beta[..., 0] * y[..., 1:199] + beta[..., 1] * y[..., :198], sigma
    ).sum(-1)


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    alpha = parameters["alpha"]
    beta = parameters["beta"]
    sigma = constraints.positive(parameters["sigma"])
    y = batch["y"]
    log_p_alpha = densities.normal(alpha, 0.0, 10.0)  # []
    log_p_beta = densities.normal(beta, 0.0, 10.0).sum(-1)  # []
    log_p_sigma = densities.half_cauchy(sigma, 2.5)  # []
    return (
        log_p_alpha
        + log_p_beta
        + log_p_sigma
        + densities.normal(
            y[..., 2:], alpha + beta[..., 0] * y[..., 1:199] + beta[..., 1] * y[..., :198], sigma
        ).sum(-1).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    alpha = parameters["alpha"]
    beta = parameters["beta"]
    sigma = constraints.positive(parameters["sigma"])
    y = batch["y"]

    def step_of_y(carry, inputs, t):
        y_before, y_2_before = carry
        noise_now, = inputs
        y_now = alpha + beta[..., 0] * y_before + beta[..., 1] * y_2_before + sigma * noise_now  # [B]
        return (y_now, y_before), (y_now,)

    y_rest, = loops.scan(step_of_y, (y[..., 1], y[..., 0]), [(noise["y"][..., 2:], 0)], (0,), range(2, 200))
    y_ = operations.concatenate([y[..., 0][..., None], y[..., 1][..., None], y_rest], -1)  # [B, 200]
    return {"y": y_}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["alpha"]
    y = batch["y"]
    alpha = 10.0 * noise["alpha"]  # []
    beta = 10.0 * noise["beta"]  # [2]
    sigma = draws.library(dist.HalfCauchy(jnp.full((), 2.5, like.dtype)), noise["sigma"], ())  # []

    def step_of_y(carry, inputs, t):
        y_before, y_2_before = carry
        noise_now, = inputs
        y_now = alpha + beta[..., 0] * y_before + beta[..., 1] * y_2_before + sigma * noise_now  # [B]
        return (y_now, y_before), (y_now,)

    y_rest, = loops.scan(step_of_y, (y[..., 1], y[..., 0]), [(noise["y"][..., 2:], 0)], (0,), range(2, 200))
    y_ = operations.concatenate([y[..., 0][..., None], y[..., 1][..., None], y_rest], -1)  # [B, 200]
    return {"alpha": alpha, "beta": beta, "sigma": sigma, "y": y_}

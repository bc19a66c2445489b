"""lotka-volterra: compiled by dgmppl from lotka_volterra.yaml (sha256 4b95b0b1fdd3), backend numpyro.

p(y, theta, start, sigma | t) = p(theta) p(start) p(sigma) p(y | t, theta, start, sigma)
minimize  −[log p(y|t, theta, start, sigma) + (1/N) log p(theta, start, sigma)]    (1/N) log p(data, unknowns)
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, distributions, draws, odes, operations, restrictions, tails


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    return {
        "theta": constraints.positive.inverse(jnp.full((4,), 1.0)),
        "start": constraints.positive.inverse(jnp.full((2,), 1.0)),
        "sigma": constraints.positive.inverse(jnp.full((2,), 1.0)),
    }


def model(parameters, t, y=None, *, rows=1, size=None):
    """the generative story, as a program of the library."""
    size = len(t)

    def log_p_theta(theta_value):
        theta_loc = jnp.array((1.0, 0.05, 1.0, 0.05), float)
        theta_scale = jnp.array((0.5, 0.05, 0.5, 0.05), float)
        return restrictions.truncated(
            densities.normal(theta_value, theta_loc, theta_scale),
            theta_value,
            tails.Normal(theta_loc, theta_scale),
            low=0.0,
        ).sum(-1)

    def draw_theta(noise):
        theta_loc_ = jnp.array((1.0, 0.05, 1.0, 0.05), float)
        theta_scale_ = jnp.array((0.5, 0.05, 0.5, 0.05), float)
        theta = restrictions.between(noise["theta"], tails.Normal(theta_loc_, theta_scale_), low=0.0)  # [4]
        return theta

    theta_ = numpyro.sample(
        "theta",
        distributions.Composed(
            log_p_theta,
            draw_theta,
            {"theta": ("uniform", (4,))},
            (4,),
            dist.constraints.independent(dist.constraints.positive, 1),
            reparameterized=True,
        ),
    )
    start = numpyro.sample("start", dist.LogNormal(jnp.full(2, 2.302585092994046), 1.0).to_event(1))
    sigma = numpyro.sample("sigma", dist.LogNormal(jnp.full(2, -1.0), 1.0).to_event(1))
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def rate(s, _):
            return operations.stack(
                [
                    (theta_[..., 0] - theta_[..., 1] * s[..., 1]) * s[..., 0],
                    (theta_[..., 3] * s[..., 0] - theta_[..., 2]) * s[..., 1],
                ],
                -1,
            )
        path = odes.solve(rate, start, t.astype(float), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
        path = numpyro.deterministic("path", path)
        y = numpyro.sample(
            "y", distributions.broadcast(dist.LogNormal(jnp.log(path), sigma), (21, 2)).to_event(2), obs=y
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"y": ("normal", ("data", 21, 2))},
    "prior": {
        "theta": ("uniform", (4,)),
        "start": ("normal", (2,)),
        "sigma": ("normal", (2,)),
        "y": ("normal", ("data", 21, 2)),
    },
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def log_prob(parameters, batch):
    """log p(y|t, theta, start, sigma): [B], nats, exact."""
    start = constraints.positive(parameters["start"])
    theta = constraints.positive(parameters["theta"])
    sigma = constraints.positive(parameters["sigma"])
    like = start
    y = batch["y"]
    t = batch["t"]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.astype(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    return densities.log_normal(y, jnp.log(path), sigma).sum((-2, -1))


def log_joint(parameters, batch):
    """log p(parameters) + the sum over all data of log p: a scalar, nats."""
    theta = constraints.positive(parameters["theta"])
    start = constraints.positive(parameters["start"])
    sigma = constraints.positive(parameters["sigma"])
    like = theta
    y = batch["y"]
    t = batch["t"]
    theta_loc = jnp.array((1.0, 0.05, 1.0, 0.05), like.dtype)
    theta_scale = jnp.array((0.5, 0.05, 0.5, 0.05), like.dtype)
    # []
    log_p_theta = restrictions.truncated(
        densities.normal(theta, theta_loc, theta_scale), theta, tails.Normal(theta_loc, theta_scale), low=0.0
    ).sum(-1)
    log_p_start = densities.log_normal(start, 2.302585092994046, 1.0).sum(-1)  # []
    log_p_sigma = densities.log_normal(sigma, -1.0, 1.0).sum(-1)  # []

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.astype(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    return (
        log_p_theta
        + log_p_start
        + log_p_sigma
        + densities.log_normal(y, jnp.log(path), sigma).sum((-2, -1)).sum()
    )


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    start = constraints.positive(parameters["start"])
    theta = constraints.positive(parameters["theta"])
    sigma = constraints.positive(parameters["sigma"])
    like = noise["y"]
    t = batch["t"]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.astype(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    y = jnp.exp(jnp.log(path) + sigma * noise["y"])  # [B, 21, 2]
    return {"path": path, "y": y}


def prior(parameters, batch, noise):
    """the parameters from their priors, then one draw per row: every site by name."""
    like = noise["theta"]
    t = batch["t"]
    theta_loc = jnp.array((1.0, 0.05, 1.0, 0.05), like.dtype)
    theta_scale = jnp.array((0.5, 0.05, 0.5, 0.05), like.dtype)
    theta = restrictions.between(noise["theta"], tails.Normal(theta_loc, theta_scale), low=0.0)  # [4]
    start = jnp.exp(2.302585092994046 + noise["start"])  # [2]
    sigma = jnp.exp(-1.0 + noise["sigma"])  # [2]

    def rate(s, _):
        return operations.stack(
            [
                (theta[..., 0] - theta[..., 1] * s[..., 1]) * s[..., 0],
                (theta[..., 3] * s[..., 0] - theta[..., 2]) * s[..., 1],
            ],
            -1,
        )
    path = odes.solve(rate, start, t.astype(like.dtype), rtol=1e-06, atol=1e-06, event=1)  # [B, 21, 2]
    y_ = jnp.exp(jnp.log(path) + sigma * noise["y"])  # [B, 21, 2]
    return {"theta": theta, "start": start, "sigma": sigma, "path": path, "y": y_}

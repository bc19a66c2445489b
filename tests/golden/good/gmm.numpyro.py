"""gmm: compiled by dgmppl from gmm.yaml (sha256 89fb4d69d7e2), backend numpyro.

p(x, k) = p(k) p(x | k)
minimize  −log ∑_{k} exp[log p(x|k) + log p(k)]    E_data[log p(x)]
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
        "weights": constraints.simplex.inverse(jnp.full((3,), 0.3333333333333333)),
        "loc": jax.random.normal(keys[1], (3, 4)),
        "scale": constraints.positive.inverse(jnp.full((3, 4), 1.0)),
    }


def model(parameters, x=None, *, rows=150, size=None):
    """the generative story, as a program of the library."""
    weights = numpyro.param(
        "weights", constraints.simplex(parameters["weights"]), constraint=dist.constraints.simplex
    )
    loc = numpyro.param("loc", parameters["loc"])
    scale = numpyro.param(
        "scale", constraints.positive(parameters["scale"]), constraint=dist.constraints.positive
    )
    size = size if x is None else len(x)
    size = rows if size is None else size
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        k = numpyro.sample("k", dist.Categorical(probs=weights), infer={"enumerate": "parallel"})
        x = numpyro.sample("x", dist.Normal(loc[k], scale[k]).to_event(1), obs=x)


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"k": ("gumbel", ("data", 3)), "x": ("normal", ("data", 4))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log ∑_{k} exp[log p(x|k) + log p(k)]    (nats per datum)"""
    loc = own["loc"]
    scale = constraints.positive(own["scale"])
    weights = constraints.simplex(own["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [B]
    log_p = jax.nn.logsumexp(
        densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights), 0
    )
    loss = (-log_p).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log ∑_{k} exp[log p(x|k) + log p(k)]: [B], nats, exact."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    weights = constraints.simplex(parameters["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [B]
    log_p = jax.nn.logsumexp(
        densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights), 0
    )
    return log_p


def posterior(parameters, batch):
    """the posterior of the latents that were integrated out, exact."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    weights = constraints.simplex(parameters["weights"])
    like = loc
    x = batch["x"]
    k = operations.arange(3, 1, like)  # [k, B]
    # [k, B]
    log_joint = densities.normal(x, loc[k], scale[k]).sum(-1) + densities.categorical_probs(k, weights)
    k_probs = jax.nn.softmax(jnp.moveaxis(log_joint, 0, -1), -1)  # [B]
    return {"k.probs": k_probs}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    weights = constraints.simplex(parameters["weights"])
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    k = draws.categorical_probs(weights, noise["k"])  # [B]
    x = loc[k] + scale[k] * noise["x"]  # [B, 4]
    return {"k": k, "x": x}


def decode(parameters, batch):
    """parameters of the observed sites' distributions at given latents."""
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    k = batch["k"]
    return {"x.loc": loc[k.astype(int)], "x.scale": scale[k.astype(int)]}

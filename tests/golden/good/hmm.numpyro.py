"""hmm: compiled by dgmppl from hmm.yaml (sha256 5e54b726c817), backend numpyro.

p(x, z) = p(z[0]) ∏ₜ p(z[t] | z[t−1]) ∏ₜ p(x[t] | z[t])
minimize  −log ∑_{z} exp[log p(x|z) + log p(z)]    E_data[log p(x)]
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from dgmppl_numpyro import constraints, densities, distributions, draws, loops, operations, recursions


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 4)
    return {
        "start": constraints.simplex.inverse(jnp.full((3,), 0.3333333333333333)),
        "move": constraints.simplex.inverse(jnp.full((3, 3), 0.3333333333333333)),
        "loc": jax.random.normal(keys[2], (3,)),
        "scale": constraints.positive.inverse(jnp.full((3,), 1.0)),
    }


def model(parameters, x=None, *, rows=None, size=None):
    """the generative story, as a program of the library."""
    like = jnp.zeros(())
    start = numpyro.param(
        "start", constraints.simplex(parameters["start"]), constraint=dist.constraints.simplex
    )
    move = numpyro.param("move", constraints.simplex(parameters["move"]), constraint=dist.constraints.simplex)
    loc = numpyro.param("loc", parameters["loc"])
    scale = numpyro.param(
        "scale", constraints.positive(parameters["scale"]), constraint=dist.constraints.positive
    )
    size = size if x is None else len(x)
    rows = size if rows is None else rows
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_x(x_value):
            states = operations.arange(3, 1, like)  # [z, B]
            states_ = operations.arange(3, 2, like)  # [z, B]
            states_2 = operations.arange(3, 3, like)  # [before, B]
            z_start = jnp.moveaxis(densities.categorical_probs(states, start), 0, -1)  # [B, 3]
            # [B, 49, 3, 3]
            z_move = jnp.moveaxis(
                jnp.moveaxis(densities.categorical_probs(states_, move[states_2]), 0, -1), 0, -1
            )
            # [B, 50, 3]
            z_emit = jnp.moveaxis(densities.normal(x_value, loc[states_], scale[states_]), 0, -1)
            log_p = recursions.log_forward(z_start, z_move, z_emit)  # [B]
            return log_p

        def draw_x(noise):
            z_0 = draws.categorical_probs(start, noise["z"][..., 0, :])  # [B]

            def step_of_z(carry, inputs, t):
                z_before, = carry
                noise_now, = inputs
                z_now = draws.categorical_probs(move[z_before.astype(int)], noise_now)  # [B]
                return (z_now,), (z_now,)

            z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (0,), range(1, 50))
            z = operations.concatenate([z_0[..., None], z_rest], -1)  # [B, 50]
            x_ = loc[z.astype(int)] + scale[z.astype(int)] * noise["x"]  # [B, 50]
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"z": ("gumbel", (50, 3)), "x": ("normal", (50,))},
                (50,),
                dist.constraints.independent(dist.constraints.real, 1),
                reparameterized=False,
            ),
            obs=x,
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "sample": {"z": ("gumbel", ("data", 50, 3)), "x": ("normal", ("data", 50))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −log ∑_{z} exp[log p(x|z) + log p(z)]    (nats per datum)"""
    start = constraints.simplex(own["start"])
    move = constraints.simplex(own["move"])
    loc = own["loc"]
    scale = constraints.positive(own["scale"])
    like = start
    x = batch["x"]
    states = operations.arange(3, 1, like)  # [z, B]
    states_ = operations.arange(3, 2, like)  # [z, B]
    states_2 = operations.arange(3, 3, like)  # [before, B]
    z_start = jnp.moveaxis(densities.categorical_probs(states, start), 0, -1)  # [B, 3]
    # [B, 49, 3, 3]
    z_move = jnp.moveaxis(jnp.moveaxis(densities.categorical_probs(states_, move[states_2]), 0, -1), 0, -1)
    z_emit = jnp.moveaxis(densities.normal(x, loc[states_], scale[states_]), 0, -1)  # [B, 50, 3]
    log_p = recursions.log_forward(z_start, z_move, z_emit)  # [B]
    loss = (-log_p).mean()  # []
    return loss, state, {"loss": loss}


def log_prob(parameters, batch):
    """log ∑_{z} exp[log p(x|z) + log p(z)]: [B], nats, exact."""
    start = constraints.simplex(parameters["start"])
    move = constraints.simplex(parameters["move"])
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    like = start
    x = batch["x"]
    states = operations.arange(3, 1, like)  # [z, B]
    states_ = operations.arange(3, 2, like)  # [z, B]
    states_2 = operations.arange(3, 3, like)  # [before, B]
    z_start = jnp.moveaxis(densities.categorical_probs(states, start), 0, -1)  # [B, 3]
    # [B, 49, 3, 3]
    z_move = jnp.moveaxis(jnp.moveaxis(densities.categorical_probs(states_, move[states_2]), 0, -1), 0, -1)
    z_emit = jnp.moveaxis(densities.normal(x, loc[states_], scale[states_]), 0, -1)  # [B, 50, 3]
    log_p = recursions.log_forward(z_start, z_move, z_emit)  # [B]
    return log_p


def posterior(parameters, batch):
    """the posterior of the latents that were integrated out, exact."""
    start = constraints.simplex(parameters["start"])
    move = constraints.simplex(parameters["move"])
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    like = start
    x = batch["x"]
    states = operations.arange(3, 1, like)  # [z, B]
    states_ = operations.arange(3, 2, like)  # [z, B]
    states_2 = operations.arange(3, 3, like)  # [before, B]
    z_start = jnp.moveaxis(densities.categorical_probs(states, start), 0, -1)  # [B, 3]
    # [B, 49, 3, 3]
    z_move = jnp.moveaxis(jnp.moveaxis(densities.categorical_probs(states_, move[states_2]), 0, -1), 0, -1)
    z_emit = jnp.moveaxis(densities.normal(x, loc[states_], scale[states_]), 0, -1)  # [B, 50, 3]
    return {
        "z.probs": recursions.smooth(z_start, z_move, z_emit),
        "z.path": recursions.viterbi(z_start, z_move, z_emit),
    }


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    start = constraints.simplex(parameters["start"])
    move = constraints.simplex(parameters["move"])
    loc = parameters["loc"]
    scale = constraints.positive(parameters["scale"])
    z_0 = draws.categorical_probs(start, noise["z"][..., 0, :])  # [B]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        noise_now, = inputs
        z_now = draws.categorical_probs(move[z_before.astype(int)], noise_now)  # [B]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (0,), range(1, 50))
    z = operations.concatenate([z_0[..., None], z_rest], -1)  # [B, 50]
    x = loc[z.astype(int)] + scale[z.astype(int)] * noise["x"]  # [B, 50]
    return {"z": z, "x": x}

"""deep-markov: compiled by dgmppl from deep_markov.yaml (sha256 277c915d6633), backend numpyro.

p(x, z) = p(z[0]) ∏ₜ p(z[t] | z[t−1]) ∏ₜ p(x[t] | z[t])
minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    E_data[log p(x)]
"""

import equinox as eqx
import jax
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import eqx_module

from dgmppl_numpyro import densities, distributions, draws, loops, networks, operations, recurrent


class Transition(eqx.Module):
    """[4] -> loc [4], scale [4]; mlp([32]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(4, 32, keys[0]), networks.Linear(32, 8, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


class Emission(eqx.Module):
    """[4] -> loc [3], scale [3]; mlp([32]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(4, 32, keys[0]), networks.Linear(32, 6, keys[1])]

    def __call__(self, x):
        h = jax.nn.relu(self.layers[0](x))
        h = self.layers[1](h)
        loc = h[..., :3]
        scale = networks.positive(h[..., 3:])
        return loc, scale


class Summary(eqx.Module):
    """[40, 3] -> out [40, 32]; gru(32, direction=backward, order=raster)."""

    body: recurrent.GRU
    last: networks.Linear

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.body = recurrent.GRU(3, keys[0], width=32, direction="backward")
        self.last = networks.Linear(32, 32, keys[1])

    def __call__(self, x):
        return self.last(self.body(x))


class Combiner(eqx.Module):
    """[4], [32] -> loc [4], scale [4]; mlp([32]), relu."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
        self.layers = [networks.Linear(36, 32, keys[0]), networks.Linear(32, 8, keys[1])]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, x2], -1)
        h = jax.nn.relu(self.layers[0](h))
        h = self.layers[1](h)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


class First(eqx.Module):
    """[32] -> loc [4], scale [4]; linear."""

    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 1)
        self.layers = [networks.Linear(32, 8, keys[0])]

    def __call__(self, x):
        h = self.layers[0](x)
        loc = h[..., :4]
        scale = networks.positive(h[..., 4:])
        return loc, scale


NETWORKS = {
    "transition": Transition, "emission": Emission, "summary": Summary, "combiner": Combiner, "first": First
}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 5)
    return {
        "transition": Transition(keys[0]),
        "emission": Emission(keys[1]),
        "summary": Summary(keys[2]),
        "combiner": Combiner(keys[3]),
        "first": First(keys[4]),
    }


def model(parameters, x=None, *, rows=None, size=None):
    """the generative story, as a program of the library."""
    transition = eqx_module("transition", parameters["transition"])
    emission = eqx_module("emission", parameters["emission"])
    size = size if x is None else len(x)
    rows = size if rows is None else rows
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):

        def log_p_z(z_value):
            transition_loc, transition_scale = transition(z_value[..., :39, :])  # [B, 4], [B, 4]
            return (
                densities.standard_normal(z_value[..., 0, :]).sum(-1)
                + densities.normal(z_value[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
            )

        def draw_z(noise):
            z_0 = noise["z"][..., 0, :]  # [B, 4]

            def step_of_z(carry, inputs, t):
                z_before, = carry
                noise_now, = inputs
                transition_loc_, transition_scale_ = transition(z_before)  # [B, 4], [B, 4]
                z_now = transition_loc_ + transition_scale_ * noise_now  # [B, 4]
                return (z_now,), (z_now,)

            z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (1,), range(1, 40))
            z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
            return z

        z_ = numpyro.sample(
            "z",
            distributions.Composed(
                log_p_z,
                draw_z,
                {"z": ("normal", (40, 4))},
                (40, 4),
                dist.constraints.independent(dist.constraints.real, 2),
                reparameterized=True,
            ),
        )

        def log_p_x(x_value):
            emission_loc, emission_scale = emission(z_)  # [B, 3], [B, 3]
            return densities.normal(x_value, emission_loc, emission_scale).sum(-1).sum(-1)

        def draw_x(noise):
            emission_loc_, emission_scale_ = emission(z_)  # [B, 3], [B, 3]
            x_ = emission_loc_ + emission_scale_ * noise["x"]  # [B, 40, 3]
            return x_

        x = numpyro.sample(
            "x",
            distributions.Composed(
                log_p_x,
                draw_x,
                {"x": ("normal", (40, 3))},
                (40, 3),
                dist.constraints.independent(dist.constraints.real, 2),
                reparameterized=True,
            ),
            obs=x,
        )


def guide(parameters, x=None, *, rows=None, size=None):
    """the variational posterior, as a program of the library."""
    summary = eqx_module("summary", parameters["summary"])
    first = eqx_module("first", parameters["first"])
    combiner = eqx_module("combiner", parameters["combiner"])
    size = size if x is None else len(x)
    rows = size if rows is None else rows
    with numpyro.plate("data", size, dim=-1), numpyro.handlers.scale(scale=rows / size):
        summary_out = summary(x)  # [B, 40, 32]
        h = numpyro.deterministic("h", summary_out)

        def log_p_z(z_value):
            first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
            # [B, 4], [B, 4]
            combiner_loc, combiner_scale = combiner(z_value[..., :39, :], summary_out[..., 1:, :])
            return (
                densities.normal(z_value[..., 0, :], first_loc, first_scale).sum(-1)
                + densities.normal(z_value[..., 1:, :], combiner_loc, combiner_scale).sum(-1).sum(-1)
            )

        def draw_z(noise):
            first_loc_, first_scale_ = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
            z_0 = first_loc_ + first_scale_ * noise["z"][..., 0, :]  # [B, 4]

            def step_of_z(carry, inputs, t):
                z_before, = carry
                summary_out_now, noise_now = inputs
                combiner_loc_, combiner_scale_ = combiner(z_before, summary_out_now)  # [B, 4], [B, 4]
                z_now = combiner_loc_ + combiner_scale_ * noise_now  # [B, 4]
                return (z_now,), (z_now,)

            z_rest, = loops.scan(
                step_of_z,
                (z_0,),
                [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)],
                (1,),
                range(1, 40),
            )
            z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
            return z

        z_ = numpyro.sample(
            "z",
            distributions.Composed(
                log_p_z,
                draw_z,
                {"z": ("normal", (40, 4))},
                (40, 4),
                dist.constraints.independent(dist.constraints.real, 2),
                reparameterized=True,
            ),
        )


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"z": ("normal", ("data", 40, 4))},
    "elbo": {"z": ("normal", ("particles", "data", 40, 4))},
    "log_weights": {"z": ("normal", ("particles", "data", 40, 4))},
    "encode": {"z": ("normal", ("particles", "data", 40, 4))},
    "sample": {"z": ("normal", ("data", 40, 4)), "x": ("normal", ("data", 40, 3))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  −E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)]    (nats per datum)"""
    summary = own["summary"]
    first = own["first"]
    combiner = own["combiner"]
    emission = own["emission"]
    transition = own["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [B, 4], [B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [B, 3], [B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [B, 4], [B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [B, 4], [B, 4]
    # []
    loss = (
        densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
        + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        - (
            densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
            + densities.standard_normal(z[..., 0, :]).sum(-1)
            + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        )
    ).mean()
    return loss, state, {"loss": loss}


def elbo(parameters, batch, noise):
    """E_{q(z|x)}[log p(x|z) + log p(z) − log q(z|x)], averaged over particles: [B], nats, a lower bound on
    log p in expectation.
    """
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    emission = parameters["emission"]
    transition = parameters["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [K, B, 3], [K, B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [K, B, 4], [K, B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [K, B, 4], [K, B, 4]
    return (
        densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
        + densities.standard_normal(z[..., 0, :]).sum(-1)
        + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        - (
            densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
            + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        )
    ).mean(0)


def log_weights(parameters, batch, noise):
    """log p(data, latents) - log q(latents | data), one per draw of the guide: [K, B], nats."""
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    emission = parameters["emission"]
    transition = parameters["transition"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [K, B, 3], [K, B, 3]
    transition_loc, transition_scale = transition(z[..., :39, :])  # [K, B, 4], [K, B, 4]
    combiner_loc_, combiner_scale_ = combiner(z[..., :39, :], summary_out[..., 1:, :])  # [K, B, 4], [K, B, 4]
    return (
        densities.normal(x, emission_loc, emission_scale).sum(-1).sum(-1)
        + densities.standard_normal(z[..., 0, :]).sum(-1)
        + densities.normal(z[..., 1:, :], transition_loc, transition_scale).sum(-1).sum(-1)
        - (
            densities.normal(z[..., 0, :], first_loc, first_scale).sum(-1)
            + densities.normal(z[..., 1:, :], combiner_loc_, combiner_scale_).sum(-1).sum(-1)
        )
    )


def encode(parameters, batch, noise):
    """draws of the latents from the guide: [K, B, *event]."""
    summary = parameters["summary"]
    first = parameters["first"]
    combiner = parameters["combiner"]
    x = batch["x"]
    summary_out = summary(x)  # [B, 40, 32]
    first_loc, first_scale = first(summary_out[..., 0, :])  # [B, 4], [B, 4]
    z_0 = first_loc + first_scale * noise["z"][..., 0, :]  # [K, B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        summary_out_now, noise_now = inputs
        combiner_loc, combiner_scale = combiner(z_before, summary_out_now)  # [K, B, 4], [K, B, 4]
        z_now = combiner_loc + combiner_scale * noise_now  # [K, B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(
        step_of_z, (z_0,), [(summary_out[..., 1:, :], 1), (noise["z"][..., 1:, :], 1)], (1,), range(1, 40)
    )
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [K, B, 40, 4]
    return {"z": z}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    transition = parameters["transition"]
    emission = parameters["emission"]
    z_0 = noise["z"][..., 0, :]  # [B, 4]

    def step_of_z(carry, inputs, t):
        z_before, = carry
        noise_now, = inputs
        transition_loc, transition_scale = transition(z_before)  # [B, 4], [B, 4]
        z_now = transition_loc + transition_scale * noise_now  # [B, 4]
        return (z_now,), (z_now,)

    z_rest, = loops.scan(step_of_z, (z_0,), [(noise["z"][..., 1:, :], 1)], (1,), range(1, 40))
    z = operations.concatenate([z_0[..., None, :], z_rest], -2)  # [B, 40, 4]
    emission_loc, emission_scale = emission(z)  # [B, 3], [B, 3]
    x = emission_loc + emission_scale * noise["x"]  # [B, 40, 3]
    return {"z": z, "x": x}

"""ddpm: compiled by dgmppl from ddpm.yaml (sha256 4dd64d0a7f82), backend numpyro.

p(x) = ∫ p(x_T) ∏ₜ p(xₜ₋₁ | xₜ) dx₁…dx_T
minimize  E_{t,ε}[w_simple(t) ‖target − net(xₜ, t)‖²]    a reweighting of the variational bound's terms
"""

import equinox as eqx
import jax

from dgmppl_numpyro import diffusion, draws, embedding, networks, operations, schedules


class Denoiser(eqx.Module):
    """[64], [64] -> out [64]; mlp([256, 256, 256]), silu."""

    time: embedding.TimeEmbedding
    layers: list[networks.Linear]

    def __init__(self, key=None):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 5)
        self.time = embedding.TimeEmbedding(64, keys[0])
        self.layers = [
            networks.Linear(128, 256, keys[1]),
            networks.Linear(256, 256, keys[2]),
            networks.Linear(256, 256, keys[3]),
            networks.Linear(256, 64, keys[4]),
        ]

    def __call__(self, x1, x2):
        h = operations.concatenate([x1, self.time(x2)], -1)
        h = jax.nn.silu(self.layers[0](h))
        h = jax.nn.silu(self.layers[1](h))
        h = jax.nn.silu(self.layers[2](h))
        return self.layers[3](h)


NETWORKS = {"denoiser": Denoiser}


def initial(key):
    """Start values by group: networks, and unconstrained arrays that `constraints` maps into their sets."""
    keys = jax.random.split(key, 1)
    return {"denoiser": Denoiser(keys[0])}


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"x.time": ("uniform", ("data",)), "x.noise": ("normal", ("data", 64))},
    "elbo": {"x.time": ("uniform", ("particles", "data")), "x.noise": ("normal", ("particles", "data", 64))},
    "sample": {"x": ("normal", ("data", 64))},
    "complete": {"x": ("normal", ("data", 64)), "x.held": ("normal", ("data", 64))},
}


def noise(key, name, rows, particles=1, dtype=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    return draws.standard(NOISE[name], key, {"data": rows, "particles": particles}, dtype)


def loss_model(own, other, state, batch, noise, step):
    """minimize  E_{t,ε}[w_simple(t) ‖target − net(xₜ, t)‖²]    (nats per datum)"""
    denoiser = own["denoiser"]
    x = batch["x"]
    x_process = diffusion.Process(schedules.cosine(0.008), "noise", 1, steps=1000)

    def denoise_x(x_t, t):
        return denoiser(x_t, t)
    # []
    loss = diffusion.regression(
        x_process, denoise_x, x, noise["x.time"], noise["x.noise"], weighting="simple"
    ).mean()
    return loss, state, {"loss": loss}


def elbo(parameters, batch, noise):
    """VLB(x), averaged over particles: [B], nats, a lower bound on log p in expectation."""
    denoiser = parameters["denoiser"]
    x = batch["x"]
    x_process = diffusion.Process(schedules.cosine(0.008), "noise", 1, steps=1000)

    def denoise_x(x_t, t):
        return denoiser(x_t, t)
    return diffusion.bound(x_process, denoise_x, x, noise["x.time"], noise["x.noise"]).mean(0)


def ode_log_prob(parameters, batch):
    """VLB(x) with the probability-flow ODE's own density: [B], nats, exact to the solver's tolerance."""
    denoiser = parameters["denoiser"]
    x = batch["x"]
    x_process = diffusion.Process(schedules.cosine(0.008), "noise", 1, steps=1000)

    def denoise_x(x_t, t):
        return denoiser(x_t, t)
    return diffusion.log_prob(x_process, denoise_x, x, rtol=1e-05, solver="dopri5")


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]."""
    denoiser = parameters["denoiser"]
    x_process = diffusion.Process(schedules.cosine(0.008), "noise", 1, steps=1000)

    def denoise_x(x_t, t):
        return denoiser(x_t, t)
    x = diffusion.ddim(x_process, denoise_x, noise["x"], steps=50)  # [B, 64]
    return {"x": x}


def complete(parameters, batch, noise):
    """one ancestral draw per row in which the elements marked in `NAME.given` are those of the batch."""
    denoiser = parameters["denoiser"]
    x_given = batch["x.given"]
    x = batch["x"]
    x_process = diffusion.Process(schedules.cosine(0.008), "noise", 1, steps=1000)

    def denoise_x(x_t, t):
        return denoiser(x_t, t)
    # [B, 64]
    x_ = diffusion.ddim(x_process, denoise_x, noise["x"], steps=50, known=(x_given, x, noise["x.held"]))
    return {"x": x_}

"""rbm: compiled by dgmppl from rbm.yaml (sha256 309d2e91abf1), backend pyro.

p(v, h) = exp(−E(v, h)) / Z
minimize  E_{p_data(v)}[∇_θ F(v)] − E_{p(v)}[∇_θ F(v)]    the gradient of −E_data[log p(v)]
"""

import torch

from dgmppl_pyro import annealing, derivatives, draws, operations, samplers


def initial():
    """Start values by group: networks, and unconstrained tensors that `constraints` maps into their sets."""
    return {"W": 0.01 * torch.randn((64, 32)), "b": torch.full((64,), 0.0), "c": torch.full((32,), 0.0)}


# Random numbers by function and entry: their kind and axes; named axes get their lengths at run time.
NOISE = {
    "loss_model": {"v.chain": ("uniform", ("data", 1, 64)), "v.hidden": ("uniform", ("data", 1, 32))},
    "anneal_v": {
        "v.start": ("uniform", ("data", 64)),
        "v.chain": ("uniform", ("data", 200, 64)),
        "v.hidden": ("uniform", ("data", 200, 32)),
        "v.first": ("uniform", ("data", 32)),
    },
    "anneal_v_back": {
        "v.chain": ("uniform", ("data", 200, 64)),
        "v.hidden": ("uniform", ("data", 200, 32)),
        "v.first": ("uniform", ("data", 32)),
    },
    "sample": {
        "v.start": ("uniform", ("data", 64)),
        "v.chain": ("uniform", ("data", 200, 64)),
        "v.hidden": ("uniform", ("data", 200, 32)),
        "h": ("uniform", ("data", 32)),
    },
}


def noise(generator, name, rows, particles=1, dtype=None, device=None):
    """The random numbers of the function `name` by entry, for `rows` data and `particles` draws of each."""
    sizes = {"data": rows, "particles": particles}
    return draws.standard(NOISE[name], generator, sizes, dtype, device)


def loss_model(own, other, state, batch, noise, step):
    """minimize  E_{p_data(v)}[∇_θ F(v)] − E_{p(v)}[∇_θ F(v)]    (nats per datum)"""
    b = own["b"]
    c = own["c"]
    W = own["W"]
    like = noise["v.chain"]
    v = batch["v"].to(like.dtype)

    def log_p_v_h(v_value, h_value):
        return (
            operations.dot(b, v_value)
            + operations.dot(c, h_value)
            + operations.dot(v_value, operations.matvec(W, h_value))
        )
    # [B, 64]
    v_sampled = samplers.block_gibbs(
        log_p_v_h, v, 1, noise["v.chain"], noise["v.hidden"], hidden_rank=1, states=(2, 2)
    )

    def log_p_of_h(h_value_):
        return (
            operations.dot(b, v_sampled)
            + operations.dot(c, h_value_)
            + operations.dot(v_sampled, operations.matvec(W, h_value_))
        )
    h_slope = derivatives.gradient(log_p_of_h, samplers.origin(v_sampled, 1, (32,)), 1)  # [B, 32]
    # [B]
    log_p_v = (
        operations.dot(b, v_sampled)
        + operations.dot(c, like.new_zeros(32))
        + operations.dot(v_sampled, operations.matvec(W, like.new_zeros(32)))
        + operations.softplus(h_slope).sum(-1)
    )

    def log_p_of_h_(h_value_2):
        return (
            operations.dot(b, v)
            + operations.dot(c, h_value_2)
            + operations.dot(v, operations.matvec(W, h_value_2))
        )
    h_slope_ = derivatives.gradient(log_p_of_h_, samplers.origin(v, 1, (32,)), 1)  # [B, 32]
    # [B]
    log_p_v_ = (
        operations.dot(b, v)
        + operations.dot(c, like.new_zeros(32))
        + operations.dot(v, operations.matvec(W, like.new_zeros(32)))
        + operations.softplus(h_slope_).sum(-1)
    )
    loss = (log_p_v - log_p_v_).mean()  # []
    return loss, state, {"loss": loss}


def unnormalized_v(parameters, batch):
    """log p(v) + log Z: [B], nats."""
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = b
    v = batch["v"].to(like.dtype)

    def log_p_of_h(h_value):
        return (
            operations.dot(b, v)
            + operations.dot(c, h_value)
            + operations.dot(v, operations.matvec(W, h_value))
        )
    h_slope = derivatives.gradient(log_p_of_h, samplers.origin(v, 1, (32,)), 1)  # [B, 32]
    return (
        operations.dot(b, v)
        + operations.dot(c, like.new_zeros(32))
        + operations.dot(v, operations.matvec(W, like.new_zeros(32)))
        + operations.softplus(h_slope).sum(-1)
    )


def anneal_v(parameters, batch, noise):
    """annealed importance sampling from the base: one chain per row, log w [B], E[w] = Z."""
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = noise["v.start"]
    v_start = draws.bernoulli_probs(0.5, noise["v.start"]).to(like.dtype)  # [B, 64]

    def log_p_v_h(v_value, h_value):
        return (
            operations.dot(b, v_value)
            + operations.dot(c, h_value)
            + operations.dot(v_value, operations.matvec(W, h_value))
        )
    # [B, 64]
    v_sampled = annealing.block_gibbs(
        log_p_v_h,
        v_start,
        1,
        noise["v.chain"],
        noise["v.hidden"],
        noise["v.first"],
        hidden_rank=1,
        states=(2, 2),
        reverse=False,
    )
    return {"v": v_sampled[0], "log_weights": v_sampled[1]}


def anneal_v_back(parameters, batch, noise):
    """annealed importance sampling from exact draws of v: one chain per row, log w [B], E[1/w] = 1/Z."""
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = noise["v.chain"]
    v = batch["v"].to(like.dtype)
    v_start = v  # [B, 64]

    def log_p_v_h(v_value, h_value):
        return (
            operations.dot(b, v_value)
            + operations.dot(c, h_value)
            + operations.dot(v_value, operations.matvec(W, h_value))
        )
    # [B, 64]
    v_sampled = annealing.block_gibbs(
        log_p_v_h,
        v_start,
        1,
        noise["v.chain"],
        noise["v.hidden"],
        noise["v.first"],
        hidden_rank=1,
        states=(2, 2),
        reverse=True,
    )
    return {"v": v_sampled[0], "log_weights": v_sampled[1]}


def log_unnormalized(parameters, batch):
    """log ∑_{h} exp(−E(v, h)): [B], nats, up to log Z."""
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = b
    v = batch["v"].to(like.dtype)

    def log_p_of_h(h_value):
        return (
            operations.dot(b, v)
            + operations.dot(c, h_value)
            + operations.dot(v, operations.matvec(W, h_value))
        )
    h_slope = derivatives.gradient(log_p_of_h, samplers.origin(v, 1, (32,)), 1)  # [B, 32]
    # [B]
    log_p = (
        operations.dot(b, v)
        + operations.dot(c, like.new_zeros(32))
        + operations.dot(v, operations.matvec(W, like.new_zeros(32)))
        + operations.softplus(h_slope).sum(-1)
    )
    return log_p


def posterior(parameters, batch):
    """the posterior of the latents that were integrated out, exact."""
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = b
    v = batch["v"].to(like.dtype)

    def log_p_of_h(h_value):
        return (
            operations.dot(b, v)
            + operations.dot(c, h_value)
            + operations.dot(v, operations.matvec(W, h_value))
        )
    h_slope = derivatives.gradient(log_p_of_h, samplers.origin(v, 1, (32,)), 1)  # [B, 32]
    return {"h.probs": torch.sigmoid(h_slope)}


def sample(parameters, batch, noise):
    """one ancestral draw per row: every site of the model by name, [B, *event]. v is the end of
    gibbs(steps=200), approximate.
    """
    b = parameters["b"]
    c = parameters["c"]
    W = parameters["W"]
    like = noise["v.start"]
    v_start = draws.bernoulli_probs(0.5, noise["v.start"]).to(like.dtype)  # [B, 64]

    def log_p_v_h(v_value, h_value):
        return (
            operations.dot(b, v_value)
            + operations.dot(c, h_value)
            + operations.dot(v_value, operations.matvec(W, h_value))
        )
    # [B, 64]
    v_sampled = samplers.block_gibbs(
        log_p_v_h, v_start, 1, noise["v.chain"], noise["v.hidden"], hidden_rank=1, states=(2, 2)
    )
    v = v_sampled.long()  # [B, 64]

    def log_p_of_h(h_value_):
        return (
            operations.dot(b, v.to(like.dtype))
            + operations.dot(c, h_value_)
            + operations.dot(v.to(like.dtype), operations.matvec(W, h_value_))
        )
    h_slope = derivatives.gradient(log_p_of_h, samplers.origin(v.to(like.dtype), 1, (32,)), 1)  # [B, 32]
    h = draws.bernoulli_logits(h_slope, noise["h"])  # [B, 32]
    return {"v": v, "h": h}

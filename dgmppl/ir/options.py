"""The closed tables of what a spec may choose: objective terms, engines, samplers, schedules, metrics and the like.

Each entry says which arguments it takes, in positional order, with default and meaning; `dgmppl list KIND` prints them.
"""

from __future__ import annotations

from dgmppl.ir.objective_options import DIVERGENCES, ESTIMATORS, OBJECTIVES, PENALTIES
from dgmppl.ir.option_entries import REQUIRED, Argument, Entry, Table, steps, table

__all__ = [
    "AUTO", "DIFFUSION_SCHEDULES", "DIVERGENCES", "EARLY_STOPPING", "ENGINES", "ESTIMATORS", "GUIDES", "LEARNING_RATES",
    "LOG_PROB", "LOG_Z", "METRICS", "OBJECTIVES", "OPTIMIZERS", "PENALTIES", "PREDICTIONS", "REQUIRED", "SAMPLERS",
    "SCALAR_SCHEDULES", "TABLES", "VARIANCES", "WEIGHTINGS", "Argument", "Entry", "Table",
]  # fmt: skip

_STEP_SIZE = Argument("step_size", 0.01, "size of a step", "positive")
_WARMUP, _DRAWS = (
    Argument("warmup", 1000, "adaptation draws per chain", "natural"),
    Argument("draws", 1000, "draws per chain", "whole"),
)
_CHAINS = Argument("chains", 4, "chains", "whole")
_RATE = Argument("rate", 1e-3, "learning rate", "positive")
_DECAY = Argument("weight_decay", 0.0, "weight decay")
_REPARAMETERIZE = Argument("reparameterize", None, "latents to be drawn non-centred", "names")

ENGINES: Table = table(
    Entry(
        "nuts",
        (
            _WARMUP,
            _DRAWS,
            _CHAINS,
            Argument("target_accept", 0.8, "acceptance that is aimed at", "positive"),
            Argument("max_depth", 10, "doublings of a trajectory", "whole"),
            _REPARAMETERIZE,
        ),
        "the no-U-turn sampler",
    ),
    Entry(
        "hmc",
        (_WARMUP, _DRAWS, _CHAINS, _STEP_SIZE, steps(10, "leapfrog steps"), _REPARAMETERIZE),
        "Hamiltonian Monte Carlo",
    ),
    Entry(
        "smc",
        (Argument("particles", 1000, "particles", "whole"), Argument("draws", 1000, "draws", "whole")),
        "sequential Monte Carlo",
    ),
    Entry(
        "sgld",
        (_WARMUP, _DRAWS, _CHAINS, Argument("step_size", 0.1, "rows times the size of a step", "positive")),
        "stochastic-gradient Langevin dynamics, on mini-batches; approximate",
    ),
    Entry(
        "sghmc",
        (
            _WARMUP,
            _DRAWS,
            _CHAINS,
            Argument("step_size", 0.01, "rows times the size of a step", "positive"),
            Argument("friction", 0.1, "share of the velocity that a step replaces", "positive"),
        ),
        "stochastic-gradient HMC, on mini-batches; approximate",
    ),
    Entry(
        "svi",
        (
            Argument("guide", "auto", "covers what `guide` does not", "guide"),
            steps(2000, "updates"),
            Argument("particles", 1, "samples per update", "whole"),
            Argument("draws", 1000, "draws of the result", "whole"),
        ),
        "variational inference",
    ),
    Entry(
        "laplace",
        (steps(2000, "updates to the mode"), Argument("draws", 1000, "draws of the result", "whole")),
        "a normal at the mode",
    ),
    Entry("map", (steps(2000, "updates to the mode"),), "the mode of the posterior"),
)

GUIDES: Table = table(
    Entry("mean_field", (), "independent normals in unconstrained space; amortized per datum for latents"),
    Entry(
        "low_rank",
        (Argument("rank", 8, "rank of the covariance's factor", "whole"),),
        "low-rank plus diagonal covariance",
    ),
    Entry("full_rank", (), "a full covariance"),
    Entry("flow", (Argument("layers", 2, "autoregressive layers", "whole"),), "a normalizing flow"),
    Entry("laplace", (), "a normal at the mode"),
    Entry("markov", (), "a chain that follows the model's"),
)

SAMPLERS: Table = table(
    Entry(
        "langevin",
        (
            steps(60, "transitions"),
            _STEP_SIZE,
            Argument("noise", None, "noise scale; None: sqrt(2 step_size)", "positive"),
            Argument("clip", None, "clip of the gradient", "positive"),
        ),
        "unadjusted Langevin dynamics",
    ),
    Entry("mala", (steps(60, "transitions"), _STEP_SIZE), "Metropolis-adjusted Langevin"),
    Entry(
        "hmc",
        (steps(10, "transitions"), _STEP_SIZE, Argument("leapfrog", 10, "leapfrog steps", "whole")),
        "Hamiltonian Monte Carlo",
    ),
    Entry("gibbs", (steps(1, "sweeps"),), "block Gibbs"),
    Entry(
        "gibbs_with_gradients", (steps(60, "transitions"),), "informed single-site proposals (Grathwohl et al. 2021)"
    ),
    Entry(
        "ancestral",
        (
            Argument("steps", None, "steps; None: the chain's own, 250 in continuous time", "whole"),
            Argument("guidance", 1.0, "guidance weight", "positive"),
        ),
        "the reverse chain itself",
    ),
    Entry(
        "ddim",
        (
            steps(50, "steps"),
            Argument("eta", 0.0, "share of fresh noise"),
            Argument("guidance", 1.0, "guidance weight", "positive"),
        ),
        "the implicit sampler (Song et al. 2021)",
    ),
    Entry(
        "dpm_solver_pp",
        (steps(20, "steps"), Argument("guidance", 1.0, "guidance weight", "positive")),
        "DPM-Solver++(2M), order 2 (Lu et al. 2022)",
    ),
    Entry(
        "euler",
        (steps(100, "steps"), Argument("guidance", 1.0, "guidance weight", "positive")),
        "the probability-flow ODE by Euler's rule",
    ),
    Entry(
        "heun",
        (steps(50, "steps"), Argument("guidance", 1.0, "guidance weight", "positive")),
        "the probability-flow ODE by Heun's rule (Karras et al. 2022)",
    ),
    Entry(
        "sde",
        (
            steps(250, "steps"),
            Argument("solver", "euler_maruyama", "rule", "stochastic_solver"),
            Argument("guidance", 1.0, "guidance weight", "positive"),
        ),
        "the reverse stochastic differential equation (Song et al. 2021)",
    ),
    Entry("ode", (steps(100, "steps"), Argument("solver", "dopri5", "solver", "solver")), "the probability-flow ODE"),
)

DIFFUSION_SCHEDULES: Table = table(
    Entry(
        "cosine",
        (Argument("offset", 0.008, "offset at the start", "positive"),),
        "squared-cosine signal (Nichol and Dhariwal 2021)",
    ),
    Entry(
        "linear",
        (
            Argument("beta_min", 1e-4, "first variance", "positive"),
            Argument("beta_max", 0.02, "last variance", "positive"),
        ),
        "linear variances (Ho et al. 2020)",
    ),
    Entry("sigmoid", (), "sigmoid signal (Jabri et al. 2022)"),
    Entry(
        "edm", (Argument("sigma_data", 0.5, "standard deviation of the data", "positive"),), "after Karras et al. 2022"
    ),
    Entry(
        "variance_exploding",
        (Argument("sigma_min", 0.01, "least noise", "positive"), Argument("sigma_max", 50.0, "most noise", "positive")),
        "growing noise, no decay (Song et al. 2021)",
    ),
    Entry("learned", (), "a learned monotone schedule (Kingma et al. 2021)"),
)

SCALAR_SCHEDULES: Table = table(
    Entry(
        "linear",
        (
            Argument("start", REQUIRED, "first value"),
            Argument("end", REQUIRED, "last value"),
            steps(1000, "updates between"),
        ),
        "from one value to another",
    ),
    Entry(
        "cosine",
        (
            Argument("start", REQUIRED, "first value"),
            Argument("end", REQUIRED, "last value"),
            steps(1000, "updates between"),
        ),
        "half a cosine from one value to another",
    ),
    Entry(
        "cyclical",
        (
            Argument("start", REQUIRED, "value at each cycle's start"),
            Argument("end", REQUIRED, "value at each cycle's end"),
            steps(1000, "updates a cycle"),
        ),
        "again and again",
    ),
)

LEARNING_RATES: Table = table(
    Entry("constant", (), "the optimizer's own rate"),
    Entry(
        "cosine",
        (
            Argument("warmup", 0, "updates of linear warm-up", "natural"),
            Argument("end", 0.0, "final share of the rate"),
        ),
        "half a cosine",
    ),
    Entry(
        "linear",
        (
            Argument("warmup", 0, "updates of linear warm-up", "natural"),
            Argument("end", 0.0, "final share of the rate"),
        ),
        "a line",
    ),
    Entry("exponential", (Argument("decay", 0.999, "factor per update", "positive"),), "geometric decay"),
)

OPTIMIZERS: Table = table(
    Entry(
        "adam",
        (
            _RATE,
            Argument("beta1", 0.9, "first moment"),
            Argument("beta2", 0.999, "second moment"),
            Argument("eps", 1e-8, "floor", "positive"),
        ),
        "Adam",
    ),
    Entry(
        "adamw",
        (
            _RATE,
            Argument("beta1", 0.9, "first moment"),
            Argument("beta2", 0.999, "second moment"),
            Argument("eps", 1e-8, "floor", "positive"),
            Argument("weight_decay", 0.01, "weight decay"),
        ),
        "Adam with decoupled decay",
    ),
    Entry("sgd", (_RATE, Argument("momentum", 0.0, "momentum"), _DECAY), "stochastic gradient descent"),
    Entry(
        "rmsprop",
        (_RATE, Argument("decay", 0.99, "moving average"), Argument("eps", 1e-8, "floor", "positive")),
        "RMSProp",
    ),
)

METRICS: Table = table(
    Entry("log_likelihood", (), "mean log p per datum, or its bound"),
    Entry("bits_per_dim", (), "-log p / (D ln 2) of discrete data"),
    Entry("elbo", (Argument("particles", 1, "samples", "whole"),), "the evidence lower bound"),
    Entry("iwae", (Argument("particles", 100, "importance samples", "whole"),), "the importance-weighted bound"),
    Entry("reconstruction", (), "expected log-likelihood given the code; not computed yet"),
    Entry("kl", (), "KL per latent and dimension; not computed yet"),
    Entry("active_units", (), "dimensions of the code that carry information"),
    Entry("mmd", (), "maximum mean discrepancy of samples and rows, squared"),
    Entry("energy_distance", (), "energy distance of samples and rows"),
    Entry("sliced_wasserstein", (Argument("projections", 200, "directions", "whole"),), "Wasserstein-1 of projections"),
    Entry("wasserstein", (), "Wasserstein-1 by exact transport of samples onto rows"),
    Entry("c2st", (), "how often a classifier tells samples from rows"),
    Entry("accuracy", (Argument("site", REQUIRED, "a discrete site", "site"),), "share of labels found"),
    Entry("calibration", (), "simulation-based calibration; not computed yet"),
    Entry("waic", (), "the widely applicable information criterion"),
    Entry("loo", (), "log p of each row left out, by Pareto-smoothed weights"),
)

LOG_Z: Table = table(
    Entry(
        "ais",
        (
            Argument("temperatures", 200, "intermediate densities", "whole"),
            Argument("chains", 64, "chains", "whole"),
            Argument("reverse", False, "start from exact samples: an upper bound", "flag"),
        ),
        "annealed importance sampling",
    ),
    Entry(
        "quadrature",
        (Argument("points", 200, "points per axis", "whole"),),
        "numerical integration in 1 to 3 dimensions",
    ),
    Entry("exact", (), "the sum over all states"),
)

PREDICTIONS: Table = table(
    Entry("noise", (), "the noise"),
    Entry("data", (), "the clean datum"),
    Entry("velocity", (), "a mixture of both (Salimans and Ho 2022)"),
    Entry("score", (), "the score"),
)
WEIGHTINGS: Table = table(
    Entry("vlb", (), "the bound itself"),
    Entry("simple", (), "unit weights on the noise (Ho et al. 2020)"),
    Entry("min_snr", (), "weights clipped by the signal (Hang et al. 2023)"),
    Entry("edm", (), "after Karras et al. 2022"),
)
VARIANCES: Table = table(
    Entry("posterior", (), "of q(x_s | x_t, x) (Ho et al. 2020)"),
    Entry("beta", (), "of q(x_t | x_s) (Ho et al. 2020)"),
    Entry("learned", (), "one number a step, at best the optimal variance (Bao et al. 2022)"),
)


def _words(*names: str) -> Table:
    return table(*(Entry(name) for name in names))


EARLY_STOPPING: Table = table(
    Entry(
        "early_stopping",
        (
            Argument("patience", 10, "evaluations without improvement", "whole"),
            Argument("every", 100, "updates between", "whole"),
        ),
        "stop when the held-out value stops improving",
    ),
)
LOG_PROB: Table = table(
    Entry(
        "ode",
        (Argument("solver", "dopri5", "solver", "solver"), Argument("rtol", 1e-5, "relative tolerance", "positive")),
        "the probability-flow ODE's own density",
    ),
    Entry("vlb", (), "the chain's bound"),
    Entry("iwae", (Argument("particles", 100, "importance samples", "whole"),), "importance-weighted bound"),
)
AUTO: Table = table(
    Entry("auto", (Argument("family", "mean_field", "the family", "guide_family"),), "derived by inverting the graph")
)

# By the sort that an argument names; `dgmppl list KIND` takes the plural.
TABLES: dict[str, Table] = {
    "objective": OBJECTIVES,
    "engine": ENGINES,
    "guide": AUTO,
    "guide_family": GUIDES,
    "sampler": SAMPLERS,
    "schedule": DIFFUSION_SCHEDULES,
    "scalar_schedule": SCALAR_SCHEDULES,
    "learning_rate": LEARNING_RATES,
    "optimizer": OPTIMIZERS,
    "divergence": DIVERGENCES,
    "metric": METRICS,
    "penalty": PENALTIES,
    "estimator": ESTIMATORS,
    "log_z": LOG_Z,
    "prediction": PREDICTIONS,
    "weighting": WEIGHTINGS,
    "variance": VARIANCES,
    "early_stopping": EARLY_STOPPING,
    "log_prob": LOG_PROB,
    "solver": _words("dopri5", "tsit5", "rk4"),
    "stochastic_solver": _words("euler_maruyama", "heun"),
    "path": _words("linear", "variance_preserving"),
    "coupling": _words("independent", "optimal_transport"),
    "source": _words("prior", "reconstruction"),
    "side": _words("two", "one"),
    "fake": _words("mean", "straight_through", "score_function"),
    "baseline": _words("leave_one_out", "moving_average", "none"),
}

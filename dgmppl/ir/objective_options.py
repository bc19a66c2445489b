"""What an objective expression may say: its terms, and what their arguments choose from."""

from __future__ import annotations

from dgmppl.ir.option_entries import REQUIRED, Argument, Entry, Table, steps, table

_SITE = Argument("site", None, "the observed site that the term is about; None for all", "site")
_STEP_SIZE = Argument("step_size", 0.01, "size of a step", "positive")

OBJECTIVES: Table = table(
    Entry(
        "elbo",
        (
            Argument(
                "particles", "auto", "samples of the latents; auto: 1, or 2 with a score function", "count_or_auto"
            ),
            Argument("beta", 1.0, "weight of the KL part", "scalar"),
            Argument("estimator", None, "gradient estimator per latent", "map:estimator"),
            _SITE,
        ),
        "the negative evidence lower bound",
    ),
    Entry(
        "iwae",
        (Argument("particles", 8, "importance samples", "whole"), _SITE),
        "the importance-weighted bound, negated",
    ),
    Entry("mle", (_SITE,), "the negative log-likelihood"),
    Entry(
        "denoising_score_matching",
        (
            Argument("sigma", 0.1, "noise, in standardized units; of several the largest", "positive_scalar"),
            _SITE,
            Argument("levels", 1, "noises in geometric steps from sigma to smallest, one drawn per datum", "whole"),
            Argument("smallest", None, "the smallest of several noises; None: sigma / 100", "positive"),
            Argument("level", None, "the constant of the model that becomes the noise of each datum", "site"),
            Argument("power", None, "weights sigma^power; None: 2 of several levels, 0 of one", "number"),
        ),
        "Fisher divergence of the smoothed data, at one noise or at several",
    ),
    Entry(
        "explicit_score_matching",
        (Argument("density", REQUIRED, "the site whose density the data have", "site"), _SITE),
        "Fisher divergence from a known density",
    ),
    Entry(
        "sliced_score_matching",
        (Argument("projections", 1, "random directions per datum", "whole"), _SITE),
        "Fisher divergence by random projections",
    ),
    Entry("implicit_score_matching", (_SITE,), "Fisher divergence by the exact trace"),
    Entry(
        "contrastive_divergence",
        (
            steps(1, "transitions of the negative chain"),
            _STEP_SIZE,
            Argument("persistent", False, "chains go on between updates; a buffer implies it", "flag"),
            Argument("sampler", None, "the transition", "sampler"),
            _SITE,
            Argument("buffer", None, "persistent chains that are kept; None: one per row of a batch", "whole"),
            Argument("reinit", 0.0, "probability that a persistent chain begins anew", "unit"),
        ),
        "data against short-run samples of the model",
    ),
    Entry(
        "noise_contrastive",
        (
            Argument("noise", REQUIRED, "the site that is the noise", "site"),
            Argument("ratio", 1, "noise samples per datum", "whole"),
            _SITE,
            Argument("ranking", False, "each datum among noise of its own; so for conditional energies", "flag"),
        ),
        "data against noise, with a learned log-normalizer",
    ),
    Entry(
        "adversarial",
        (
            Argument("site", None, "the site whose samples are compared", "site"),
            Argument("divergence", "js", "the divergence whose dual is played", "divergence"),
            Argument("penalty", None, "penalty of the critic", "penalty"),
            Argument("critic_steps", 1, "critic updates per model update", "whole"),
            Argument("weight", 1.0, "weight of the model's term", "scalar"),
            Argument("fake", None, "how a site without reparameterized samples is faked", "fake"),
            Argument("source", "prior", "what the fakes come from", "source"),
            Argument("saturating", False, "descend the dual itself", "flag"),
        ),
        "an estimated divergence between data and model samples",
    ),
    Entry(
        "flow_matching",
        (
            Argument("path", "linear", "the conditional path", "path"),
            Argument("coupling", "independent", "how draws of the base are paired with data", "coupling"),
            _SITE,
        ),
        "regression on velocities",
    ),
    Entry("vlb", (_SITE,), "the variational bound of a diffusion, negated"),
    Entry(
        "supervise",
        (
            Argument("site", REQUIRED, "the guided site with observed rows", "site"),
            Argument("weight", 1.0, "weight", "scalar"),
        ),
        "the guide's own log-likelihood where the site is observed, negated",
    ),
    Entry("map", (), "the negative log joint"),
)

# What a generator is a function of: the ratio of the two densities.
RATIO = "u"

DIVERGENCES: Table = table(
    Entry("js", (), "Jensen-Shannon"),
    Entry("kl", (), "forward Kullback-Leibler"),
    Entry("reverse_kl", (), "reverse Kullback-Leibler"),
    Entry("total_variation", (), "total variation"),
    Entry("pearson", (), "Pearson chi-squared"),
    Entry("hellinger", (), "squared Hellinger"),
    Entry("alpha", (Argument("alpha", 0.5, "order"),), "alpha-divergence"),
    Entry("wasserstein", (), "Kantorovich's dual of the 1-Wasserstein distance"),
    Entry("least_squares", (), "least-squares game: half the triangular discrimination"),
    Entry("hinge", (), "hinge game: twice the total variation"),
    Entry(
        "f",
        (Argument("generator", REQUIRED, "f(u) of the ratio u = p/q: convex, f(1) = 0", "generator"),),
        "the f-divergence of a generator, as in `f(u * log(u))`",
    ),
)

PENALTIES: Table = table(
    Entry(
        "gradient",
        (
            Argument("weight", 10.0, "weight", "positive"),
            Argument("sided", "two", "whether slopes below one count too", "side"),
        ),
        "(|grad| - 1)^2 between data and samples (Gulrajani et al. 2017)",
    ),
    Entry("r1", (Argument("weight", 1.0, "weight", "positive"),), "|grad|^2 / 2 at the data (Mescheder et al. 2018)"),
    Entry("r2", (Argument("weight", 1.0, "weight", "positive"),), "|grad|^2 / 2 at samples (Mescheder et al. 2018)"),
    Entry("spectral", (), "spectral normalization (Miyato et al. 2018)"),
    Entry(
        "clip",
        (Argument("bound", 0.01, "largest magnitude of a weight", "positive"),),
        "weights clamped after each step of the critic (Arjovsky et al. 2017)",
    ),
)

ESTIMATORS: Table = table(
    Entry("pathwise", (), "gradients through the sample"),
    Entry("enumerate", (), "the exact sum"),
    Entry("score_function", (Argument("baseline", None, "control variate", "baseline"),), "log-derivative trick"),
    Entry("gumbel", (Argument("temperature", 0.5, "temperature", "scalar"),), "relaxed samples; biased"),
    Entry("straight_through", (), "hard samples, soft gradients; biased"),
)

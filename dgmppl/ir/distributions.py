"""The closed table of distributions: parameters, supports, and what can be done with them.

Names and parameter names are those that Pyro and NumPyro share; where the two differ, the backends' own tables map
them. A distribution that stands here exists on both backends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dgmppl.ir.types import BINARY, COUNT, POSITIVE, REAL, UNIT, Dtype, Shape, Support, integer


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a distribution.

    Attributes:
        name: its keyword.
        support: its constraint; a network's head for it is mapped into that set.
        rank: axes that belong to one event's parameter (0 for `loc`, 1 for `probs` of a Categorical).
        default: its value where it is left out; None where it must be given.
    """

    name: str
    support: Support = REAL
    rank: int = 0
    default: float | None = None


SIMPLEX = Support("simplex")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution.

    Attributes:
        name: as written in specs.
        parameters: in positional order.
        support: of one event, or a function of the parameters' trailing shapes where they decide it.
        event_rank: axes of one event.
        reparameterized: samples carry gradients.
        choices: groups of parameters of which exactly one is given (`probs | logits`).
        heads: the parameters that a network's heads supply under `**network(...)`.
        noise: `normal` or `uniform` where a sample is a closed function of that noise, else `library`.
        tails: its distribution function and the inverse are closed forms with a derivative in each parameter.
        doc: the density in mathematics.
    """

    name: str
    parameters: tuple[Parameter, ...]
    support: Support | Callable[[dict[str, Shape]], Support]
    event_rank: int = 0
    reparameterized: bool = False
    choices: tuple[tuple[str, ...], ...] = ()
    heads: tuple[str, ...] = ()
    noise: str = "library"
    tails: bool = False
    doc: str = ""

    def parameter(self, name: str) -> Parameter:
        """The declaration of a parameter."""
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def support_of(self, shapes: dict[str, Shape]) -> Support:
        """The support, given the shapes of the parameters that are present."""
        return self.support if isinstance(self.support, Support) else self.support(shapes)

    @property
    def head_names(self) -> tuple[str, ...]:
        """What `**network(...)` supplies: the declared heads, else every parameter without a default."""
        return self.heads or tuple(parameter.name for parameter in self.parameters)

    @property
    def dtype(self) -> Dtype:
        """The element type of its values."""
        support = self.support if isinstance(self.support, Support) else self.support({"probs": (2,), "logits": (2,)})
        return Dtype.INTEGER if support.discrete else Dtype.REAL


def _classes(shapes: dict[str, Shape]) -> Support:
    shape = shapes.get("probs", shapes.get("logits", ()))
    return integer(shape[-1]) if shape else Support("integer")


def _vector(shapes: dict[str, Shape]) -> Support:
    shape = shapes.get("concentration", ())
    return Support("simplex", size=shape[-1] if shape else None)


_LOC, _SCALE = Parameter("loc", REAL, default=0.0), Parameter("scale", POSITIVE, default=1.0)
_PROBS, _LOGITS = Parameter("probs", UNIT), Parameter("logits", REAL)
_PROBABILITY = (("probs", "logits"),)

DISTRIBUTIONS: dict[str, Distribution] = {
    distribution.name: distribution
    for distribution in (
        Distribution("Normal", (_LOC, _SCALE), REAL, 0, True, noise="normal", tails=True, doc="N(loc, scale^2)"),
        Distribution("LogNormal", (_LOC, _SCALE), POSITIVE, 0, True, noise="normal", tails=True,
            doc="exp N(loc, scale^2)"),
        Distribution("Laplace", (_LOC, _SCALE), REAL, 0, True, tails=True, doc="exp(-|x - loc| / scale) / (2 scale)"),
        Distribution("Logistic", (_LOC, _SCALE), REAL, 0, True,
            tails=True, doc="s (1 - s) / scale, s = sigmoid((x - loc) / scale)"),
        Distribution("Cauchy", (_LOC, _SCALE), REAL, 0, True, tails=True,
            doc="1 / (pi scale (1 + ((x - loc) / scale)^2))"),
        Distribution("Gumbel", (_LOC, _SCALE), REAL, 0, True, tails=True,
            doc="exp(-(t + exp(-t))) / scale, t = (x - loc) / scale"),
        Distribution(
            "StudentT", (Parameter("df", POSITIVE), _LOC, _SCALE), REAL, 0, True,
            doc="Student's t with df degrees of freedom"
        ),
        Distribution("HalfNormal", (_SCALE,), POSITIVE, 0, True, tails=True, doc="|N(0, scale^2)|"),
        Distribution("HalfCauchy", (_SCALE,), POSITIVE, 0, True, tails=True, doc="|Cauchy(0, scale)|"),
        Distribution("Exponential", (Parameter("rate", POSITIVE, default=1.0),), POSITIVE, 0, True,
            tails=True, doc="rate exp(-rate x)"),
        Distribution(
            "Gamma", (Parameter("concentration", POSITIVE), Parameter("rate", POSITIVE, default=1.0)), POSITIVE, 0,
            True,
            doc="rate^a x^(a - 1) exp(-rate x) / Gamma(a)",
        ),
        Distribution(
            "InverseGamma", (Parameter("concentration", POSITIVE), Parameter("rate", POSITIVE, default=1.0)),
            POSITIVE, 0,
            True, doc="1 / Gamma(concentration, rate)",
        ),
        Distribution("Chi2", (Parameter("df", POSITIVE),), POSITIVE, 0, True, doc="Gamma(df / 2, 1 / 2)"),
        Distribution(
            "Weibull", (Parameter("scale", POSITIVE), Parameter("concentration", POSITIVE)), POSITIVE, 0, True,
            tails=True, doc="(k / s) (x / s)^(k - 1) exp(-(x / s)^k)",
        ),
        Distribution(
            "Pareto", (Parameter("scale", POSITIVE), Parameter("alpha", POSITIVE)), POSITIVE, 0, True,
            doc="alpha scale^alpha / x^(alpha + 1), x > scale",
        ),
        Distribution(
            "Beta", (Parameter("concentration1", POSITIVE), Parameter("concentration0", POSITIVE)), UNIT, 0, True,
            doc="x^(a - 1) (1 - x)^(b - 1) / B(a, b)",
        ),
        Distribution(
            "Uniform", (Parameter("low", REAL, default=0.0), Parameter("high", REAL, default=1.0)),
            Support("interval"), 0,
            True, noise="uniform", tails=True, doc="1 / (high - low)",
        ),
        Distribution(
            "VonMises", (_LOC, Parameter("concentration", POSITIVE)), Support("circular"), 0, False,
            doc="exp(k cos(x - loc)) / (2 pi I_0(k))",
        ),
        Distribution(
            "Dirichlet", (Parameter("concentration", POSITIVE, 1),), _vector, 1, True, doc="prod_k x_k^(a_k - 1) / B(a)"
        ),
        Distribution(
            "MultivariateNormal",
            (Parameter("loc", REAL, 1), Parameter("covariance_matrix", Support("positive_definite"), 2),
             Parameter("precision_matrix", Support("positive_definite"), 2), Parameter("scale_tril",
             Support("cholesky"), 2)),
            REAL, 1, True, choices=(("covariance_matrix", "precision_matrix", "scale_tril"),), heads=("loc",
            "scale_tril"),
            noise="normal", doc="N(loc, Sigma), Sigma = L L^T",
        ),
        Distribution(
            "LowRankMultivariateNormal",
            (Parameter("loc", REAL, 1), Parameter("cov_factor", REAL, 2), Parameter("cov_diag", POSITIVE, 1)), REAL,
            1, True,
            doc="N(loc, W W^T + diag(d))",
        ),
        Distribution(
            "LKJCholesky", (Parameter("dim", COUNT), Parameter("concentration", POSITIVE, default=1.0)),
            Support("correlation_cholesky"), 2, False, doc="prod_k L_kk^(d - k + 2 eta - 2), up to its constant",
        ),
        Distribution("Bernoulli", (_PROBS, _LOGITS), BINARY, 0, False, _PROBABILITY, ("logits",),
            doc="p^x (1 - p)^(1 - x)"),
        Distribution(
            "Categorical", (Parameter("probs", SIMPLEX, 1), Parameter("logits", REAL, 1)), _classes, 0, False,
            _PROBABILITY,
            ("logits",), doc="p_x",
        ),
        Distribution(
            "OneHotCategorical", (Parameter("probs", SIMPLEX, 1), Parameter("logits", REAL, 1)), BINARY, 1, False,
            _PROBABILITY, ("logits",), doc="prod_k p_k^x_k over one-hot x",
        ),
        Distribution(
            "Binomial", (Parameter("total_count", COUNT), _PROBS, _LOGITS), COUNT, 0, False, _PROBABILITY, ("logits",),
            doc="C(n, x) p^x (1 - p)^(n - x)",
        ),
        Distribution(
            "Multinomial", (Parameter("total_count", COUNT), Parameter("probs", SIMPLEX, 1), Parameter("logits",
            REAL, 1)),
            COUNT, 1, False, _PROBABILITY, ("logits",), doc="n! prod_k p_k^x_k / x_k!",
        ),
        Distribution("Poisson", (Parameter("rate", POSITIVE),), COUNT, 0, False, doc="rate^x exp(-rate) / x!"),
        Distribution("Geometric", (_PROBS, _LOGITS), COUNT, 0, False, _PROBABILITY, ("logits",), doc="p (1 - p)^x"),
        Distribution(
            "NegativeBinomial", (Parameter("mean", POSITIVE), Parameter("concentration", POSITIVE)), COUNT, 0, False,
            doc="Poisson mixed over Gamma(concentration, concentration / mean)",
        ),
        Distribution(
            "BetaBinomial",
            (Parameter("concentration1", POSITIVE), Parameter("concentration0", POSITIVE), Parameter("total_count",
            COUNT)),
            COUNT, 0, False, doc="Binomial mixed over Beta",
        ),
        Distribution(
            "DiscretizedLogistic", (_LOC, _SCALE, Parameter("bins", COUNT)), Support("integer"), 0, False,
            heads=("loc", "scale"),
            doc="a logistic's mass in each of `bins` equal cells of [-1, 1], its tails in the outer ones",
        ),
    )
}  # fmt: skip

# Constructs that take distributions and make distributions; they stand where a distribution stands.
COMBINATORS = (
    "Flat", "Ordered", "Truncated", "Censored", "GP", "Mixture", "ZeroInflated", "Point", "Energy", "Positive",
    "Diffusion", "Trained",
)  # fmt: skip

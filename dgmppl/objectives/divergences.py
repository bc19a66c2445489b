"""Divergences between distributions: one definition each, used as objective and as metric.

An f-divergence is D_f(p || q) = E_q[f(p/q)], f convex, f(1) = 0. With the convex conjugate f*(t) = sup_u (t u - f(u)),
D_f(p || q) = sup_T E_p[T] - E_q[f*(T)], attained at T = f'(p/q) (Nguyen, Wainwright and Jordan 2010, lemma 1;
Nowozin, Cseke and Tomioka 2016, tables 1 and 2). A critic's raw output v is mapped into the domain of f* by an output
activation g with T = g(v); `activation` is g.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FDivergence:
    """An f-divergence.

    Attributes:
        name: as written in specs.
        symbol: D(p || q) as it is printed.
        formula: f(u), in Unicode.
        conjugate_formula: f*(t), in Unicode.
        optimal_formula: f'(u), in Unicode.
        generator: f, for u > 0.
        conjugate: f*, on `domain`.
        optimal: f', the optimal critic as a function of u = p/q.
        activation: g: the reals onto the domain of f*.
        domain: of f*: (low, high); values of T lie in it.
        variants: how a generator may descend it; the first is the default.
        limit: what training aims at in the limit of an optimal critic.
        reference: paper and equation.
        lipschitz: the dual's supremum is over 1-Lipschitz critics.
    """

    name: str
    symbol: str
    formula: str
    conjugate_formula: str
    optimal_formula: str
    generator: Callable[[Array], Array]
    conjugate: Callable[[Array], Array]
    optimal: Callable[[Array], Array]
    activation: Callable[[Array], Array]
    domain: tuple[float, float]
    variants: tuple[str, ...] = ("saturating",)
    limit: str = ""
    reference: str = "Nowozin, Cseke and Tomioka 2016, tables 1 and 2"
    lipschitz: bool = False

    @property
    def doc(self) -> str:
        """One line: symbol, generator, conjugate."""
        return f"{self.symbol}: f(u) = {self.formula}, f*(t) = {self.conjugate_formula}"

    @property
    def statement(self) -> str:
        """Generator, conjugate, the optimal critic and the interval that the critic is mapped into, in a sentence."""
        low, high = (f"{bound:.4g}".replace("inf", "∞").replace("-", "−") for bound in self.domain)
        best = f"the best critic is T = {self.optimal_formula} at u = p_data/p_model, of values in ({low}, {high})"
        return f"f(u) = {self.formula}, f*(t) = {self.conjugate_formula}; {best}"


@dataclass(frozen=True)
class MetricDivergence:
    """A divergence that is no f-divergence: by its dual, or by scores.

    Attributes:
        name: as written in specs.
        symbol: as it is printed.
        formula: its definition, in Unicode.
        critic: a critic can train with it.
        variants: how a generator may descend it.
        limit: what training aims at in the limit of an optimal critic.
        reference: paper and equation.
        lipschitz: the dual's supremum is over 1-Lipschitz critics.
    """

    name: str
    symbol: str
    formula: str
    critic: bool
    variants: tuple[str, ...] = ("saturating",)
    limit: str = ""
    reference: str = ""
    lipschitz: bool = False

    @property
    def doc(self) -> str:
        """One line: symbol and definition."""
        return f"{self.symbol}: {self.formula}"


Divergence = FDivergence | MetricDivergence

_LOG2 = float(np.log(2.0))


def _softplus(v: Array) -> Array:
    return np.logaddexp(0.0, v)


def _js(u: Array) -> Array:
    return 0.5 * (u * np.log(u) - (u + 1.0) * np.log((1.0 + u) / 2.0))


F_DIVERGENCES: Mapping[str, FDivergence] = {
    entry.name: entry
    for entry in (
        FDivergence(
            "kl", "KL(p ‖ q)", "u log u", "exp(t − 1)", "1 + log u",
            lambda u: u * np.log(u), lambda t: np.exp(t - 1.0), lambda u: 1.0 + np.log(u), lambda v: v,
            (-np.inf, np.inf),
            limit="covers every mode of the data",
        ),
        FDivergence(
            "reverse_kl", "KL(q ‖ p)", "−log u", "−1 − log(−t)", "−1/u",
            lambda u: -np.log(u), lambda t: -1.0 - np.log(-t), lambda u: -1.0 / u, lambda v: -np.exp(-v),
            (-np.inf, 0.0),
            limit="seeks modes of the data",
        ),
        FDivergence(
            "js", "D_JS(p ‖ q)", "½ (u log u − (u + 1) log((1 + u)/2))", "−½ log(2 − exp(2t))",
            "½ log(2u/(1 + u))",
            _js, lambda t: -0.5 * np.log(2.0 - np.exp(2.0 * t)), lambda u: 0.5 * np.log(2.0 * u / (1.0 + u)),
            lambda v: 0.5 * (_LOG2 - _softplus(-v)), (-np.inf, 0.5 * _LOG2), ("non_saturating", "saturating"),
            limit="the GAN value is 2 D_JS − log 4", reference="Goodfellow et al. 2014, theorem 1",
        ),
        FDivergence(
            "total_variation", "TV(p, q)", "½ |u − 1|", "t, |t| ≤ ½", "½ sign(u − 1)",
            lambda u: 0.5 * np.abs(u - 1.0), lambda t: t, lambda u: 0.5 * np.sign(u - 1.0), lambda v: 0.5 * np.tanh(v),
            (-0.5, 0.5), limit="gradients vanish where the critic saturates",
        ),
        FDivergence(
            "pearson", "χ²(p ‖ q)", "(u − 1)²", "t²/4 + t", "2 (u − 1)",
            lambda u: (u - 1.0) ** 2, lambda t: t**2 / 4.0 + t, lambda u: 2.0 * (u - 1.0), lambda v: v,
            (-np.inf, np.inf),
            limit="weighs regions that the model misses quadratically",
        ),
        FDivergence(
            "hellinger", "H²(p, q)", "(√u − 1)²", "t/(1 − t)", "1 − 1/√u",
            lambda u: (np.sqrt(u) - 1.0) ** 2, lambda t: t / (1.0 - t), lambda u: 1.0 - 1.0 / np.sqrt(u),
            lambda v: 1.0 - np.exp(-v), (-np.inf, 1.0), limit="symmetric and bounded by 2",
        ),
    )
}  # fmt: skip


# The order that `alpha` has where none is given: twice the squared Hellinger distance.
ALPHA = 0.5


def alpha_divergence(alpha: float) -> FDivergence:
    """The alpha-divergence, f(u) = (u^alpha - alpha u + alpha - 1) / (alpha (alpha - 1)), alpha > 0, alpha != 1.

    Its limits at alpha -> 1 and alpha -> 0 are the forward and the reverse KL divergence (Amari 2009). The
    domain of f* ends where 1 + (alpha - 1) t = 0: above for alpha < 1; above one f* is constant below it.
    """
    if alpha <= 0 or alpha == 1:
        raise ValueError(f"alpha = {alpha}: expected a positive order other than 1")
    beta = alpha - 1.0

    def activation(v: Array) -> Array:
        return v if beta > 0 else (1.0 - np.exp(-v)) / -beta

    return FDivergence(
        "alpha", "D_α(p ‖ q)", "(u^α − αu + α − 1)/(α(α − 1))", "((1 + (α − 1)t)^(α/(α − 1)) − 1)/α",
        "(u^(α − 1) − 1)/(α − 1)",
        lambda u: (u**alpha - alpha * u + beta) / (alpha * beta),
        lambda t: (np.maximum(1.0 + beta * t, 0.0) ** (alpha / beta) - 1.0) / alpha,
        lambda u: (u**beta - 1.0) / beta, activation, (-np.inf, np.inf if beta > 0 else 1.0 / -beta),
        limit=f"α = {alpha:g}: between the mode-seeking limit at 0 and the covering one at 1 and above",
        reference="Amari 2009; Nowozin, Cseke and Tomioka 2016, supplement",
    )  # fmt: skip


METRICS: Mapping[str, MetricDivergence] = {
    entry.name: entry
    for entry in (
        MetricDivergence(
            "wasserstein", "W₁(p, q)", "sup over 1-Lipschitz T of E_p[T] − E_q[T]", critic=True, lipschitz=True,
            limit="the critic is 1-Lipschitz only as far as its penalty holds",
            reference="Arjovsky, Chintala and Bottou 2017, eq. 2",
        ),
        MetricDivergence(
            "least_squares", "½ Δ(p, q)", "E_p[1 − 2 (T − 1)²] − E_q[2 T²]", critic=True,
            variants=("non_saturating",), limit="Δ = ∫ (p − q)² / (p + q), Pearson's divergence of 2q from p + q",
            reference="Mao et al. 2017, section 3.2",
        ),
        MetricDivergence(
            "hinge", "2 TV(p, q)", "E_p[min(T, 1)] − E_q[max(T, −1)]", critic=True,
            variants=("non_saturating",), limit="the dual with its constant 2 is twice the total variation",
            reference="Lim and Ye 2017",
        ),
        MetricDivergence(
            "fisher", "D_F(p ‖ q)", "½ E_p‖∇ log p − ∇ log q‖²", critic=False,
            limit="blind to the weights of separated modes", reference="Hyvärinen 2005, eq. 2",
        ),
    )
}  # fmt: skip

DIVERGENCES: Mapping[str, Divergence] = {**F_DIVERGENCES, "alpha": alpha_divergence(ALPHA), **METRICS}


def f_divergence(divergence: FDivergence, p: Array, q: Array) -> float:
    """D_f(p || q) of two positive probability vectors, in the divergence's own units (nats for logarithms)."""
    return float(np.sum(q * divergence.generator(p / q)))


def dual_value(divergence: FDivergence, p: Array, q: Array, raw: Array) -> float:
    """E_p[T] - E_q[f*(T)] with T = g(raw): never above D_f(p || q)."""
    critic = divergence.activation(raw)
    return float(np.sum(p * critic) - np.sum(q * divergence.conjugate(critic)))

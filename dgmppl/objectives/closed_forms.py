"""Pairs of densities with an analytic Kullback-Leibler divergence, and densities that linear maps keep Gaussian.

The tables are keyed by the families of the language; a pair that does not stand here is estimated by Monte Carlo.
"""

from __future__ import annotations

from dgmppl.ir.densities import Density, Elementary

# (family of q, family of p): sum over the event of KL(q || p), elementwise families against a diagonal or full scale.
KL_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("Normal", "Normal"),
        ("MultivariateNormal", "Normal"),
        ("Categorical", "Categorical"),
        ("Bernoulli", "Bernoulli"),
        ("Gamma", "Gamma"),
        ("Beta", "Beta"),
        ("Dirichlet", "Dirichlet"),
        ("Laplace", "Laplace"),
    }
)

# Families for which the closed form needs this parametrization.
_PARAMETRIZATION: dict[str, str] = {"MultivariateNormal": "scale_tril"}

# Families that an affine map keeps Gaussian, and their location parameter.
GAUSSIAN: dict[str, str] = {"Normal": "loc", "MultivariateNormal": "loc", "LowRankMultivariateNormal": "loc"}


def closed_form(posterior: Density | None, prior: Density | None) -> bool:
    """Whether KL(posterior || prior) is analytic."""
    match posterior, prior:
        case Elementary(family=q, parameters=given), Elementary(family=p):
            needed = _PARAMETRIZATION.get(q)
            return (q, p) in KL_PAIRS and (needed is None or needed in dict(given))
        case _:
            return False

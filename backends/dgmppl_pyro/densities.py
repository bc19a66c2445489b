"""Densities in closed form: NAME(x, parameters...) is log NAME(x; parameters) in nats, no constant dropped.

Elementwise families give one number per element; those with an event sum over its axes. Parameters are arrays or Python
numbers and broadcast against x from the right. `kl_NAME` is the divergence of two members of a family. The other
backend's functions have the same names and values.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmppl_pyro.elementary import (
    digamma,
    exp,
    identity,
    lgamma,
    log,
    log1mexp,
    log_bessel,
    log_beta,
    log_choose,
    log_diagonal,
    log_softmax,
    pick,
    real_of,
    real_pair,
    solve_lower,
    solve_lower_matrix,
    xlog1py,
    xlogy,
)
from dgmppl_pyro.operations import matvec, softplus, vecmat

Real: TypeAlias = "Tensor | float"

_LOG_2PI = math.log(2.0 * math.pi)
_LOG_PI = math.log(math.pi)
_LOG_2 = math.log(2.0)


# ---- real-valued, elementwise ---------------------------------------------------------------------------------------


def normal(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """log N(x; loc, scale^2)."""
    # A chain takes it at every step: with numbers it is one operation.
    if isinstance(loc, float) and isinstance(scale, float) and x.is_floating_point():
        centred, constant = x - loc if loc else x, x.new_full((), -math.log(scale) - 0.5 * _LOG_2PI)
        return torch.addcmul(constant, centred, centred, value=-0.5 / scale**2)
    return -0.5 * ((x - loc) / scale) ** 2 - log(scale) - 0.5 * _LOG_2PI


def standard_normal(x: Tensor) -> Tensor:
    """log N(x; 0, 1)."""
    return -0.5 * (x * x + _LOG_2PI)


def log_normal(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """log-density of exp(N(loc, scale^2))."""
    y = torch.log(x)
    return normal(y, loc, scale) - y


def laplace(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """-|x - loc| / scale - log(2 scale)."""
    return -torch.abs(x - loc) / scale - log(scale) - _LOG_2


def logistic(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """log s + log(1 - s) - log scale with s = sigmoid((x - loc) / scale)."""
    y = (x - loc) / scale
    return -y - 2.0 * softplus(-y) - log(scale)


def cauchy(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """-log(pi scale (1 + ((x - loc) / scale)^2))."""
    return -_LOG_PI - log(scale) - torch.log1p(((x - loc) / scale) ** 2)


def gumbel(x: Tensor, loc: Real, scale: Real) -> Tensor:
    """-(t + exp(-t)) - log scale with t = (x - loc) / scale."""
    y = (x - loc) / scale
    return -(y + torch.exp(-y)) - log(scale)


def student_t(x: Tensor, df: Real, loc: Real, scale: Real) -> Tensor:
    """Student's t with df degrees of freedom, shifted by loc and stretched by scale."""
    y = (x - loc) / scale
    normalizer = log(scale) + 0.5 * (log(df) + _LOG_PI) + lgamma(0.5 * df) - lgamma(0.5 * (df + 1.0))
    return -0.5 * (df + 1.0) * torch.log1p(y * y / df) - normalizer


def von_mises(x: Tensor, loc: Real, concentration: Real) -> Tensor:
    """concentration cos(x - loc) - log(2 pi I_0(concentration))."""
    return concentration * torch.cos(x - loc) - _LOG_2PI - log_bessel(concentration)


def uniform(x: Tensor, low: Real, high: Real) -> Tensor:
    """-log(high - low) inside [low, high], -inf outside."""
    inside = (x >= low) & (x <= high)
    return torch.where(inside, 0.0 * x - log(high - low), -math.inf)


def at_least(x: Tensor, low: Real) -> Tensor:
    """0 from `low` on, -inf below it."""
    return torch.where(x >= low, 0.0 * x, -math.inf)


def at_most(x: Tensor, high: Real) -> Tensor:
    """0 up to `high`, -inf above it."""
    return torch.where(x <= high, 0.0 * x, -math.inf)


# ---- positive and unit, elementwise ---------------------------------------------------------------------------------


def half_normal(x: Tensor, scale: Real) -> Tensor:
    """log-density of |N(0, scale^2)|."""
    return -0.5 * (x / scale) ** 2 - log(scale) + 0.5 * _LOG_2 - 0.5 * _LOG_PI


def half_cauchy(x: Tensor, scale: Real) -> Tensor:
    """log-density of |Cauchy(0, scale)|."""
    return _LOG_2 - _LOG_PI - log(scale) - torch.log1p((x / scale) ** 2)


def exponential(x: Tensor, rate: Real) -> Tensor:
    """log rate - rate x."""
    return log(rate) - rate * x


def gamma(x: Tensor, concentration: Real, rate: Real) -> Tensor:
    """a log rate + (a - 1) log x - rate x - log Gamma(a), a the concentration."""
    return xlogy(concentration, rate, x) + xlogy(concentration - 1.0, x, x) - rate * x - lgamma(concentration)


def inverse_gamma(x: Tensor, concentration: Real, rate: Real) -> Tensor:
    """log-density of 1 / Gamma(concentration, rate)."""
    return gamma(1.0 / x, concentration, rate) - 2.0 * torch.log(x)


def beta(x: Tensor, concentration1: Real, concentration0: Real) -> Tensor:
    """(a - 1) log x + (b - 1) log(1 - x) - log B(a, b)."""
    normalizer = lgamma(concentration1) + lgamma(concentration0) - lgamma(concentration1 + concentration0)
    return xlogy(concentration1 - 1.0, x, x) + xlog1py(concentration0 - 1.0, -x, x) - normalizer


def dirichlet(x: Tensor, concentration: Tensor) -> Tensor:
    """sum_k (a_k - 1) log x_k - log B(a) over the last axis."""
    normalizer = lgamma(concentration).sum(-1) - lgamma(concentration.sum(-1))
    return xlogy(concentration - 1.0, x, x).sum(-1) - normalizer


# ---- discrete -------------------------------------------------------------------------------------------------------


def bernoulli_logits(x: Tensor, logits: Real) -> Tensor:
    """x l - log(1 + e^l)."""
    x, logits = real_pair(x, logits)
    if x.shape != logits.shape:
        x, logits = torch.broadcast_tensors(x, logits)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def bernoulli_probs(x: Tensor, probs: Real) -> Tensor:
    """x log p + (1 - x) log(1 - p), 0 log 0 = 0."""
    x, probs = real_pair(x, probs)
    return xlogy(x, probs, probs) + xlog1py(1.0 - x, -probs, probs)


def categorical_logits(x: Tensor, logits: Tensor) -> Tensor:
    """log softmax(logits)[x] over the last axis."""
    return pick(log_softmax(logits), x)


def categorical_probs(x: Tensor, probs: Tensor) -> Tensor:
    """log(p_x / sum_k p_k) over the last axis."""
    return pick(torch.log(probs) - torch.log(probs.sum(-1, keepdim=True)), x)


def one_hot_categorical_logits(x: Tensor, logits: Tensor) -> Tensor:
    """log softmax(logits) at the one-hot x."""
    return (x * log_softmax(logits)).sum(-1)


def one_hot_categorical_probs(x: Tensor, probs: Tensor) -> Tensor:
    """log(p_x / sum_k p_k) at the one-hot x."""
    return (x * torch.log(probs)).sum(-1) - torch.log(probs.sum(-1))


def binomial_logits(x: Tensor, total_count: Real, logits: Real) -> Tensor:
    """log C(n, x) + x l - n log(1 + e^l)."""
    x, logits = real_pair(x, logits)
    return log_choose(total_count, x, logits) + x * logits - total_count * softplus(logits)


def binomial_probs(x: Tensor, total_count: Real, probs: Real) -> Tensor:
    """log C(n, x) + x log p + (n - x) log(1 - p)."""
    x, probs = real_pair(x, probs)
    return log_choose(total_count, x, probs) + xlogy(x, probs, probs) + xlog1py(total_count - x, -probs, probs)


def geometric_logits(x: Tensor, logits: Real) -> Tensor:
    """log p + x log(1 - p), the failures before the first success."""
    x, logits = real_pair(x, logits)
    return -softplus(-logits) - x * softplus(logits)


def geometric_probs(x: Tensor, probs: Real) -> Tensor:
    """log p + x log(1 - p), the failures before the first success."""
    x, probs = real_pair(x, probs)
    return torch.log(probs) + xlog1py(x, -probs, probs)


def poisson(x: Tensor, rate: Real) -> Tensor:
    """x log rate - rate - log x!."""
    return xlogy(x, rate, x) - rate - lgamma(real_of(x, rate) + 1.0)


def negative_binomial(x: Tensor, mean: Real, concentration: Real) -> Tensor:
    """log-mass of Poisson(r), r ~ Gamma(concentration, concentration / mean)."""
    x = real_of(x, mean)
    choose = lgamma(x + concentration) - lgamma(x + 1.0) - lgamma(concentration)
    total = log(mean + concentration)
    return choose + concentration * (log(concentration) - total) + xlogy(x, mean, x) - x * total


def beta_binomial(x: Tensor, concentration1: Real, concentration0: Real, total_count: Real) -> Tensor:
    """log-mass of Binomial(total_count, p), p ~ Beta(concentration1, concentration0); -inf above total_count."""
    x = real_of(x, concentration1)
    k = x.clamp(max=total_count)
    mixed = log_beta(k + concentration1, total_count - k + concentration0) - log_beta(concentration1, concentration0)
    return torch.where(x <= total_count, log_choose(total_count, k, k) + mixed, -math.inf)


def discretized_logistic(x: Tensor, loc: Real, scale: Real, bins: int) -> Tensor:
    """log-mass of a logistic in cell x of `bins` equal cells of [-1, 1]; the outer cells hold the tails.

    With edges a < b in units of the scale, sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
    """
    x = real_of(x, loc if isinstance(loc, Tensor) else scale)
    width = 2.0 / bins / scale
    low = (2.0 * x / bins - 1.0 - loc) / scale
    high = low + width
    inner = -softplus(-high) - softplus(low) + log1mexp(width, low)
    return torch.where(x <= 0, -softplus(-high), torch.where(x >= bins - 1, -softplus(low), inner))


# ---- multivariate normal --------------------------------------------------------------------------------------------


def multivariate_normal(x: Tensor, loc: Real, scale_tril: Tensor) -> Tensor:
    """log N(x; loc, L L^T) over the last axis."""
    y = solve_lower(scale_tril, x - loc)
    return -0.5 * (y * y).sum(-1) - log_diagonal(scale_tril) - 0.5 * scale_tril.shape[-1] * _LOG_2PI


def low_rank_multivariate_normal(x: Tensor, loc: Real, cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    """log N(x; loc, W W^T + diag(d)) over the last axis."""
    return low_rank_normal(x, loc, cov_factor, cov_diag)


def low_rank_normal(x: Tensor, loc: Real, factor: Tensor, diagonal: Tensor) -> Tensor:
    """log N(x; loc, W W^T + diag(d)) by the Woodbury identity: no matrix larger than W^T W is factored.

    Args:
        x: the value, [.., D].
        loc: the mean, [.., D].
        factor: W, [.., D, n].
        diagonal: d, [.., D], positive.
    """
    residual, weighted, root = _woodbury(x, loc, factor, diagonal)
    y = solve_lower(root, vecmat(residual / diagonal, factor))
    squares = (residual * residual / diagonal).sum(-1) - (y * y).sum(-1)
    log_det = 2.0 * log_diagonal(root) + torch.log(diagonal).sum(-1)
    return -0.5 * (squares + log_det + weighted.shape[-2] * _LOG_2PI)


def gaussian_posterior(x: Tensor, loc: Real, factor: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [.., n] and Cholesky factor of the covariance [.., n, n] of eps | x in x = loc + W eps + N(0, diag(d)).

    eps ~ N(0, I) before; its posterior precision is M = I + W^T diag(1/d) W, its mean M^-1 W^T diag(1/d) (x - loc).
    """
    residual, _, root = _woodbury(x, loc, factor, diagonal)
    projected = vecmat(residual / diagonal, factor)
    inverse = solve_lower_matrix(root, identity(root))
    covariance = inverse.mT @ inverse
    return matvec(covariance, projected), torch.linalg.cholesky(covariance)


def _woodbury(x: Tensor, loc: Real, factor: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x - loc, diag(1/d) W, and the Cholesky factor of I + W^T diag(1/d) W."""
    weighted = factor / diagonal[..., None]
    return x - loc, weighted, torch.linalg.cholesky(identity(factor) + factor.mT @ weighted)


# ---- Kullback-Leibler divergences KL(q || p), q's parameters first --------------------------------------------------


def kl_normal(loc: Real, scale: Real, prior_loc: Real, prior_scale: Real) -> Tensor:
    """log(s0 / s) + (s^2 + (m - m0)^2) / (2 s0^2) - 1/2."""
    ratio = scale / prior_scale
    return 0.5 * (ratio * ratio + ((loc - prior_loc) / prior_scale) ** 2 - 1.0) - log(ratio)


def kl_standard_normal(loc: Real, scale: Real) -> Tensor:
    """KL(N(loc, scale^2) || N(0, 1)) = (s^2 + m^2 - 1) / 2 - log s."""
    return 0.5 * (scale * scale + loc * loc - 1.0) - log(scale)


def kl_laplace(loc: Real, scale: Real, prior_loc: Real, prior_scale: Real) -> Tensor:
    """log(b0 / b) + |m - m0| / b0 + (b / b0) exp(-|m - m0| / b) - 1."""
    distance = abs(loc - prior_loc)
    ratio = scale / prior_scale
    return distance / prior_scale + ratio * exp(-distance / scale) - 1.0 - log(ratio)


def kl_exponential(rate: Real, prior_rate: Real) -> Tensor:
    """log(r / r0) + r0 / r - 1."""
    ratio = prior_rate / rate
    return ratio - 1.0 - log(ratio)


def kl_gamma(concentration: Real, rate: Real, prior_concentration: Real, prior_rate: Real) -> Tensor:
    """(a - a0) psi(a) - log Gamma(a) + log Gamma(a0) + a0 log(r / r0) + a (r0 - r) / r."""
    return (
        (concentration - prior_concentration) * digamma(concentration)
        - lgamma(concentration)
        + lgamma(prior_concentration)
        + prior_concentration * log(rate / prior_rate)
        + concentration * (prior_rate - rate) / rate
    )


def kl_beta(a: Real, b: Real, prior_a: Real, prior_b: Real) -> Tensor:
    """log B(a0, b0) - log B(a, b) + (a - a0) psi(a) + (b - b0) psi(b) - (a - a0 + b - b0) psi(a + b)."""
    normalizers = log_beta(prior_a, prior_b) - log_beta(a, b)
    shift = (a - prior_a) * digamma(a) + (b - prior_b) * digamma(b)
    return normalizers + shift - (a - prior_a + b - prior_b) * digamma(a + b)


def kl_dirichlet(concentration: Tensor, prior_concentration: Tensor) -> Tensor:
    """log B(a0) - log B(a) + sum_k (a_k - a0_k) (psi(a_k) - psi(sum a)), over the last axis."""
    total, prior_total = concentration.sum(-1), prior_concentration.sum(-1)
    normalizers = lgamma(total) - lgamma(prior_total) + (lgamma(prior_concentration) - lgamma(concentration)).sum(-1)
    shift = (concentration - prior_concentration) * (digamma(concentration) - digamma(total)[..., None])
    return normalizers + shift.sum(-1)


def kl_bernoulli(logits: Real, prior_logits: Real) -> Tensor:
    """p (l - l0) - softplus(l) + softplus(l0), p = sigmoid(l)."""
    logits, prior_logits = real_pair(logits, prior_logits)
    return torch.sigmoid(logits) * (logits - prior_logits) - softplus(logits) + softplus(prior_logits)


def kl_categorical(log_probs: Tensor, prior_log_probs: Tensor) -> Tensor:
    """sum_k p_k (log p_k - log p0_k) over the last axis; p_k = 0 counts nothing."""
    probs = torch.exp(log_probs)
    difference = torch.where(probs > 0, log_probs - prior_log_probs, 0.0)
    return (probs * difference).sum(-1)


def kl_multivariate_normal(loc: Real, scale_tril: Tensor, prior_loc: Real, prior_scale_tril: Tensor) -> Tensor:
    """log det L0 - log det L + (|L0^-1 L|^2 + |L0^-1 (m - m0)|^2 - D) / 2."""
    ratio = solve_lower_matrix(prior_scale_tril, scale_tril)
    shift = solve_lower(prior_scale_tril, loc - prior_loc + 0.0 * prior_scale_tril[..., 0])
    log_det = log_diagonal(prior_scale_tril) - log_diagonal(scale_tril)
    return log_det + 0.5 * ((ratio * ratio).sum((-2, -1)) + (shift * shift).sum(-1) - scale_tril.shape[-1])


def kl_multivariate_diagonal(loc: Real, scale_tril: Tensor, prior_loc: Real, prior_scale: Real) -> Tensor:
    """KL(N(m, L L^T) || N(m0, diag(s0^2))) over the last axis."""
    scale = prior_scale + 0.0 * scale_tril[..., 0]
    ratio = scale_tril / scale[..., None]
    shift = (loc - prior_loc) / scale
    log_det = torch.log(scale).sum(-1) - log_diagonal(scale_tril)
    return log_det + 0.5 * ((ratio * ratio).sum((-2, -1)) + (shift * shift).sum(-1) - scale_tril.shape[-1])

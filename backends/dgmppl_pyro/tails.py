"""Distribution functions in logarithms: both tails, log F(x) and log(1 - F(x)), and the inverse of each.

With both, a bound many standard deviations out loses nothing: what is nearly one on one side is a small number on the
other. The other backend's classes have the same names and values.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor

from dgmppl_pyro.elementary import log1mexp
from dgmppl_pyro.operations import softplus

Real: TypeAlias = "Tensor | float"

_LOG_2, _LOG_PI, _ROOT_2 = math.log(2.0), math.log(math.pi), math.sqrt(2.0)


class Tails(ABC):
    """A distribution by its distribution function F and the inverse of it, all in logarithms; elementwise."""

    @abstractmethod
    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""

    @abstractmethod
    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""

    @abstractmethod
    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""

    @abstractmethod
    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""


# ---- symmetric -------------------------------------------------------------------------------------------------------


class _Symmetric(Tails):
    """loc + scale z, z symmetric about 0."""

    def __init__(self, loc: Real, scale: Real) -> None:
        """Args: as of the distribution."""
        self.loc, self.scale = loc, scale

    @abstractmethod
    def standard(self, z: Tensor) -> Tensor:
        """log F at loc 0 and scale 1."""

    @abstractmethod
    def inverse(self, log_p: Tensor) -> Tensor:
        """The z of `standard(z)` = log_p."""

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return self.standard((x - self.loc) / self.scale)

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return self.standard((self.loc - x) / self.scale)

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.loc + self.scale * self.inverse(log_p)

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.loc - self.scale * self.inverse(log_q)


class Normal(_Symmetric):
    """N(loc, scale^2)."""

    def standard(self, z: Tensor) -> Tensor:
        """log F at loc 0 and scale 1."""
        return torch.special.log_ndtr(z)

    def inverse(self, log_p: Tensor) -> Tensor:
        """The z of `standard(z)` = log_p; probabilities below the least float count as that."""
        return torch.special.ndtri(_probability(log_p))


class Laplace(_Symmetric):
    """exp(-|x - loc| / scale) / (2 scale)."""

    def standard(self, z: Tensor) -> Tensor:
        """log F at loc 0 and scale 1."""
        tail = -torch.abs(z) - _LOG_2
        return torch.where(z < 0, tail, torch.log1p(-torch.exp(tail)))

    def inverse(self, log_p: Tensor) -> Tensor:
        """The z of `standard(z)` = log_p."""
        return torch.where(log_p < -_LOG_2, log_p + _LOG_2, -log1mexp(-log_p, log_p) - _LOG_2)


class Logistic(_Symmetric):
    """F = sigmoid((x - loc) / scale)."""

    def standard(self, z: Tensor) -> Tensor:
        """log F at loc 0 and scale 1."""
        return -softplus(-z)

    def inverse(self, log_p: Tensor) -> Tensor:
        """The z of `standard(z)` = log_p."""
        return log_p - log1mexp(-log_p, log_p)


class Cauchy(_Symmetric):
    """F = 1/2 + atan((x - loc) / scale) / pi."""

    def standard(self, z: Tensor) -> Tensor:
        """log F at loc 0 and scale 1."""
        return torch.log(torch.atan2(torch.ones_like(z), -z)) - _LOG_PI

    def inverse(self, log_p: Tensor) -> Tensor:
        """The z of `standard(z)` = log_p."""
        return -1.0 / torch.tan(math.pi * _probability(log_p))


class Uniform(Tails):
    """Even between low and high."""

    def __init__(self, low: Real, high: Real) -> None:
        """Args: as of the distribution."""
        self.low, self.high = low, high

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return torch.log(_fraction((x - self.low) / (self.high - self.low)))

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return torch.log(_fraction((self.high - x) / (self.high - self.low)))

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.low + (self.high - self.low) * torch.exp(log_p)

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.high - (self.high - self.low) * torch.exp(log_q)


# ---- skewed ----------------------------------------------------------------------------------------------------------


class Gumbel(Tails):
    """F = exp(-exp(-(x - loc) / scale))."""

    def __init__(self, loc: Real, scale: Real) -> None:
        """Args: as of the distribution."""
        self.loc, self.scale = loc, scale

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return -self._rate(x)

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return log1mexp(self._rate(x), x)

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.loc - self.scale * torch.log(-log_p)

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.quantile(log1mexp(-log_q, log_q))

    def _rate(self, x: Tensor) -> Tensor:
        """exp(-z), a finite number that is not zero."""
        return torch.exp(torch.clamp((self.loc - x) / self.scale, -80.0, 80.0))


class LogNormal(Tails):
    """exp N(loc, scale^2)."""

    def __init__(self, loc: Real, scale: Real) -> None:
        """Args: as of the distribution."""
        self.logarithm = Normal(loc, scale)

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return self.logarithm.log_cdf(torch.log(_positive(x)))

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return self.logarithm.log_sf(torch.log(_positive(x)))

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return torch.exp(self.logarithm.quantile(log_p))

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return torch.exp(self.logarithm.upper(log_q))


class HalfNormal(Tails):
    """|N(0, scale^2)|."""

    def __init__(self, scale: Real) -> None:
        """Args: as of the distribution."""
        self.scale = scale

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return torch.log(torch.erf(_positive(x) / self.scale / _ROOT_2))

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return _LOG_2 + torch.special.log_ndtr(-_positive(x) / self.scale)

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.scale * (_ROOT_2 * torch.erfinv(_probability(log_p)))

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.scale * -torch.special.ndtri(0.5 * _probability(log_q))


class HalfCauchy(Tails):
    """|Cauchy(0, scale)|."""

    def __init__(self, scale: Real) -> None:
        """Args: as of the distribution."""
        self.scale = scale

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return torch.log(torch.atan(_positive(x) / self.scale)) + _LOG_2 - _LOG_PI

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return torch.log(torch.atan(self.scale / _positive(x))) + _LOG_2 - _LOG_PI

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.scale * torch.tan(0.5 * math.pi * _probability(log_p))

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.scale / torch.tan(0.5 * math.pi * _probability(log_q))


# ---- by a cumulative hazard ------------------------------------------------------------------------------------------


class _Hazard(Tails):
    """F = 1 - exp(-H(x)), H increasing."""

    @abstractmethod
    def hazard(self, x: Tensor) -> Tensor:
        """H(x) of a positive x."""

    @abstractmethod
    def time(self, hazard: Tensor) -> Tensor:
        """The x of H(x) = hazard."""

    def log_cdf(self, x: Tensor) -> Tensor:
        """log F(x)."""
        return log1mexp(_positive(self.hazard(_positive(x))), x)

    def log_sf(self, x: Tensor) -> Tensor:
        """log(1 - F(x))."""
        return -_positive(self.hazard(_positive(x)))

    def quantile(self, log_p: Tensor) -> Tensor:
        """The x of log F(x) = log_p."""
        return self.time(-log1mexp(-log_p, log_p))

    def upper(self, log_q: Tensor) -> Tensor:
        """The x of log(1 - F(x)) = log_q."""
        return self.time(-log_q)


class Exponential(_Hazard):
    """H = rate x."""

    def __init__(self, rate: Real) -> None:
        """Args: as of the distribution."""
        self.rate = rate

    def hazard(self, x: Tensor) -> Tensor:
        """H(x)."""
        return self.rate * x

    def time(self, hazard: Tensor) -> Tensor:
        """The x of H(x) = hazard."""
        return hazard / self.rate


class Weibull(_Hazard):
    """H = (x / scale)^concentration."""

    def __init__(self, scale: Real, concentration: Real) -> None:
        """Args: as of the distribution."""
        self.scale, self.concentration = scale, concentration

    def hazard(self, x: Tensor) -> Tensor:
        """H(x)."""
        return (x / self.scale) ** self.concentration

    def time(self, hazard: Tensor) -> Tensor:
        """The x of H(x) = hazard."""
        return self.scale * hazard ** (1.0 / self.concentration)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _positive(x: Tensor) -> Tensor:
    """x, at least a number whose square is a float: bounds left of the support have no mass beyond them."""
    return torch.clamp(x, min=torch.finfo(x.dtype).tiny ** 0.5)


def _fraction(x: Tensor) -> Tensor:
    """x in (0, 1], at least the smallest float."""
    return torch.clamp(x, torch.finfo(x.dtype).tiny, 1.0)


def _probability(log_p: Tensor) -> Tensor:
    """e^log_p, at least the smallest float."""
    return torch.exp(torch.clamp(log_p, min=math.log(torch.finfo(log_p.dtype).tiny)))

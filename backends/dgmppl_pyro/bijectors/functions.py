"""Elementwise functions without parameters."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from dgmppl_pyro.bijectors.base import Bijector
from dgmppl_pyro.operations import softplus


class Function(Bijector):
    """x_i = f(z_i), with log |f'(z_i)| summed over the event."""

    def total(self, log_derivative: Tensor) -> Tensor:
        """The sum over the event's axes."""
        return log_derivative.sum(tuple(range(-len(self.event), 0))) if self.event else log_derivative


class Sigmoid(Function):
    """x = 1 / (1 + exp(-z)), from the reals onto (0, 1)."""

    target = dist.constraints.unit_interval

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log x' = -log(1 + e^-z) - log(1 + e^z)."""
        return torch.sigmoid(z), -self.total(softplus(-z) + softplus(z))

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """z = log x - log(1 - x)."""
        low, high = x.log(), torch.log1p(-x)
        return low - high, -self.total(low + high)


class Logit(Sigmoid):
    """x = log(z / (1 - z)), from (0, 1) onto the reals."""

    source, target = dist.constraints.unit_interval, dist.constraints.real

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The inverse of `Sigmoid`."""
        return super().pull(z, _context)

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """`Sigmoid`."""
        return super().push(x, _context)


class Softplus(Function):
    """x = log(1 + exp(z)), from the reals onto the positive reals."""

    target = dist.constraints.positive

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log x' = -log(1 + e^-z)."""
        return softplus(z), -self.total(softplus(-z))

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """z = x + log(1 - e^-x)."""
        rest = torch.log(-torch.expm1(-x))
        return x + rest, -self.total(rest)


class Exp(Function):
    """x = exp(z), from the reals onto the positive reals."""

    target = dist.constraints.positive

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log x' = z."""
        return z.exp(), self.total(z)

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """z = log x."""
        z = x.log()
        return z, -self.total(z)


class Log(Exp):
    """x = log z, from the positive reals onto the reals."""

    source, target = dist.constraints.positive, dist.constraints.real

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The inverse of `Exp`."""
        return super().pull(z, _context)

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """`Exp`."""
        return super().push(x, _context)


class Tanh(Function):
    """x = tanh z, from the reals onto (-1, 1)."""

    target = dist.constraints.interval(-1.0, 1.0)

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log x' = 2 (log 2 - z - log(1 + e^-2z))."""
        return torch.tanh(z), self.total(2.0 * (math.log(2.0) - z - softplus(-2.0 * z)))

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """z = (log(1 + x) - log(1 - x)) / 2."""
        above, below = torch.log1p(x), torch.log1p(-x)
        return 0.5 * (above - below), -self.total(above + below)

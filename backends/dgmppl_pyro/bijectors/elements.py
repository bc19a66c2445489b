"""Elementwise transforms with parameters: given ones, as conditioners compute them, or their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dgmppl_pyro.bijectors.functions import Function
from dgmppl_pyro.bijectors.splines import inverse_spline, spline

# A conditioned scale stays within exp(-3) and exp(3).
_LIMIT = 3.0


class Element(Protocol):
    """x_i = f(z_i; raw_i), increasing in z_i, and the identity where every raw parameter is zero.

    Attributes:
        raw: its raw parameters in order: name, and how many per element; None for one without an axis.
    """

    @property
    def raw(self) -> tuple[tuple[str, int | None], ...]:
        """Name, and how many per element."""

    def push(self, z: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, elementwise."""

    def pull(self, x: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx, elementwise."""


@dataclass(frozen=True)
class Affine:
    """x = exp(s) z + shift, where s = 3 tanh(log_scale / 3) is smooth and bounded, for conditioners of any output."""

    raw = (("shift", None), ("log_scale", None))

    def push(self, z: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, elementwise."""
        shift, log_scale = raw
        log_scale = _LIMIT * torch.tanh(log_scale / _LIMIT)
        return z * log_scale.exp() + shift, log_scale

    def pull(self, x: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx, elementwise."""
        shift, log_scale = raw
        log_scale = _LIMIT * torch.tanh(log_scale / _LIMIT)
        return (x - shift) * (-log_scale).exp(), -log_scale


@dataclass(frozen=True)
class Spline:
    """A monotone rational-quadratic spline on [-bound, bound] with identity tails; see `splines`."""

    bins: int = 8
    bound: float = 5.0

    @property
    def raw(self) -> tuple[tuple[str, int | None], ...]:
        """Name, and how many per element."""
        return (("widths", self.bins), ("heights", self.bins), ("derivatives", self.bins - 1))

    def push(self, z: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz, elementwise."""
        widths, heights, derivatives = raw
        return spline(z, widths, heights, derivatives, self.bound)

    def pull(self, x: Tensor, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz/dx, elementwise."""
        widths, heights, derivatives = raw
        return inverse_spline(x, widths, heights, derivatives, self.bound)


class Elementwise(Function):
    """An element transform with raw parameters of its own for every element of the event."""

    def __init__(self, element: Element, event: int | tuple[int, ...] = ()) -> None:
        """Args: the transform, and the event's shape."""
        super().__init__(event)
        self.element = element
        for name, count in element.raw:
            shape = self.event if count is None else (*self.event, count)
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def _raw(self) -> tuple[Tensor, ...]:
        return tuple(self._parameters[name] for name, _ in self.element.raw)

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The transform of each element."""
        x, log_derivative = self.element.push(z, *self._raw())
        return x, self.total(log_derivative)

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Its inverse."""
        z, log_derivative = self.element.pull(x, *self._raw())
        return z, self.total(log_derivative)


class Diagonal(Function):
    """x = exp(log_scale) z + shift, with a shift and a scale of its own for every element."""

    def __init__(self, event: int | tuple[int, ...] = ()) -> None:
        """Args: the event's shape."""
        super().__init__(event)
        self.shift = nn.Parameter(torch.zeros(self.event))
        self.log_scale = nn.Parameter(torch.zeros(self.event))

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log |det J| is the sum of the log scales."""
        return z * self.log_scale.exp() + self.shift, self.total(self.log_scale)

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """z = exp(-log_scale) (x - shift)."""
        return (x - self.shift) * (-self.log_scale).exp(), -self.total(self.log_scale)


class ActNorm(Diagonal):
    """`Diagonal` that starts at a batch's statistics (Kingma and Dhariwal 2018)."""

    def start(self, value: Tensor, _context: tuple[Tensor, ...], name: str, found: dict[str, Tensor]) -> Tensor:
        """Shift and scale that give a batch mean 0 and variance 1; returns that batch."""
        rows = value.reshape(-1, *self.event)
        variance, mean = torch.var_mean(rows, 0, correction=0)
        log_scale = 0.5 * torch.where(variance > 0.0, variance, 1.0).log()
        if self.backwards:
            shift, log_scale = -mean * (-log_scale).exp(), -log_scale
        else:
            shift = mean
        found |= {f"{name}shift": shift, f"{name}log_scale": log_scale}
        sign = 1.0 if self.backwards else -1.0
        centred = value if self.backwards else value - shift
        return centred * (sign * log_scale).exp() + (shift if self.backwards else 0.0)

"""Elementwise transforms with parameters: given ones, as conditioners compute them, or their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.bijectors.functions import Function
from dgmppl_numpyro.bijectors.splines import inverse_spline, spline

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

    def push(self, z: Array, *raw: Array) -> tuple[Array, Array]:
        """x and log dx/dz, elementwise."""

    def pull(self, x: Array, *raw: Array) -> tuple[Array, Array]:
        """z and log dz/dx, elementwise."""


@dataclass(frozen=True)
class Affine:
    """x = exp(s) z + shift, where s = 3 tanh(log_scale / 3) is smooth and bounded, for conditioners of any output."""

    raw = (("shift", None), ("log_scale", None))

    def push(self, z: Array, *raw: Array) -> tuple[Array, Array]:
        """x and log dx/dz, elementwise."""
        shift, log_scale = raw
        log_scale = _LIMIT * jnp.tanh(log_scale / _LIMIT)
        return z * jnp.exp(log_scale) + shift, log_scale

    def pull(self, x: Array, *raw: Array) -> tuple[Array, Array]:
        """z and log dz/dx, elementwise."""
        shift, log_scale = raw
        log_scale = _LIMIT * jnp.tanh(log_scale / _LIMIT)
        return (x - shift) * jnp.exp(-log_scale), -log_scale


@dataclass(frozen=True)
class Spline:
    """A monotone rational-quadratic spline on [-bound, bound] with identity tails; see `splines`."""

    bins: int = 8
    bound: float = 5.0

    @property
    def raw(self) -> tuple[tuple[str, int | None], ...]:
        """Name, and how many per element."""
        return (("widths", self.bins), ("heights", self.bins), ("derivatives", self.bins - 1))

    def push(self, z: Array, *raw: Array) -> tuple[Array, Array]:
        """x and log dx/dz, elementwise."""
        widths, heights, derivatives = raw
        return spline(z, widths, heights, derivatives, self.bound)

    def pull(self, x: Array, *raw: Array) -> tuple[Array, Array]:
        """z and log dz/dx, elementwise."""
        widths, heights, derivatives = raw
        return inverse_spline(x, widths, heights, derivatives, self.bound)


class Elementwise(Function):
    """An element transform with raw parameters of its own for every element of the event."""

    def __init__(self, element: Element, event: int | tuple[int, ...] = ()) -> None:
        """Args: the transform, and the event's shape."""
        super().__init__(event)
        self.element = element
        self.arrays = tuple(name for name, _ in element.raw)
        for name, count in element.raw:
            setattr(self, name, jnp.zeros(self.event if count is None else (*self.event, count)))

    def _raw(self) -> tuple[Array, ...]:
        return tuple(getattr(self, name) for name in self.arrays)

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """The transform of each element."""
        x, log_derivative = self.element.push(z, *self._raw())
        return x, self.total(log_derivative)

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """Its inverse."""
        z, log_derivative = self.element.pull(x, *self._raw())
        return z, self.total(log_derivative)


class Diagonal(Function):
    """x = exp(log_scale) z + shift, with a shift and a scale of its own for every element."""

    arrays = ("shift", "log_scale")

    def __init__(self, event: int | tuple[int, ...] = ()) -> None:
        """Args: the event's shape."""
        super().__init__(event)
        self.shift = jnp.zeros(self.event)
        self.log_scale = jnp.zeros(self.event)

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """log |det J| is the sum of the log scales."""
        return z * jnp.exp(self.log_scale) + self.shift, self.total(self.log_scale)

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """z = exp(-log_scale) (x - shift)."""
        return (x - self.shift) * jnp.exp(-self.log_scale), -self.total(self.log_scale)


class ActNorm(Diagonal):
    """`Diagonal` that starts at a batch's statistics (Kingma and Dhariwal 2018)."""

    def start(self, value: Array, _context: tuple[Array, ...], name: str, found: dict[str, Array]) -> Array:
        """Shift and scale that give a batch mean 0 and variance 1; returns that batch."""
        rows = value.reshape(-1, *self.event)
        mean, variance = rows.mean(0), rows.var(0)
        log_scale = 0.5 * jnp.log(jnp.where(variance > 0.0, variance, 1.0))
        if self.backwards:
            shift, log_scale = -mean * jnp.exp(-log_scale), -log_scale
        else:
            shift = mean
        found |= {f"{name}shift": shift, f"{name}log_scale": log_scale}
        sign = 1.0 if self.backwards else -1.0
        centred = value if self.backwards else value - shift
        return centred * jnp.exp(sign * log_scale) + (shift if self.backwards else 0.0)

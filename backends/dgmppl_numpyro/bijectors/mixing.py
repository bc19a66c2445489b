"""Steps that mix the elements of an event, which stand in raster order."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl_numpyro.bijectors.base import Bijector
from dgmppl_numpyro.operations import softplus

# softplus of it is one: the planar map of a zero direction is the identity.
_SOFTPLUS_ONE = math.log(math.expm1(1.0))


class Flat(Bijector):
    """A step on the event's elements as one vector."""

    def flat(self, value: Array) -> Array:
        """[.., *event] -> [.., D]."""
        rank = len(self.event)
        return value if rank == 1 else value.reshape(*value.shape[: value.ndim - rank], self.size)

    def shaped(self, vector: Array) -> Array:
        """[.., D] -> [.., *event]."""
        return vector if len(self.event) == 1 else vector.reshape(*vector.shape[:-1], *self.event)


class Permute(Flat):
    """x_i = z_order(i)."""

    source = target = None

    def __init__(self, order: list[int], event: int | tuple[int, ...] | None = None) -> None:
        """Args: a permutation of 0, ..., D - 1, and the event's shape, [D] where it is left out."""
        super().__init__(len(order) if event is None else event)
        self.order, self.back = tuple(order), tuple(np.argsort(order).tolist())

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """Volume is kept."""
        return self.shaped(self.flat(z)[..., np.array(self.order)]), 0.0

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """The inverse permutation."""
        return self.shaped(self.flat(x)[..., np.array(self.back)]), 0.0


class Reverse(Flat):
    """x_i = z_(D - 1 - i)."""

    source = target = None

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """Volume is kept."""
        return self.shaped(self.flat(z)[..., ::-1]), 0.0

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """Its own inverse."""
        return self.push(x, _context)


class LULinear(Flat):
    """x = P L U z + b: P a fixed permutation, L unit lower, U upper triangular with the diagonal exp(log_diagonal).

    Source: Kingma and Dhariwal (2018), eq. 10 and 11, with positive signs; the diagonal gives the log-determinant.
    """

    arrays = ("lower", "upper", "log_diagonal", "bias")

    def __init__(self, order: list[int], event: int | tuple[int, ...] | None = None) -> None:
        """Args: P as the places that its rows read, and the event's shape, [D] where it is left out."""
        size = len(order)
        super().__init__(size if event is None else event)
        self.order, self.back = tuple(order), tuple(np.argsort(order).tolist())
        self.lower = jnp.zeros((size, size))
        self.upper = jnp.zeros((size, size))
        self.log_diagonal = jnp.zeros(size)
        self.bias = jnp.zeros(size)

    def _factors(self) -> tuple[Array, Array]:
        unit = jnp.eye(self.size, dtype=self.lower.dtype)
        return jnp.tril(self.lower, -1) + unit, jnp.triu(self.upper, 1) + jnp.diag(jnp.exp(self.log_diagonal))

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """log |det J| = sum log_diagonal."""
        lower, upper = self._factors()
        mixed = (self.flat(z) @ upper.T) @ lower.T
        return self.shaped(mixed[..., np.array(self.order)] + self.bias), self.log_diagonal.sum()

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """Two triangular solves."""
        lower, upper = self._factors()
        vector = (self.flat(x) - self.bias)[..., np.array(self.back)]
        rows = vector.reshape(-1, self.size).T
        middle = jax.scipy.linalg.solve_triangular(lower, rows, lower=True, unit_diagonal=True)
        solved = jax.scipy.linalg.solve_triangular(upper, middle)
        return self.shaped(solved.T.reshape(vector.shape)), -self.log_diagonal.sum()


class Planar(Flat):
    """x = z + v tanh(w z + b), with v moved from u so that w v > -1, where the map is invertible.

    Its inverse has no closed form. Source: Rezende and Mohamed (2015), eq. 10 to 13 and appendix A.1.
    """

    costly = (False, True)
    arrays = ("weight", "direction", "bias")

    def __init__(self, event: int | tuple[int, ...], key: Array) -> None:
        """Args: the event's shape, and a random key for the weight."""
        super().__init__(event)
        self.weight = jax.random.normal(key, (self.size,)) / math.sqrt(self.size)
        self.direction = jnp.zeros(self.size)
        self.bias = jnp.zeros(())

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """log |det J| = log(1 + tanh'(w z + b) w v)."""
        along = (self.weight * self.direction).sum()
        inner = softplus(along + _SOFTPLUS_ONE) - 1.0
        square = (self.weight**2).sum().clip(jnp.finfo(self.weight.dtype).tiny)
        moved = self.direction + (inner - along) * self.weight / square
        vector = self.flat(z)
        bend = jnp.tanh((vector * self.weight).sum(-1, keepdims=True) + self.bias)
        log_det = jnp.log1p((1.0 - bend**2) * inner).squeeze(-1)
        return self.shaped(vector + moved * bend), log_det

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, Array]:
        """None in closed form."""
        raise NotImplementedError("a planar bijector runs from base to data only; `inverted()` gives the other way")


class Squeeze(Bijector):
    """[C, H, W] -> [4 C, H / 2, W / 2]: each 2 x 2 square of pixels as four channels; [H, W] is one channel.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), section 3.6.
    """

    source = target = None

    def __init__(self, event: tuple[int, ...]) -> None:
        """Args: the event's shape, height and width even."""
        super().__init__(event)
        *channels, height, width = self.event
        self.image = (4 * math.prod(channels), height // 2, width // 2)

    def push(self, z: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """Volume is kept."""
        channels, height, width = self.image
        split = z.reshape(*z.shape[: z.ndim - len(self.event)], channels // 4, height, 2, width, 2)
        return jnp.moveaxis(split, (-3, -1), (-4, -3)).reshape(*split.shape[:-5], *self.image), 0.0

    def pull(self, x: Array, _context: tuple[Array, ...]) -> tuple[Array, float]:
        """Channels back to squares."""
        channels, height, width = self.image
        split = x.reshape(*x.shape[:-3], channels // 4, 2, 2, height, width)
        return jnp.moveaxis(split, (-4, -3), (-3, -1)).reshape(*x.shape[:-3], *self.event), 0.0

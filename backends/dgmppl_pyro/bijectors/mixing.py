"""Steps that mix the elements of an event, which stand in raster order."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dgmppl_pyro.bijectors.base import Bijector
from dgmppl_pyro.operations import softplus

# softplus of it is one: the planar map of a zero direction is the identity.
_SOFTPLUS_ONE = math.log(math.expm1(1.0))


class Flat(Bijector):
    """A step on the event's elements as one vector."""

    def flat(self, value: Tensor) -> Tensor:
        """[.., *event] -> [.., D]."""
        rank = len(self.event)
        return value if rank == 1 else value.reshape(*value.shape[: value.ndim - rank], self.size)

    def shaped(self, vector: Tensor) -> Tensor:
        """[.., D] -> [.., *event]."""
        return vector if len(self.event) == 1 else vector.reshape(*vector.shape[:-1], *self.event)


class Permute(Flat):
    """x_i = z_order(i)."""

    source = target = None

    def __init__(self, order: list[int], event: int | tuple[int, ...] | None = None) -> None:
        """Args: a permutation of 0, ..., D - 1, and the event's shape, [D] where it is left out."""
        super().__init__(len(order) if event is None else event)
        places = torch.tensor(order)
        self.register_buffer("order", places, persistent=False)
        self.register_buffer("back", places.argsort(), persistent=False)

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """Volume is kept."""
        return self.shaped(self.flat(z).index_select(-1, self.order)), 0.0

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """The inverse permutation."""
        return self.shaped(self.flat(x).index_select(-1, self.back)), 0.0


class Reverse(Flat):
    """x_i = z_(D - 1 - i)."""

    source = target = None

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """Volume is kept."""
        return self.shaped(self.flat(z).flip(-1)), 0.0

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """Its own inverse."""
        return self.push(x, _context)


class LULinear(Flat):
    """x = P L U z + b: P a fixed permutation, L unit lower, U upper triangular with the diagonal exp(log_diagonal).

    Source: Kingma and Dhariwal (2018), eq. 10 and 11, with positive signs; the diagonal gives the log-determinant.
    """

    def __init__(self, order: list[int], event: int | tuple[int, ...] | None = None) -> None:
        """Args: P as the places that its rows read, and the event's shape, [D] where it is left out."""
        size = len(order)
        super().__init__(size if event is None else event)
        places = torch.tensor(order)
        self.register_buffer("order", places, persistent=False)
        self.register_buffer("back", places.argsort(), persistent=False)
        self.lower = nn.Parameter(torch.zeros(size, size))
        self.upper = nn.Parameter(torch.zeros(size, size))
        self.log_diagonal = nn.Parameter(torch.zeros(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def _factors(self) -> tuple[Tensor, Tensor]:
        unit = torch.diag_embed(torch.ones_like(self.log_diagonal))
        return self.lower.tril(-1) + unit, self.upper.triu(1) + torch.diag_embed(self.log_diagonal.exp())

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log |det J| = sum log_diagonal."""
        lower, upper = self._factors()
        mixed = (self.flat(z) @ upper.T) @ lower.T
        return self.shaped(mixed.index_select(-1, self.order) + self.bias), self.log_diagonal.sum()

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Two triangular solves."""
        lower, upper = self._factors()
        vector = (self.flat(x) - self.bias).index_select(-1, self.back)
        rows = vector.reshape(-1, self.size).T
        middle = torch.linalg.solve_triangular(lower, rows, upper=False, unitriangular=True)
        solved = torch.linalg.solve_triangular(upper, middle, upper=True)
        return self.shaped(solved.T.reshape(vector.shape)), -self.log_diagonal.sum()


class Planar(Flat):
    """x = z + v tanh(w z + b), with v moved from u so that w v > -1, where the map is invertible.

    Its inverse has no closed form. Source: Rezende and Mohamed (2015), eq. 10 to 13 and appendix A.1.
    """

    costly = (False, True)

    def __init__(self, event: int | tuple[int, ...] = ()) -> None:
        """Args: the event's shape."""
        super().__init__(event)
        self.weight = nn.Parameter(torch.randn(self.size) / math.sqrt(self.size))
        self.direction = nn.Parameter(torch.zeros(self.size))
        self.bias = nn.Parameter(torch.zeros(()))

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log |det J| = log(1 + tanh'(w z + b) w v)."""
        along = (self.weight * self.direction).sum()
        inner = softplus(along + _SOFTPLUS_ONE) - 1.0
        square = self.weight.square().sum().clamp(min=torch.finfo(z.dtype).tiny)
        moved = self.direction + (inner - along) * self.weight / square
        vector = self.flat(z)
        bend = torch.tanh((vector * self.weight).sum(-1, keepdim=True) + self.bias)
        log_det = torch.log1p((1.0 - bend.square()) * inner).squeeze(-1)
        return self.shaped(vector + moved * bend), log_det

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
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

    def push(self, z: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """Volume is kept."""
        channels, height, width = self.image
        split = z.reshape(*z.shape[: z.ndim - len(self.event)], channels // 4, height, 2, width, 2)
        return split.movedim((-3, -1), (-4, -3)).reshape(*split.shape[:-5], *self.image), 0.0

    def pull(self, x: Tensor, _context: tuple[Tensor, ...]) -> tuple[Tensor, float]:
        """Channels back to squares."""
        channels, height, width = self.image
        split = x.reshape(*x.shape[:-3], channels // 4, 2, 2, height, width)
        return split.movedim((-4, -3), (-3, -1)).reshape(*x.shape[:-3], *self.event), 0.0

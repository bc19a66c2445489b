"""What every bijector is: a pair of maps with their log-determinants, and a `Transform` of torch and Pyro."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn


class Bijector(dist.TransformModule):  # type: ignore[misc]
    """x = f(z; context) on events of one shape, with learnable parameters.

    A subclass gives `push`, the map from base to data, and `pull`, its inverse; each returns the mapped value and its
    log |det J|, which may leave out batch axes that it does not vary over.

    Without context it is a `Transform` itself; `transform(*context)` is one for given context. As a transform it
    remembers its last draw, so that scoring it does not invert it; parameters that were changed since make it forget.

    Attributes:
        event: the shape of one z (of one x where `backwards`).
        image: the shape of one x; the event's, except for a step that changes shapes.
        backwards: f is the inverse of the map that the class describes.
        source, target: the sets that `push` maps between, elementwise; None where any set is mapped to itself.
        costly: whether `push` and `pull` take one pass per element, or do not exist.
    """

    bijective = True
    source: ClassVar[Any] = dist.constraints.real
    target: ClassVar[Any] = dist.constraints.real
    costly: tuple[bool, bool] = (False, False)

    def __init__(self, event: int | tuple[int, ...] = ()) -> None:
        """Args: the event's shape; a number is the length of a vector."""
        super().__init__(cache_size=1)
        self.event: tuple[int, ...] = (event,) if isinstance(event, int) else tuple(event)
        self.image = self.event
        self.backwards = False
        self._forget()

    @property
    def size(self) -> int:
        """How many elements one event has."""
        return math.prod(self.event)

    @property
    def inverse_first(self) -> bool:
        """Whether the inverse of f takes one pass, and f itself does not."""
        return self.costly == ((False, True) if self.backwards else (True, False))

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """x and log |det dx/dz|."""
        raise NotImplementedError

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | float]:
        """z and log |det dz/dx|."""
        raise NotImplementedError

    def start(self, value: Tensor, context: tuple[Tensor, ...], name: str, found: dict[str, Tensor]) -> Tensor:
        """Data mapped one step towards the base; data-dependent start values join `found`, under `name`."""
        del name, found
        return self.mapped(value, context, forward=False)[0]

    def bind(self, networks: Mapping[str, nn.Module]) -> Bijector:
        """The bijector with shared networks in their places; itself where it has none."""
        del networks
        return self

    def probed(self, probe: Tensor) -> Bijector:
        """The bijector with the noise of its stochastic traces [.., *event]; itself where it has none."""
        del probe
        return self

    def velocity(self, x: Tensor, t: Tensor, *context: Tensor) -> Tensor:
        """dx/dt at x [.., *event] and t [..], where the bijector is one step in continuous time.

        Raises:
            NotImplementedError: any other bijector.
        """
        raise NotImplementedError(f"{type(self).__name__} is no step in continuous time")

    def inverted(self) -> Bijector:
        """The same parameters, run backwards."""
        turned = copy.copy(self)
        turned.backwards = not self.backwards
        turned._inv = None
        return turned

    # ---- the maps ----------------------------------------------------------------------------------------------------

    def mapped(self, value: Tensor, context: tuple[Tensor, ...], *, forward: bool) -> tuple[Tensor, Tensor | float]:
        """`push` or `pull`, whichever is f (or its inverse) here."""
        return self.push(value, context) if forward is not self.backwards else self.pull(value, context)

    def forward_and_log_det(self, z: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        """x = f(z; context), and log |det dx/dz| in nats, one number per event."""
        x, log_det = self.mapped(z, context, forward=True)
        return x, _per_event(log_det, x, len(self.shapes[1]))

    def inverse_and_log_det(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        """z with f(z; context) = x, and log |det dz/dx| in nats, one number per event."""
        z, log_det = self.mapped(x, context, forward=False)
        return z, _per_event(log_det, z, len(self.shapes[0]))

    def forward(self, z: Tensor, *context: Tensor) -> Tensor:
        """x = f(z; context)."""
        return self.mapped(z, context, forward=True)[0]

    def inverse(self, x: Tensor, *context: Tensor) -> Tensor:
        """z with f(z; context) = x."""
        return self.mapped(x, context, forward=False)[0]

    def warm_start(self, x: Tensor, *context: Tensor) -> dict[str, Tensor]:
        """Start values of every `ActNorm`, by name, from one batch of data: each then sees mean 0 and variance 1.

        Source: Kingma and Dhariwal (2018), section 3.1. A dimension that does not vary keeps its scale.
        """
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            self.start(x, context, "", found)
        return found

    def transform(self, *context: Tensor) -> torch.distributions.Transform:
        """The `Transform` of torch for given context."""
        return Conditioned(self, context) if context else self

    # ---- torch's Transform -------------------------------------------------------------------------------------------

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of z and of x."""
        return (self.image, self.event) if self.backwards else (self.event, self.image)

    @property
    def domain(self) -> Any:
        """Where z lies."""
        return _constraint(self.target if self.backwards else self.source, len(self.shapes[0]))

    @property
    def codomain(self) -> Any:
        """Where x lies."""
        return _constraint(self.source if self.backwards else self.target, len(self.shapes[1]))

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of f(z) for z of a shape."""
        before, after = self.shapes
        return torch.Size((*shape[: len(shape) - len(before)], *after))

    def inverse_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of z for x of a shape."""
        before, after = self.shapes
        return torch.Size((*shape[: len(shape) - len(after)], *before))

    def with_cache(self, cache_size: int = 1) -> Bijector:
        """Itself: its memory costs nothing, and is never out of date."""
        del cache_size
        return self

    def __call__(self, z: Tensor) -> Tensor:
        """x = f(z), remembered as the last draw."""
        x, log_det = self.forward_and_log_det(z)
        self._last = (z, x, log_det, self._versions())
        return x

    def _inv_call(self, x: Tensor) -> Tensor:
        """z with f(z) = x; a remembered draw is not inverted again."""
        z, known, _, versions = self._last
        if x is known and versions == self._versions():
            return z
        z, log_det = self.inverse_and_log_det(x)
        self._last_inverse = (z, x, -log_det, self._versions())
        return z

    def log_abs_det_jacobian(self, z: Tensor, x: Tensor) -> Tensor:
        """log |det dx/dz| of a pair, in nats."""
        for known_z, known_x, log_det, versions in (self._last, self._last_inverse):
            if z is known_z and x is known_x and versions == self._versions():
                return log_det
        return -self.inverse_and_log_det(x)[1] if self.inverse_first else self.forward_and_log_det(z)[1]

    def clear_cache(self) -> None:
        """Forgets the last draw."""
        self._forget()

    def _forget(self) -> None:
        self._last = self._last_inverse = (None, None, None, ())

    def _versions(self) -> tuple[tuple[int, int], ...]:
        return tuple((id(array), array._version) for array in self.parameters())

    def __getstate__(self) -> dict[str, Any]:
        nothing = (None, None, None, ())
        return {**self.__dict__, "_inv": None, "_last": nothing, "_last_inverse": nothing}


class Conditioned(torch.distributions.Transform):  # type: ignore[misc]
    """A bijector for given context, as a `Transform` of torch."""

    bijective = True

    def __init__(self, bijector: Bijector, context: tuple[Tensor, ...]) -> None:
        """Args: the bijector, and its context; batch axes of both broadcast."""
        super().__init__(cache_size=1)
        self.bijector, self.context = bijector, context
        self._log_det: Tensor | None = None

    @property
    def domain(self) -> Any:
        """Where z lies."""
        return self.bijector.domain

    @property
    def codomain(self) -> Any:
        """Where x lies."""
        return self.bijector.codomain

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of f(z) for z of a shape."""
        return self.bijector.forward_shape(shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of z for x of a shape."""
        return self.bijector.inverse_shape(shape)

    def with_cache(self, cache_size: int = 1) -> Conditioned:
        """Itself: one pair is always remembered."""
        del cache_size
        return self

    def _call(self, z: Tensor) -> Tensor:
        x, self._log_det = self.bijector.forward_and_log_det(z, *self.context)
        return x

    def _inverse(self, x: Tensor) -> Tensor:
        z, log_det = self.bijector.inverse_and_log_det(x, *self.context)
        self._log_det = -log_det
        return z

    def log_abs_det_jacobian(self, z: Tensor, x: Tensor) -> Tensor:
        """log |det dx/dz| of a pair, in nats."""
        known = self._cached_x_y
        if self._log_det is not None and z is known[0] and x is known[1]:
            return self._log_det
        if self.bijector.inverse_first:
            return -self.bijector.inverse_and_log_det(x, *self.context)[1]
        return self.bijector.forward_and_log_det(z, *self.context)[1]


class Shared(nn.Module):  # type: ignore[misc]
    """The place of a network that other parts of the program read too; `Bijector.bind` puts it there."""

    def __init__(self, name: str) -> None:
        """Args: the network's name."""
        super().__init__()
        self.name = name


def _constraint(support: Any, rank: int) -> Any:
    support = dist.constraints.real if support is None else support
    return dist.constraints.independent(support, rank) if rank else support


def _per_event(log_det: Tensor | float, value: Tensor, rank: int) -> Tensor:
    batch = value.shape[: value.ndim - rank]
    return value.new_zeros(batch) + log_det

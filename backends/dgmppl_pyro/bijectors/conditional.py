"""Steps whose element transforms take their parameters from a network: coupling and autoregressive ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dgmppl_pyro.bijectors.base import Bijector, Shared
from dgmppl_pyro.bijectors.elements import Element
from dgmppl_pyro.bijectors.mixing import Flat
from dgmppl_pyro.operations import concatenate

Map: TypeAlias = Callable[..., tuple[Tensor, Tensor]]


class Coupling(Flat):
    """x = (z_1, f(z_2; net(z_1, context))), where z_1 are the first floor(D/2) elements: channels, where C is even.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), eq. 4 to 6.
    """

    def __init__(self, conditioner: nn.Module, element: Element, event: int | tuple[int, ...]) -> None:
        """Args: the network of z_1 and the context, the transform of z_2, and the event's shape."""
        super().__init__(event)
        self.conditioner, self.element = conditioner, element

    def bind(self, networks: Mapping[str, nn.Module]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        bound = Coupling(networks[self.conditioner.name], self.element, self.event)
        return bound.inverted() if self.backwards else bound

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log |det J| is the sum over the moved elements."""
        kept, moved = self._parts(z)
        moved, log_derivative = self.element.push(moved, *self.conditioner(kept, *context))
        return self._whole(kept, moved), log_derivative.sum(-1)

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """x_1 = z_1, so that the same parameters are at hand."""
        kept, moved = self._parts(x)
        moved, log_derivative = self.element.pull(moved, *self.conditioner(kept, *context))
        return self._whole(kept, moved), log_derivative.sum(-1)

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        vector, half = self.flat(value), self.size // 2
        return vector[..., :half], vector[..., half:]

    def _whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        return self.shaped(concatenate([kept, moved], -1))


class Autoregressive(Flat):
    """x_i = f(z_i; net(x, context)_i) with a causal network, whose i-th output reads the elements before x_i.

    The density takes one pass, a sample one step per element (Papamakarios, Pavlakou and Murray 2017). In the direction
    `inverse` the network reads z instead: a sample takes one pass, the density steps (Kingma et al. 2016).
    """

    def __init__(
        self,
        conditioner: nn.Module,
        element: Element,
        event: int | tuple[int, ...],
        direction: str = "density",
        order: list[int] | None = None,
    ) -> None:
        """Args: the causal network, the transform, the event's shape, the fast direction, the network's order."""
        super().__init__(event)
        self.conditioner, self.element, self.direction, self.order = conditioner, element, direction, order
        self.costly = (direction == "density", direction == "inverse")

    def bind(self, networks: Mapping[str, nn.Module]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        network = networks[self.conditioner.name]
        bound = Autoregressive(network, self.element, self.event, self.direction, self.order)
        return bound.inverted() if self.backwards else bound

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log |det J| is the sum over the elements: the Jacobian is triangular."""
        transform = self._parallel if self.direction == "inverse" else self._sequential
        return transform(self.element.push, z, context)

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The inverse of each element, given those before it."""
        transform = self._parallel if self.direction == "density" else self._sequential
        return transform(self.element.pull, x, context)

    def _parallel(self, transform: Map, given: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The network reads what is given."""
        vector = self.flat(given)
        result, log_derivative = transform(vector, *self.conditioner(vector, *context))
        return self.shaped(result), log_derivative.sum(-1)

    def _sequential(self, transform: Map, given: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The network reads the result, element by element in its order; it keeps what it has computed."""
        vector, order = self.flat(given), self.order or range(self.size)
        cache = self.conditioner.start(*context, batch=vector.shape[:-1])
        found: dict[int, Tensor] = {}
        previous, total = vector[..., 0], 0.0
        for number, place in enumerate(order):
            cache, raw = self.conditioner.step(cache, number, previous)
            found[place], log_derivative = transform(vector[..., place], *raw)
            previous, total = found[place], log_derivative + total
        return self.shaped(torch.stack([found[place] for place in range(self.size)], -1)), total

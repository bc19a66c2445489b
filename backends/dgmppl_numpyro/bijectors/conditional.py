"""Steps whose element transforms take their parameters from a network: coupling and autoregressive ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dgmppl_numpyro.bijectors.base import Bijector, Shared
from dgmppl_numpyro.bijectors.elements import Element
from dgmppl_numpyro.bijectors.mixing import Flat
from dgmppl_numpyro.operations import concatenate

Map: TypeAlias = Callable[..., tuple[Array, Array]]


class Coupling(Flat):
    """x = (z_1, f(z_2; net(z_1, context))), where z_1 are the first floor(D/2) elements: channels, where C is even.

    Source: Dinh, Sohl-Dickstein and Bengio (2017), eq. 4 to 6.
    """

    arrays = ("conditioner",)

    def __init__(self, conditioner: Any, element: Element, event: int | tuple[int, ...]) -> None:
        """Args: the network of z_1 and the context, the transform of z_2, and the event's shape."""
        super().__init__(event)
        self.conditioner, self.element = conditioner, element

    def bind(self, networks: Mapping[str, Any]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        bound = Coupling(networks[self.conditioner.name], self.element, self.event)
        return bound.inverted() if self.backwards else bound

    def push(self, z: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """log |det J| is the sum over the moved elements."""
        kept, moved = self._parts(z)
        moved, log_derivative = self.element.push(moved, *self.conditioner(kept, *context))
        return self._whole(kept, moved), log_derivative.sum(-1)

    def pull(self, x: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """x_1 = z_1, so that the same parameters are at hand."""
        kept, moved = self._parts(x)
        moved, log_derivative = self.element.pull(moved, *self.conditioner(kept, *context))
        return self._whole(kept, moved), log_derivative.sum(-1)

    def _parts(self, value: Array) -> tuple[Array, Array]:
        vector, half = self.flat(value), self.size // 2
        return vector[..., :half], vector[..., half:]

    def _whole(self, kept: Array, moved: Array) -> Array:
        return self.shaped(concatenate([kept, moved], -1))


class Autoregressive(Flat):
    """x_i = f(z_i; net(x, context)_i) with a causal network, whose i-th output reads the elements before x_i.

    The density takes one pass, a sample one step per element (Papamakarios, Pavlakou and Murray 2017). In the direction
    `inverse` the network reads z instead: a sample takes one pass, the density steps (Kingma et al. 2016).
    """

    arrays = ("conditioner",)

    def __init__(
        self,
        conditioner: Any,
        element: Element,
        event: int | tuple[int, ...],
        direction: str = "density",
        order: list[int] | None = None,
    ) -> None:
        """Args: the causal network, the transform, the event's shape, the fast direction, the network's order."""
        super().__init__(event)
        self.conditioner, self.element, self.direction = conditioner, element, direction
        self.order = tuple(range(self.size) if order is None else order)
        self.costly = (direction == "density", direction == "inverse")

    def bind(self, networks: Mapping[str, Any]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        network = networks[self.conditioner.name]
        bound = Autoregressive(network, self.element, self.event, self.direction, [*self.order])
        return bound.inverted() if self.backwards else bound

    def push(self, z: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """log |det J| is the sum over the elements: the Jacobian is triangular."""
        transform = self._parallel if self.direction == "inverse" else self._sequential
        return transform(self.element.push, z, context)

    def pull(self, x: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """The inverse of each element, given those before it."""
        transform = self._parallel if self.direction == "density" else self._sequential
        return transform(self.element.pull, x, context)

    def _parallel(self, transform: Map, given: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """The network reads what is given."""
        vector = self.flat(given)
        result, log_derivative = transform(vector, *self.conditioner(vector, *context))
        return self.shaped(result), log_derivative.sum(-1)

    def _sequential(self, transform: Map, given: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """The network reads the result, element by element in its order; it keeps what it has computed."""
        vector = jnp.moveaxis(self.flat(given)[..., np.array(self.order)], -1, 0)
        cache = self.conditioner.start(*context, batch=vector.shape[1:])

        def step(carry: Any, element: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
            (cache, previous), (number, value) = carry, element
            cache, raw = self.conditioner.step(cache, number, previous)
            result, log_derivative = transform(value, *raw)
            return (cache, result), (result, log_derivative)

        first, found = step((cache, vector[0]), (jnp.zeros((), int), vector[0]))
        _, others = jax.lax.scan(step, first, (jnp.arange(1, self.size), vector[1:]))
        results, log_derivatives = (jnp.concatenate([one[None], rest]) for one, rest in zip(found, others, strict=True))
        back = np.argsort(self.order)
        return self.shaped(jnp.moveaxis(results[back], 0, -1)), log_derivatives.sum(0)

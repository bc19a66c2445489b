"""What every bijector is: a pair of maps with their log-determinants, and a `Transform` of NumPyro."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.tree_util import GetAttrKey


class Bijector(dist.transforms.Transform):  # type: ignore[misc]
    """x = f(z; context) on events of one shape, with learnable parameters.

    A subclass gives `push`, the map from base to data, and `pull`, its inverse; each returns the mapped value and its
    log |det J|, which may leave out batch axes that it does not vary over.

    Without context it is a `Transform` itself; `transform(*context)` is one for given context. It is a pytree whose
    leaves are its parameters, under their canonical names.

    Attributes:
        event: the shape of one z (of one x where `backwards`).
        image: the shape of one x; the event's, except for a step that changes shapes.
        backwards: f is the inverse of the map that the class describes.
        source, target: the sets that `push` maps between, elementwise; None where any set is mapped to itself.
        costly: whether `push` and `pull` take one pass per element, or do not exist.
        arrays: the attributes that hold parameters, or what has parameters.
    """

    source: ClassVar[Any] = dist.constraints.real
    target: ClassVar[Any] = dist.constraints.real
    costly: tuple[bool, bool] = (False, False)
    arrays: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """Every class of bijectors is a pytree; NumPyro's own registration would hide the parameters' names."""
        jax.tree_util.register_pytree_with_keys(cls, cls._flattened, cls._restored, lambda self: self.tree_flatten())

    def __init__(self, event: int | tuple[int, ...] = ()) -> None:
        """Args: the event's shape; a number is the length of a vector."""
        self.event: tuple[int, ...] = (event,) if isinstance(event, int) else tuple(event)
        self.image = self.event
        self.backwards = False

    @property
    def size(self) -> int:
        """How many elements one event has."""
        return math.prod(self.event)

    @property
    def inverse_first(self) -> bool:
        """Whether the inverse of f takes one pass, and f itself does not."""
        return self.costly == ((False, True) if self.backwards else (True, False))

    def push(self, z: Array, context: tuple[Array, ...]) -> tuple[Array, Array | float]:
        """x and log |det dx/dz|."""
        raise NotImplementedError

    def pull(self, x: Array, context: tuple[Array, ...]) -> tuple[Array, Array | float]:
        """z and log |det dz/dx|."""
        raise NotImplementedError

    def start(self, value: Array, context: tuple[Array, ...], name: str, found: dict[str, Array]) -> Array:
        """Data mapped one step towards the base; data-dependent start values join `found`, under `name`."""
        del name, found
        return self.mapped(value, context, forward=False)[0]

    def bind(self, networks: Mapping[str, Any]) -> Bijector:
        """The bijector with shared networks in their places; itself where it has none."""
        del networks
        return self

    def probed(self, probe: Array) -> Bijector:
        """The bijector with the noise of its stochastic traces [.., *event]; itself where it has none."""
        del probe
        return self

    def velocity(self, x: Array, t: Array, *context: Array) -> Array:
        """dx/dt at x [.., *event] and t [..], where the bijector is one step in continuous time.

        Raises:
            NotImplementedError: any other bijector.
        """
        raise NotImplementedError(f"{type(self).__name__} is no step in continuous time")

    def inverted(self) -> Bijector:
        """The same parameters, run backwards."""
        turned = copy.copy(self)
        turned.backwards = not self.backwards
        return turned

    # ---- the maps ----------------------------------------------------------------------------------------------------

    def mapped(self, value: Array, context: tuple[Array, ...], *, forward: bool) -> tuple[Array, Array | float]:
        """`push` or `pull`, whichever is f (or its inverse) here."""
        return self.push(value, context) if forward is not self.backwards else self.pull(value, context)

    def forward_and_log_det(self, z: Array, *context: Array) -> tuple[Array, Array]:
        """x = f(z; context), and log |det dx/dz| in nats, one number per event."""
        x, log_det = self.mapped(z, context, forward=True)
        return x, _per_event(log_det, x, len(self.shapes[1]))

    def inverse_and_log_det(self, x: Array, *context: Array) -> tuple[Array, Array]:
        """z with f(z; context) = x, and log |det dz/dx| in nats, one number per event."""
        z, log_det = self.mapped(x, context, forward=False)
        return z, _per_event(log_det, z, len(self.shapes[0]))

    def forward(self, z: Array, *context: Array) -> Array:
        """x = f(z; context)."""
        return self.mapped(z, context, forward=True)[0]

    def inverse(self, x: Array, *context: Array) -> Array:
        """z with f(z; context) = x."""
        return self.mapped(x, context, forward=False)[0]

    def warm_start(self, x: Array, *context: Array) -> dict[str, Array]:
        """Start values of every `ActNorm`, by name, from one batch of data: each then sees mean 0 and variance 1.

        Source: Kingma and Dhariwal (2018), section 3.1. A dimension that does not vary keeps its scale.
        """
        found: dict[str, Array] = {}
        self.start(x, context, "", found)
        return found

    def transform(self, *context: Array) -> dist.transforms.Transform:
        """The `Transform` of NumPyro for given context."""
        return Conditioned(self, context) if context else self

    # ---- NumPyro's Transform -----------------------------------------------------------------------------------------

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

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of f(z) for z of a shape."""
        before, after = self.shapes
        return (*shape[: len(shape) - len(before)], *after)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of z for x of a shape."""
        before, after = self.shapes
        return (*shape[: len(shape) - len(after)], *before)

    def __call__(self, z: Array) -> Array:
        """x = f(z)."""
        return self.forward(z)

    def call_with_intermediates(self, z: Array) -> tuple[Array, Array]:
        """f(z) and what scoring it will need."""
        return self.forward_and_log_det(z)

    def _inverse(self, x: Array) -> Array:
        return self.inverse(x)

    def log_abs_det_jacobian(self, z: Array, x: Array, intermediates: Array | None = None) -> Array:
        """log |det dx/dz| of a pair, in nats."""
        if intermediates is not None:
            return intermediates
        return -self.inverse_and_log_det(x)[1] if self.inverse_first else self.forward_and_log_det(z)[1]

    # ---- the pytree --------------------------------------------------------------------------------------------------

    def _flattened(self) -> tuple[tuple[tuple[Any, Any], ...], tuple[tuple[str, Any], ...]]:
        """Parameters by name, and everything else."""
        named = vars(self)
        held = tuple((GetAttrKey(name), named[name]) for name in self.arrays)
        rest = tuple((name, value) for name, value in named.items() if name not in self.arrays and name != "_inv")
        return held, rest

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]:
        """The same without names."""
        held, rest = self._flattened()
        return tuple(value for _, value in held), rest

    @classmethod
    def _restored(cls, rest: Iterable[tuple[str, Any]], held: Iterable[Any]) -> Bijector:
        bijector: Bijector = cls.__new__(cls)
        bijector.__dict__.update(rest)
        bijector.__dict__.update(zip(bijector.arrays, held, strict=True))
        return bijector


class Conditioned(dist.transforms.Transform):  # type: ignore[misc]
    """A bijector for given context, as a `Transform` of NumPyro."""

    def __init__(self, bijector: Bijector, context: tuple[Array, ...]) -> None:
        """Args: the bijector, and its context; batch axes of both broadcast."""
        self.bijector, self.context = bijector, context

    @property
    def domain(self) -> Any:
        """Where z lies."""
        return self.bijector.domain

    @property
    def codomain(self) -> Any:
        """Where x lies."""
        return self.bijector.codomain

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of f(z) for z of a shape."""
        return self.bijector.forward_shape(shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of z for x of a shape."""
        return self.bijector.inverse_shape(shape)

    def __call__(self, z: Array) -> Array:
        """x = f(z)."""
        return self.bijector.forward(z, *self.context)

    def call_with_intermediates(self, z: Array) -> tuple[Array, Array]:
        """f(z) and what scoring it will need."""
        return self.bijector.forward_and_log_det(z, *self.context)

    def _inverse(self, x: Array) -> Array:
        return self.bijector.inverse(x, *self.context)

    def log_abs_det_jacobian(self, z: Array, x: Array, intermediates: Array | None = None) -> Array:
        """log |det dx/dz| of a pair, in nats."""
        if intermediates is not None:
            return intermediates
        if self.bijector.inverse_first:
            return -self.bijector.inverse_and_log_det(x, *self.context)[1]
        return self.bijector.forward_and_log_det(z, *self.context)[1]

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        """The bijector's parameters and the context are leaves."""
        return (self.bijector, self.context), None

    @classmethod
    def tree_unflatten(cls, aux_data: None, params: tuple[Any, ...]) -> Conditioned:
        """From what `tree_flatten` gives."""
        del aux_data
        return cls(*params)


@jax.tree_util.register_static
class Shared:
    """The place of a network that other parts of the program read too; `Bijector.bind` puts it there."""

    def __init__(self, name: str) -> None:
        """Args: the network's name."""
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shared) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def _constraint(support: Any, rank: int) -> Any:
    support = dist.constraints.real if support is None else support
    return dist.constraints.independent(support, rank) if rank else support


def _per_event(log_det: Array | float, value: Array, rank: int) -> Array:
    batch = value.shape[: value.ndim - rank]
    return jnp.zeros(batch, value.dtype) + log_det

"""Distributions that NumPyro lacks, as NumPyro distributions, and their broadcasting to a site's event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.util import promote_shapes

from dgmppl_numpyro import densities, draws


def broadcast(distribution: Any, shape: tuple[int, ...]) -> Any:
    """The distribution with at least the batch axes `shape`, right-aligned."""
    return distribution.expand(jnp.broadcast_shapes(distribution.batch_shape, shape))


class OneHotCategorical(dist.Distribution):  # type: ignore[misc]
    """Indicator vectors with probabilities p."""

    arg_constraints = {"probs": dist.constraints.simplex, "logits": dist.constraints.real_vector}  # noqa: RUF012
    support = dist.constraints.independent(dist.constraints.boolean, 1)
    has_enumerate_support = True

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        """Args: probabilities or logits, classes on the last axis."""
        if (probs is None) == (logits is None):
            raise ValueError("give either probs or logits")
        self.logits = jnp.log(probs) if logits is None else logits
        super().__init__(self.logits.shape[:-1], self.logits.shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Array:
        """Class probabilities."""
        return jax.nn.softmax(self.logits, -1)

    @property
    def mean(self) -> Array:
        """Class probabilities."""
        return self.probs

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Indicator vectors of categorical draws."""
        index = jax.random.categorical(key, self.logits, shape=sample_shape + self.batch_shape)
        return jax.nn.one_hot(index, self.event_shape[0], dtype=self.logits.dtype)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-mass, nats."""
        del intermediates
        return densities.one_hot_categorical_logits(value, self.logits)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Every indicator vector, on a new left axis."""
        size = self.event_shape[0]
        values = jnp.eye(size).reshape((size,) + (1,) * len(self.batch_shape) + (size,))
        return jnp.broadcast_to(values, (size, *self.batch_shape, size)) if expand else values


class DiscretizedLogistic(dist.Distribution):  # type: ignore[misc]
    """A logistic's mass in each of `bins` equal cells of [-1, 1], its tails in the outer ones; values 0..bins-1."""

    arg_constraints = {"loc": dist.constraints.real, "scale": dist.constraints.positive}  # noqa: RUF012
    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("bins",)

    def __init__(
        self, loc: Array | float, scale: Array | float, bins: int, *, validate_args: bool | None = None
    ) -> None:
        """Args: location and scale in units of [-1, 1], and the number of cells."""
        self.loc, self.scale = promote_shapes(loc, scale)
        self.bins = bins
        shape = jax.lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @dist.constraints.dependent_property(is_discrete=True, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> Any:
        """0, ..., bins - 1."""
        return dist.constraints.integer_interval(0, self.bins - 1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """The cell of a logistic draw."""
        x = self.loc + self.scale * jax.random.logistic(key, sample_shape + self.batch_shape)
        return jnp.clip(jnp.floor((x + 1.0) * self.bins / 2.0), 0, self.bins - 1)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-mass of a cell, nats."""
        del intermediates
        return densities.discretized_logistic(value, self.loc, self.scale, self.bins)


class Composed(dist.Distribution):  # type: ignore[misc]
    """A density that is given by functions: of chains, factorizations, bijections and other composed densities.

    Attributes:
        score: value [.., *event] -> log p [..], nats.
        draw: random numbers by entry -> a sample.
        noise: entry -> kind and event shape of the random numbers that a draw takes.
    """

    arg_constraints: ClassVar[Mapping[str, Any]] = {}
    pytree_aux_fields = ("score", "draw", "noise", "_support", "reparameterized")

    def __init__(
        self,
        score: Callable[[Array], Array],
        draw: Callable[[dict[str, Array]], Array],
        noise: Mapping[str, tuple[str, tuple[int, ...]]],
        event_shape: tuple[int, ...],
        support: Any,
        *,
        reparameterized: bool = False,
        batch_shape: tuple[int, ...] = (),
    ) -> None:
        """Args: see the attributes; `support` is the constraint on an event."""
        self.score, self.draw, self.noise = score, draw, noise
        self._support, self.reparameterized = support, reparameterized
        super().__init__(batch_shape, event_shape, validate_args=False)

    @property
    def reparametrized_params(self) -> list[str]:
        """Where draws carry gradients NumPyro wants to see parameters; functions close over theirs."""
        return []

    @property
    def has_rsample(self) -> bool:
        """Whether draws carry gradients."""
        return self.reparameterized

    @dist.constraints.dependent_property  # type: ignore[untyped-decorator]
    def support(self) -> Any:
        """The constraint on an event."""
        return self._support

    def expand(self, batch_shape: Any) -> Composed:
        """The same density with these batch axes."""
        return Composed(
            self.score,
            self.draw,
            self.noise,
            self.event_shape,
            self._support,
            reparameterized=self.reparameterized,
            batch_shape=tuple(batch_shape),
        )

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """log p(value), one number per batch element, nats."""
        del intermediates
        log_p = self.score(value)
        return jnp.broadcast_to(log_p, jnp.broadcast_shapes(log_p.shape, self.batch_shape))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """A draw as a function of standard noise."""
        batch = tuple(sample_shape) + tuple(self.batch_shape)
        entries = {
            name: (kind, batch if kind == "library" else (*batch, *shape)) for name, (kind, shape) in self.noise.items()
        }
        value = self.draw(draws.standard(entries, key, {}))
        return jnp.broadcast_to(value, jnp.broadcast_shapes(value.shape, batch + tuple(self.event_shape)))

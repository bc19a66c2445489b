"""Distributions that Pyro lacks, as Pyro distributions, and their broadcasting to a site's event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from dgmppl_pyro import densities, draws


def broadcast(distribution: Any, shape: tuple[int, ...]) -> Any:
    """The distribution with at least the batch axes `shape`, right-aligned."""
    return distribution.expand(torch.broadcast_shapes(distribution.batch_shape, shape))


class NegativeBinomial(dist.GammaPoisson):  # type: ignore[misc]
    """Poisson(r), r ~ Gamma(concentration, concentration / mean): counts of a given mean."""

    def __init__(self, mean: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        """Args: mean and concentration, positive."""
        mean, concentration = torch.distributions.utils.broadcast_all(mean, concentration)
        super().__init__(concentration, concentration / mean, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> dist.GammaPoisson:
        """The same distribution with more batch axes, by the parameters of Pyro's class, which knows no mean."""
        del _instance
        concentration, rate = self.concentration.expand(batch_shape), self.rate.expand(batch_shape)
        return dist.GammaPoisson(concentration, rate, validate_args=False)


class DiscretizedLogistic(TorchDistribution):  # type: ignore[misc]
    """A logistic's mass in each of `bins` equal cells of [-1, 1], its tails in the outer ones; values 0..bins-1."""

    arg_constraints = {"loc": dist.constraints.real, "scale": dist.constraints.positive}  # noqa: RUF012

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, bins: int, validate_args: bool | None = None
    ) -> None:
        """Args: location and scale in units of [-1, 1], and the number of cells."""
        self.loc, self.scale = torch.distributions.utils.broadcast_all(loc, scale)
        self.bins = bins
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """0, ..., bins - 1."""
        return dist.constraints.integer_interval(0, self.bins - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretizedLogistic:
        """The same distribution with more batch axes."""
        del _instance
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return DiscretizedLogistic(loc, scale, self.bins, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass of a cell, nats."""
        return densities.discretized_logistic(value, self.loc, self.scale, self.bins)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The cell of a logistic draw."""
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(1e-7, 1.0 - 1e-7)
            x = self.loc + self.scale * torch.logit(uniform)
            return ((x + 1.0) * self.bins / 2.0).floor().clamp(0, self.bins - 1)


class Composed(TorchDistribution):  # type: ignore[misc]
    """A density that is given by functions: of chains, factorizations, bijections and other composed densities.

    Attributes:
        score: value [.., *event] -> log p [..], nats.
        draw: random numbers by entry -> a sample.
        noise: entry -> kind and event shape of the random numbers that a draw takes.
        like: a tensor of the dtype and on the device of those numbers; torch's default where None.
    """

    arg_constraints: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        score: Callable[[Tensor], Tensor],
        draw: Callable[[dict[str, Any]], Tensor],
        noise: Mapping[str, tuple[str, tuple[int, ...]]],
        event_shape: tuple[int, ...],
        support: Any,
        *,
        reparameterized: bool = False,
        batch_shape: tuple[int, ...] = (),
        like: Tensor | None = None,
    ) -> None:
        """Args: see the attributes; `support` is the constraint on an event."""
        self.score, self.draw, self.noise, self.like = score, draw, noise, like
        self._support, self.has_rsample = support, reparameterized
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """The constraint on an event."""
        return self._support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Composed:
        """The same density with these batch axes."""
        del _instance
        return Composed(
            self.score,
            self.draw,
            self.noise,
            tuple(self.event_shape),
            self._support,
            reparameterized=self.has_rsample,
            batch_shape=tuple(batch_shape),
            like=self.like,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), one number per batch element, nats."""
        log_p = self.score(value)
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw as a function of standard noise."""
        batch = tuple(sample_shape) + tuple(self.batch_shape)
        entries = {
            name: (kind, batch if kind == "library" else (*batch, *shape)) for name, (kind, shape) in self.noise.items()
        }
        dtype, device = (None, None) if self.like is None else (self.like.dtype, self.like.device)
        value = self.draw(draws.standard(entries, None, {}, dtype, device))
        return value.expand(torch.broadcast_shapes(value.shape, batch + tuple(self.event_shape)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

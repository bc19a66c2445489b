"""Held-out numbers that are legal for a model: log-likelihood or its bound per datum, with its standard error.

Every number is in nats per datum, in the data's own units; for discrete data bits per dimension stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_CHUNK_ELEMENTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """log p of each datum, or what stands for it.

    Attributes:
        values: nats, `[N]`.
        kind: `log_prob`, `elbo`, `iwae`, or `log_predictive`.
        status: `exact`, `bound`, `estimate`.
        particles: draws behind each value; 1 for an exact one.
        why: in words.
        dimensions: D of a datum all of whose elements are discrete in the data's own units, dequantized ones among
            them; the mean over the rows where some entries are missing. None where an element is continuous.
        log_z_error: the standard error of an estimated log Z, nats, which every value shares; None where none is.
    """

    values: Array
    kind: str
    status: str
    particles: int = 1
    why: str = ""
    dimensions: float | None = None
    log_z_error: float | None = None

    @property
    def mean(self) -> float:
        """The mean over the data, in nats."""
        return float(np.mean(self.values))

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over the data, in nats; NaN for one datum."""
        return standard_error(self.values)

    @property
    def bits_per_dim(self) -> float | None:
        """-log p / (D ln 2) of discrete data; None where D is."""
        return None if self.dimensions is None else -self.mean / (self.dimensions * math.log(2.0))

    def to_dict(self) -> dict[str, Any]:
        """Stable JSON data; of discrete data in bits per dimension too, with the standard error in bits."""
        error = self.standard_error
        facts: dict[str, Any] = {
            "metric": self.kind, "status": self.status, "value": self.mean,
            "standard_error": None if math.isnan(error) else error, "unit": "nats per datum",
            "rows": int(self.values.size), "particles": self.particles, "why": self.why,
        }  # fmt: skip
        if self.log_z_error is not None:
            facts["log_z_standard_error"] = self.log_z_error
        if self.dimensions is not None:
            scale = self.dimensions * math.log(2.0)
            facts["bits_per_dim"] = self.bits_per_dim
            facts["bits_per_dim_standard_error"] = None if math.isnan(error) else error / scale
        return facts


def chunks(rows: int, elements: int, particles: int = 1) -> Iterator[slice]:
    """Slices of rows that keep the values of a chunk within a fixed amount of memory.

    Args:
        rows: N.
        elements: numbers per row.
        particles: copies of each row.
    """
    size = max(1, _CHUNK_ELEMENTS // max(1, elements * particles))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def derived_seed(seed: int, number: int) -> int:
    """The seed of the `number`-th of many questions that are asked under one seed; the first has that seed itself."""
    return seed + 1_000_003 * number


def standard_error(values: NDArray[Any] | Sequence[float]) -> float:
    """The standard error of the mean of independent values, s / sqrt(n) with s^2 over n - 1; NaN for fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(np.size(values))) if np.size(values) > 1 else math.nan


def log_mean_exp(values: Array, axis: int = 0) -> Array:
    """Log of the mean of exp over an axis."""
    highest = np.max(values, axis=axis, keepdims=True)
    shifted = np.exp(values - np.where(np.isfinite(highest), highest, 0.0))
    return np.asarray(np.log(np.mean(shifted, axis=axis)) + np.squeeze(highest, axis=axis))


def over_draws(draws: Mapping[str, Array], score: Callable[[Arrays, int], Array], most: int) -> Array:
    """A function of parameters evaluated at posterior draws, thinned evenly.

    Args:
        draws: parameter -> `[chain, draw, *shape]`.
        score: (parameters, number of the draw) -> any shape.
        most: how many draws at most.

    Returns:
        `[S, *shape]`.
    """
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in draws.items()}
    count = len(next(iter(flat.values())))
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))
    return np.stack([score({name: values[place] for name, values in flat.items()}, int(place)) for place in chosen])

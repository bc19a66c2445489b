"""What a data transform is: y = f(x) with its inverse, its log-determinant and its noise (`dgmppl.ir.transforms`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dgmppl.errors import InternalError
from dgmppl.ir.types import Shape, Support

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Transform(ABC):
    """One fitted transform.

    Attributes:
        name: what a spec calls it.
        invertible: whether its log-determinant is part of the model and samples come back through it; otherwise
            the model is one of the transformed values.
        random: whether `forward` draws noise.
        exact: whether `forward` compares or moves elements only, so that numbers of any width will do.
    """

    name: ClassVar[str]
    invertible: ClassVar[bool] = True
    random: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Array, noise: np.random.Generator | None = None) -> Array:
        """f(x), rows first; `noise` is required by random transforms alone."""

    def inverse(self, y: Array) -> Array:
        """The x with f(x) = y.

        Raises:
            InternalError: for a transform that is not invertible.
        """
        raise InternalError(f"{self.name} has no inverse on an array of shape {y.shape}")

    @property
    def domain(self) -> Support | None:
        """Where f is defined, element by element; None for all numbers."""
        return None

    def log_slope(self, x: Array) -> Array:
        """Log |df/dx| of each element, in nats, of x's shape; zero for maps between discrete sets."""
        return np.zeros(x.shape)

    def log_abs_det(self, x: Array, observed: Array | None = None) -> Array:
        """The log-determinant log |det df/dx| of each row, in nats, `[N]`: every f of the table acts elementwise.

        Args:
            x: `[N, *event]`.
            observed: of the same shape; the density is that of the observed elements alone, so only they count.
        """
        slope = self.log_slope(x)
        return _sum_event(slope if observed is None else np.where(observed, slope, 0.0))

    def mask(self, observed: Array) -> Array:
        """Where f(x) is observed, given where x is."""
        return observed

    def inverse_mask(self, observed: Array) -> Array:
        """Where x is observed, given where f(x) is."""
        return observed

    def shape_out(self, shape: Shape) -> Shape:
        """The event's shape after the transform."""
        return shape

    def support_out(self, support: Support | None) -> Support | None:
        """The support after the transform; None stands for integers of unknown range."""
        return support

    def constants(self) -> dict[str, Array]:
        """The fitted arrays by name; they are stored beside the parameters."""
        return {name: value for name, value in self._settings().items() if isinstance(value, np.ndarray)}

    def to_dict(self) -> dict[str, object]:
        """Name and scalar settings as JSON data; the arrays of `constants` are stored by name elsewhere."""
        scalar = {name: value for name, value in self._settings().items() if not isinstance(value, np.ndarray)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in scalar.items()}
        return {"name": self.name, **listed}

    def _settings(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Transform):
            return NotImplemented
        return all(np.array_equal(getattr(self, item.name), getattr(other, item.name)) for item in fields(self))

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.constants()))))


def _sum_event(values: Array) -> Array:
    """Sum over everything but the rows: `[N, *event]` to `[N]`."""
    return np.asarray(values.reshape(values.shape[0], -1).sum(axis=1))


def drawn(noise: np.random.Generator | None, name: str) -> np.random.Generator:
    """The noise that a random transform was given.

    Raises:
        InternalError: it was given none.
    """
    if noise is None:
        raise InternalError(f"the transform {name} draws, and was given no noise")
    return noise

"""Values as JAX expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.values import ValuePrinter, sequence
from dgmppl.ir.kernel import Value
from dgmppl.ir.types import Shape


class JaxValues(ValuePrinter):
    """Values of one function as JAX expressions."""

    backend = "numpyro"
    leaves = "jax.tree.leaves({})"
    functions: ClassVar[Mapping[str, str]] = {
        "exp": "jnp.exp", "expm1": "jnp.expm1", "log": "jnp.log", "log1p": "jnp.log1p", "sqrt": "jnp.sqrt",
        "square": "jnp.square", "abs": "jnp.abs", "sign": "jnp.sign", "sin": "jnp.sin", "cos": "jnp.cos",
        "sigmoid": "jax.nn.sigmoid", "logit": "jax.scipy.special.logit", "softplus": "operations.softplus",
        "tanh": "jnp.tanh", "relu": "jax.nn.relu", "lgamma": "jax.scipy.special.gammaln",
        "erf": "jax.scipy.special.erf", "maximum": "operations.maximum", "minimum": "operations.minimum",
        "clip": "operations.clip", "where": "jnp.where",
    }  # fmt: skip
    reductions: ClassVar[Mapping[str, str]] = {
        "sum": "{X}.sum({axes})", "mean": "{X}.mean({axes})", "max": "{X}.max({axes})", "min": "{X}.min({axes})",
        "logsumexp": "jax.nn.logsumexp({x}, {axes})",
    }  # fmt: skip
    cumulatives: ClassVar[Mapping[str, str]] = {
        "softmax": "jax.nn.softmax", "log_softmax": "jax.nn.log_softmax", "cumsum": "jnp.cumsum",
    }  # fmt: skip
    families: ClassVar[Mapping[str, str]] = {
        "DiscretizedLogistic": "distributions.DiscretizedLogistic",
        "NegativeBinomial": "dist.NegativeBinomial2",
        "OneHotCategorical": "distributions.OneHotCategorical",
    }

    @property
    def _dtype(self) -> str:
        """The dtype argument of a new array; programs leave it to the library."""
        return "" if self.program else f", {self.like}.dtype"

    def full(self, shape: Shape, value: float) -> str:
        """A real array of one value."""
        size = str(shape[0]) if len(shape) == 1 else sequence(shape)
        if value in (0, 1):
            return f"jnp.{'ones' if value else 'zeros'}({size}{self._dtype})"
        return f"jnp.full({size}, {float(value)!r}{self._dtype})"

    def constant(self, values: object, integer: bool) -> str:
        """An array written out."""
        return f"jnp.array({values!r}{'' if integer else self._dtype or ', float'})"

    def cast(self, text: str, dtype: str) -> str:
        """The value as `real` or `integer`."""
        if self.program or dtype == "integer":
            return f"{text}.astype({'int' if dtype == 'integer' else 'float'})"
        return f"{text}.astype({self.like}.dtype)"

    def stop(self, value: Value) -> str:
        """The value without gradient."""
        return f"jax.lax.stop_gradient({self.text(value)})"

    def eye(self, size: int) -> str:
        """The identity."""
        return f"jnp.eye({size}{self._dtype.replace(', ', ', dtype=')})"

    def moveaxis(self, text: str, source: object, target: object) -> str:
        """An axis moved."""
        return f"jnp.moveaxis({text}, {source}, {target})"

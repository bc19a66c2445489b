"""Values as torch expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dgmppl.ir.emission.tables import ATOM
from dgmppl.ir.emission.values import ValuePrinter, sequence
from dgmppl.ir.kernel import Value
from dgmppl.ir.types import Shape


class TorchValues(ValuePrinter):
    """Values of one function as torch expressions."""

    backend = "pyro"
    leaves = "{}.parameters()"
    functions: ClassVar[Mapping[str, str]] = {
        "exp": "torch.exp", "expm1": "torch.expm1", "log": "torch.log", "log1p": "torch.log1p", "sqrt": "torch.sqrt",
        "square": "torch.square", "abs": "torch.abs", "sign": "torch.sign", "sin": "torch.sin", "cos": "torch.cos",
        "sigmoid": "torch.sigmoid", "logit": "torch.logit", "softplus": "operations.softplus",
        "tanh": "torch.tanh", "relu": "torch.relu", "lgamma": "torch.lgamma",
        "erf": "torch.erf", "maximum": "operations.maximum", "minimum": "operations.minimum",
        "clip": "operations.clip", "where": "torch.where",
    }  # fmt: skip
    reductions: ClassVar[Mapping[str, str]] = {
        "sum": "{X}.sum({axes})", "mean": "{X}.mean({axes})", "max": "{X}.amax({axes})", "min": "{X}.amin({axes})",
        "logsumexp": "torch.logsumexp({x}, {axes})",
    }  # fmt: skip
    cumulatives: ClassVar[Mapping[str, str]] = {
        "softmax": "torch.softmax", "log_softmax": "torch.log_softmax", "cumsum": "torch.cumsum",
    }  # fmt: skip
    families: ClassVar[Mapping[str, str]] = {
        "DiscretizedLogistic": "distributions.DiscretizedLogistic",
        "NegativeBinomial": "distributions.NegativeBinomial",
    }

    def full(self, shape: Shape, value: float) -> str:
        """A real tensor of one value."""
        size = str(shape[0]) if len(shape) == 1 else sequence(shape)
        if value in (0, 1):
            return f"{self.like}.new_{'ones' if value else 'zeros'}({size})"
        return f"{self.like}.new_full({sequence(shape)}, {float(value)!r})"

    def constant(self, values: object, integer: bool) -> str:
        """A tensor written out."""
        return (
            f"torch.tensor({values!r}, device={self.like}.device)" if integer else f"{self.like}.new_tensor({values!r})"
        )

    def cast(self, text: str, dtype: str) -> str:
        """The value as `real` or `integer`."""
        return f"{text}.long()" if dtype == "integer" else f"{text}.to({self.like}.dtype)"

    def stop(self, value: Value) -> str:
        """The value without gradient."""
        return f"{self.text(value, ATOM)}.detach()"

    def eye(self, size: int) -> str:
        """The identity."""
        return f"torch.eye({size}, dtype={self.like}.dtype, device={self.like}.device)"

    def moveaxis(self, text: str, source: object, target: object) -> str:
        """An axis moved."""
        return f"torch.movedim({text}, {source}, {target})"

"""A scalar function of one vector and its gradient as one straight line of tensor operations.

Eager automatic differentiation builds a graph at every call, which for small models costs more than the arithmetic.
Here the forward and the backward operations are recorded once and replayed by TorchScript's interpreter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

ValueAndGradient: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


def eager(function: Callable[[Tensor], Tensor]) -> ValueAndGradient:
    """The value and the gradient of a scalar function of [D], by automatic differentiation at each call."""

    def evaluate(point: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = point.detach().requires_grad_()
            value = function(leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    return evaluate


def recorded(function: Callable[[Tensor], Tensor], example: Tensor) -> ValueAndGradient:
    """The same, recorded at an example of the argument.

    What does not depend on the argument is a constant of the record. A function that looks at the argument's values to
    choose its operations cannot be recorded and stays as it is.

    Args:
        function: of [D], without randomness.
        example: [D], where value and gradient are finite.
    """
    evaluate = eager(function)
    script = straight_line(evaluate, example)
    if script is None:
        return evaluate

    def replay(point: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            value, gradient = script(point)
        return value, gradient

    return replay


def straight_line(function: Callable[..., Any], *examples: Tensor) -> Callable[..., Any] | None:
    """A function's operations, those of automatic differentiation in it too, recorded at examples of its arguments.

    What does not depend on the arguments is a constant of the record; a parameter updated in place is read anew.
    None where the function looks at values to choose its operations, or has one that cannot be recorded.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        graph = make_fx(function)(*examples)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        with warnings.catch_warnings():
            # TorchScript is deprecated in favour of compilers that need a C++ toolchain.
            warnings.simplefilter("ignore", DeprecationWarning)
            script: Callable[..., Any] = torch.jit.trace(graph, examples, check_trace=False)
    except (RuntimeError, NotImplementedError):
        return None
    return script


class Scalar(torch.autograd.Function):  # type: ignore[misc]
    """A recorded function as a node of automatic differentiation, for libraries that ask `torch.autograd.grad`."""

    @staticmethod
    def forward(context: Any, point: Tensor, evaluate: ValueAndGradient) -> Tensor:
        """The value at [D]."""
        value, gradient = evaluate(point)
        context.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """The gradient, recorded in `forward`."""
        (gradient,) = context.saved_tensors
        return slopes[0] * gradient, None

"""A scalar function of one vector and its gradient as one straight line of tensor operations.

Eager automatic differentiation builds a graph at every call, which for small models costs more than the arithmetic.
Here the forward and the backward operations are recorded once and replayed by TorchScript's interpreter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

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
    graph = record(function, *examples)
    return None if graph is None else scripted(graph, *examples)


def record(function: Callable[..., Any], *examples: Tensor) -> Callable[..., Any] | None:
    """The graph that `straight_line` replays."""
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        with as_it_is_used():
            graph: Any = make_fx(function)(*examples)
    except (RuntimeError, NotImplementedError):
        return None
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return cast(Callable[..., Any], graph)


def scripted(graph: Callable[..., Any], *examples: Tensor) -> Callable[..., Any] | None:
    """A recorded graph in TorchScript's interpreter, which takes its operations as they are."""
    # TorchScript's own optimizations merge matrix products, whose sums then come in another order.
    with as_it_is_used(), torch.jit.optimized_execution(False):
        try:
            script = torch.jit.trace(graph, examples, check_trace=False)
        except (RuntimeError, NotImplementedError):
            return None

    def replay(*arguments: Tensor) -> Any:
        with torch.jit.optimized_execution(False):
            return script(*arguments)

    return replay


@contextmanager
def as_it_is_used() -> Iterator[None]:
    """Without torch's notes on its own parts: TorchScript is deprecated, for compilers that take a C++ toolchain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


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

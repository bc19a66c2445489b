"""Ordinary differential equations dx/dt = field(x, t): paths, and continuous normalizing flows.

`rk4` is the classical Runge-Kutta rule with a fixed number of steps between two times: error O(steps^-4), whatever the
tolerances. `dopri5` (Dormand and Prince 1980, from torchdiffeq) chooses its steps so that the local error of every
element stays below atol + rtol |x|. All data of a batch take the same steps and the largest error decides, so that no
datum is solved less accurately in company; in other company its solution differs within the tolerance.

Where the tolerance cannot be met (in `MAX_EVALUATIONS`, above rounding, with finite values), the result is NaN as a
whole, and so is its gradient: never a number of unknown accuracy. An adaptive solver reads every step's error on the
host; `rk4` reads nothing and can be recorded.

Gradients are those of the computed numbers, by automatic differentiation through the steps, which keeps them all in
memory. With `adjoint` an adaptive solver keeps only the solution and solves the adjoint equation backwards (Chen et
al. 2018, eq. 3 to 5): memory independent of the steps, gradients within the tolerance of it, and none of higher order.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from dgmppl.errors import RunError
from dgmppl_pyro.bijectors.base import Bijector, Shared

Rate: TypeAlias = Callable[[Tensor, Tensor], Tensor]

FIXED = ("rk4",)
ADAPTIVE = ("dopri5",)
# Of the field, per solution; a step of dopri5 takes six.
MAX_EVALUATIONS = 24_576


@dataclass(frozen=True)
class Solver:
    """How an equation is solved.

    Attributes:
        method: one of `FIXED` or `ADAPTIVE`.
        rtol, atol: local error per step and element, relative and absolute; of adaptive methods.
        steps: between two neighbouring times; of fixed methods.
        adjoint: gradients by the adjoint equation; of adaptive methods.
    """

    method: str = "dopri5"
    rtol: float = 1e-6
    atol: float = 1e-6
    steps: int = 20
    adjoint: bool = False

    def __post_init__(self) -> None:
        if self.method not in FIXED + ADAPTIVE:
            known = ", ".join(FIXED + ADAPTIVE)
            raise RunError(f"the Pyro backend has no solver {self.method}; it has {known}, from torchdiffeq")


def solve(
    field: Callable[..., Tensor],
    start: Tensor,
    times: Tensor,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    method: str = "dopri5",
    steps: int = 20,
    *,
    event: int = 1,
    adjoint: bool = False,
    parameters: tuple[Tensor, ...] = (),
) -> Tensor:
    """The path [.., T, *event] of dx/dt = field(x, t) through x(times[0]) = start.

    Args:
        field: of x [.., *event] and t, [] or [..]; batch axes that it adds are added to the path.
        start: [.., *event].
        times: [T], or [.., T] where data have times of their own; in order, rising or falling, ties allowed.
        rtol: as in `Solver`.
        atol: as in `Solver`.
        method: as in `Solver`.
        steps: as in `Solver`.
        event: how many axes an event has.
        adjoint: as in `Solver`.
        parameters: with `adjoint`, the tensors that the field reads and that gradients are wanted of.
    """
    solver = Solver(method, rtol, atol, steps, adjoint)
    times = times.to(start.dtype)
    if times.ndim > 1 and times.numel() == times.shape[-1]:  # one datum: its times are everybody's
        start = _spread(start, lambda x: x + _behind(times[..., 0], event))
        times = times.reshape(-1)
    start = _spread(start, lambda x: field(x, times[..., 0]))
    if times.ndim == 1:
        path = _solution(lambda t, x: field(x, t), start, times, solver, parameters)
        return path.movedim(0, -event - 1)
    states = [_spread(start, lambda x: x + _behind(times[..., 0], event))]
    for since, width in zip(times.unbind(-1)[:-1], times.diff(dim=-1).unbind(-1), strict=True):

        def rate(s: Tensor, x: Tensor, since: Tensor = since, width: Tensor = width) -> Tensor:
            return _behind(width, event) * field(x, since + s * width)

        unit = torch.arange(2, dtype=start.dtype, device=start.device)
        states.append(_solution(rate, states[-1], unit, solver, parameters)[-1])
    return torch.stack(states, -event - 1)


def flow(
    field: Callable[..., Tensor],
    x: Tensor,
    t0: float,
    t1: float,
    *context: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    method: str = "dopri5",
    steps: int = 20,
    trace: str = "exact",
    probe: Tensor | None = None,
    event: int = 1,
    adjoint: bool = False,
    parameters: tuple[Tensor, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Moves x from t0 to t1 along the field: y [.., *event] and log |det dy/dx| [..], nats.

    The instantaneous change of variables (Chen et al. 2018, eq. 8): the log-determinant is the integral of the trace
    of d field / dx along the path, solved together with it and to the same tolerance.

    Args:
        field: of x [.., *event], t [] and the context.
        x: [.., *event].
        t0: where x is given.
        t1: where y is wanted; below t0 it is the inverse map.
        *context: handed to the field.
        rtol: as in `Solver`.
        atol: as in `Solver`.
        method: as in `Solver`.
        steps: as in `Solver`.
        trace: `exact`, one product with the Jacobian per element of the event, or `hutchinson`, one product with the
            probe: then the log-determinant is an unbiased estimate (Grathwohl et al. 2019, section 3.1).
        probe: noise [.., *event] with mean 0 and covariance 1; without it, every trace is exact.
        event: how many axes an event has.
        adjoint: as in `Solver`.
        parameters: with `adjoint`, the tensors, context among them, that gradients are wanted of.
    """
    times = torch.tensor([t0, t1], dtype=x.dtype, device=x.device)
    x = _spread(x, lambda x: field(x, times[0], *context))
    shape, batch = x.shape[x.ndim - event :], x.shape[: x.ndim - event]
    size, noise = math.prod(shape), probe if trace == "hutchinson" else None

    def rate(t: Tensor, state: Tensor) -> Tensor:
        place = state[..., :size].reshape(batch + shape)
        velocity, divergence = _divergence(lambda x: field(x, t, *context), place, event, noise)
        return torch.cat([velocity.reshape(*batch, size), divergence[..., None]], -1)

    state = torch.cat([x.reshape(*batch, size), x.new_zeros(*batch, 1)], -1)
    moved = _solution(rate, state, times, Solver(method, rtol, atol, steps, adjoint), parameters)[-1]
    return moved[..., :size].reshape(batch + shape), moved[..., size]


def _divergence(
    field: Callable[[Tensor], Tensor], x: Tensor, event: int, probe: Tensor | None
) -> tuple[Tensor, Tensor]:
    """field(x) [.., *event] and the trace of its Jacobian [..], by products of rows e with it: sum_e e J e."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        velocity = field(x)
        # With `create_graph`, no operation below is one that only knows how to run without a graph.
        if probe is None:
            rows = _rows(x, event)
            (products,) = torch.autograd.grad(velocity, x, rows, create_graph=True, is_grads_batched=True)
            trace = (products * rows).sum((0, *range(-event, 0)))
        else:
            rows = probe.expand(x.shape)
            (products,) = torch.autograd.grad(velocity, x, rows, create_graph=True)
            trace = (products * rows).sum(tuple(range(-event, 0))) if event else products * rows
    return (velocity, trace) if wanted else (velocity.detach(), trace.detach())


def _rows(x: Tensor, event: int) -> Tensor:
    """The unit vectors of the event space [D, .., *event]."""
    shape = x.shape[x.ndim - event :]
    size = math.prod(shape)
    eye = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *(1,) * (x.ndim - event), *shape)
    return eye.expand(size, *x.shape)


def _spread(x: Tensor, field: Callable[[Tensor], Tensor]) -> Tensor:
    """x with the batch axes that a function of it has."""
    with torch.no_grad():
        shape = field(x).shape
    return x.expand(torch.broadcast_shapes(x.shape, shape))


def _behind(x: Tensor, event: int) -> Tensor:
    """x [..] with axes for an event on the right."""
    return x.reshape(x.shape + (1,) * event)


# ---- solvers ---------------------------------------------------------------------------------------------------------


def _solution(rate: Rate, state: Tensor, times: Tensor, solver: Solver, parameters: tuple[Tensor, ...]) -> Tensor:
    """The states at the times [T], [T, *state]."""
    if solver.method in FIXED:
        return _classical(rate, state, times, solver.steps)
    if solver.adjoint:
        leaves = tuple(parameter for parameter in parameters if parameter.requires_grad)
        path: Tensor = _Adjoint.apply(rate, solver, times, state, *leaves)
        return path
    return _adaptive(rate, state, times, solver, _largest)


def _classical(rate: Rate, state: Tensor, times: Tensor, steps: int) -> Tensor:
    """The rule of Runge (1895) and Kutta (1901) with weights 1, 2, 2, 1."""
    path = [state]
    for since, width in zip(times[:-1], times.diff() / steps, strict=True):
        for step in range(steps):
            t = since + step * width
            first = rate(t, state)
            second = rate(t + 0.5 * width, state + 0.5 * width * first)
            third = rate(t + 0.5 * width, state + 0.5 * width * second)
            fourth = rate(t + width, state + width * third)
            state = state + width / 6 * (first + 2 * second + 2 * third + fourth)
        path.append(state)
    return torch.stack(path)


class _UnsolvedError(ArithmeticError):
    """The field was evaluated too often."""


def _adaptive(rate: Rate, state: Tensor, times: Tensor, solver: Solver, norm: Callable[[Tensor], Tensor]) -> Tensor:
    """By torchdiffeq, which asserts that steps do not underflow and that values are finite."""
    evaluations = itertools.count(1)

    def counted(t: Tensor, x: Tensor) -> Tensor:
        if next(evaluations) > MAX_EVALUATIONS:
            raise _UnsolvedError
        return rate(t, x)

    distinct, places = torch.unique_consecutive(times, return_inverse=True)
    options = {"norm": norm, "step_t": distinct[-1:]} if len(distinct) > 1 else {"norm": norm}
    try:
        path: Tensor = odeint(
            counted, state, distinct, rtol=solver.rtol, atol=solver.atol, method=solver.method, options=options
        )
    except (AssertionError, _UnsolvedError):
        # With the rate in it, so that the gradient of all that it depends on is NaN too.
        path = ((state + rate(distinct[0], state)) * math.nan).expand(len(distinct), *state.shape)
    return path[places]


def _largest(x: Tensor) -> Tensor:
    return x.abs().max()


class _Adjoint(torch.autograd.Function):  # type: ignore[misc]
    """A solution whose gradient is the solution of the adjoint equation, from the last time back to the first."""

    @staticmethod
    def forward(context: Any, rate: Rate, solver: Solver, times: Tensor, state: Tensor, *parameters: Tensor) -> Tensor:
        """The path [T, *state]."""
        path = _adaptive(rate, state, times, solver, _largest)
        context.rate, context.solver = rate, solver
        context.save_for_backward(times, path, *parameters)
        return path

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(context: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """Integrates (x, a, g) with da/dt = -a df/dx, dg/dt = -a df/dparameters; a jumps at the times."""
        times, path, *parameters = context.saved_tensors
        adjoint, slopes = cotangents[0][-1], [torch.zeros_like(parameter) for parameter in parameters]
        pack, unpack = _packing([path[0], adjoint, *slopes])
        size = 2 * path[0].numel()

        def back(t: Tensor, packed: Tensor) -> Tensor:
            x, adjoint, *_ = unpack(packed)
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                velocity = context.rate(t, x)
                products = torch.autograd.grad(
                    velocity, [x, *parameters], -adjoint, allow_unused=True, materialize_grads=True
                )
            return pack([velocity.detach(), *products])

        def without_parameters(packed: Tensor) -> Tensor:
            # Their error does not feed back into the solution (Kidger, Chen and Lyons 2021).
            return _largest(packed[:size])

        for last in range(len(times) - 1, 0, -1):
            interval, packed = times[[last, last - 1]], pack([path[last], adjoint, *slopes])
            packed = _adaptive(back, packed, interval, context.solver, without_parameters)[-1]
            _, adjoint, *slopes = unpack(packed)
            adjoint = adjoint + cotangents[0][last - 1]
        return None, None, None, adjoint, *slopes


def _packing(
    examples: list[Tensor],
) -> tuple[Callable[[list[Tensor]], Tensor], Callable[[Tensor], list[Tensor]]]:
    """Tensors of these shapes as one vector, and back."""
    shapes = [example.shape for example in examples]

    def pack(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.reshape(-1) for part in parts])

    def unpack(packed: Tensor) -> list[Tensor]:
        parts = packed.split([math.prod(shape) for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    return pack, unpack


# ---- the bijector ----------------------------------------------------------------------------------------------------


class Ode(Bijector):
    """x = z moved along a field from t = 0 to t = 1 (Chen et al. 2018; Grathwohl et al. 2019).

    The log-determinant is exact to the solver's tolerance; with a probe (`probed`) it is an unbiased estimate.
    """

    def __init__(
        self,
        field: nn.Module,
        event: int | tuple[int, ...],
        method: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        steps: int = 20,
        trace: str = "exact",
        adjoint: bool = False,
    ) -> None:
        """Args: the network of (x, t, context), the event's shape, and the options of `flow`."""
        super().__init__(event)
        self.conditioner = field
        self.options = (method, rtol, atol, steps, trace, adjoint)
        self.probe: Tensor | None = None

    def bind(self, networks: Mapping[str, nn.Module]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        bound = copy.copy(self)
        bound._modules = {**self._modules, "conditioner": networks[self.conditioner.name]}
        return bound

    def probed(self, probe: Tensor) -> Ode:
        """The same map; where its trace is `hutchinson`, estimated by this noise [.., *event]."""
        estimated = copy.copy(self)
        estimated.probe = probe
        return estimated

    def velocity(self, x: Tensor, t: Tensor, *context: Tensor) -> Tensor:
        """The field at x [.., *event] and t [..]."""
        return self.conditioner(x, t, *context)

    def push(self, z: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """From t = 0 to t = 1."""
        return self._move(z, 0.0, 1.0, context)

    def pull(self, x: Tensor, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """From t = 1 to t = 0."""
        return self._move(x, 1.0, 0.0, context)

    def _move(self, x: Tensor, t0: float, t1: float, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        method, rtol, atol, steps, trace, adjoint = self.options
        read = (*self.conditioner.parameters(), *context)
        return flow(
            self.conditioner, x, t0, t1, *context, event=len(self.event), probe=self.probe, method=method, rtol=rtol,
            atol=atol, steps=steps, trace=trace, adjoint=adjoint, parameters=read,
        )  # fmt: skip

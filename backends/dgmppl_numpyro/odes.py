"""Ordinary differential equations dx/dt = field(x, t): paths, and continuous normalizing flows.

`rk4` is the classical Runge-Kutta rule with a fixed number of steps between two times: error O(steps^-4), whatever the
tolerances. `dopri5` (Dormand and Prince 1980) and `tsit5` (Tsitouras 2011), from diffrax, choose their steps so that
the local error of every element stays below atol + rtol |x|. All data of a batch take the same steps and the largest
error decides, so that no datum is solved less accurately in company; in other company its solution differs within the
tolerance.

Where the tolerance cannot be met (in `MAX_STEPS`, above rounding, with finite values), the result is NaN as a whole,
and so is its gradient: never a number of unknown accuracy.

Gradients are those of the computed numbers, by automatic differentiation through the steps, of which an adaptive solver
keeps some and recomputes the others; of few numbers it goes forwards along with the solution, several times faster.
They are of first order only, those of `rk4` of any. With `adjoint` an adaptive
solver keeps only the solution and solves the adjoint equation backwards (Chen et al. 2018, eq. 3 to 5): memory
independent of the steps, gradients within the tolerance of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import diffrax
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl.errors import RunError
from dgmppl_numpyro.bijectors.base import Bijector, Shared

Rate: TypeAlias = Callable[[Array, Array], Array]
Read: TypeAlias = "list[Array]"

FIXED = ("rk4",)
ADAPTIVE = ("dopri5", "tsit5")
# Per solution.
MAX_STEPS = 4096
# Start and all that a rate reads, in numbers: so few have their sensitivities solved along with the path.
FEW = 32


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
            raise RunError(f"the NumPyro backend has no solver {self.method}; it has {known}, from diffrax")


def solve(
    field: Callable[..., Array],
    start: Array,
    times: Array,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    method: str = "dopri5",
    steps: int = 20,
    *,
    event: int = 1,
    adjoint: bool = False,
    parameters: tuple[Array, ...] = (),
) -> Array:
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
        parameters: not needed here: what a field reads is found by tracing it.
    """
    del parameters
    solver = Solver(method, rtol, atol, steps, adjoint)
    times = jnp.asarray(times, start.dtype)
    if times.ndim > 1 and times.size == times.shape[-1]:  # one datum: its times are everybody's
        start = _spread(start, lambda x: x + _behind(times[..., 0], event))
        times = times.reshape(-1)
    start = _spread(start, lambda x: field(x, times[..., 0]))
    if times.ndim == 1:
        return jnp.moveaxis(_solution(lambda t, x: field(x, t), start, times, solver), 0, -event - 1)
    start = _spread(start, lambda x: x + _behind(times[..., 0], event))
    unit = jnp.arange(2, dtype=start.dtype)

    def onward(state: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        since, width = interval
        state = _solution(lambda s, x: _behind(width, event) * field(x, since + s * width), state, unit, solver)[-1]
        return state, state

    late = jnp.moveaxis(times, -1, 0)
    _, path = jax.lax.scan(onward, start, (late[:-1], jnp.diff(late, axis=0)))
    return jnp.moveaxis(jnp.concatenate([start[None], path]), 0, -event - 1)


def flow(
    field: Callable[..., Array],
    x: Array,
    t0: float,
    t1: float,
    *context: Array,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    method: str = "dopri5",
    steps: int = 20,
    trace: str = "exact",
    probe: Array | None = None,
    event: int = 1,
    adjoint: bool = False,
    parameters: tuple[Array, ...] = (),
) -> tuple[Array, Array]:
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
        parameters: not needed here: what a field reads is found by tracing it.
    """
    del parameters
    times = jnp.asarray([t0, t1], x.dtype)
    x = _spread(x, lambda x: field(x, times[0], *context))
    shape, batch = x.shape[x.ndim - event :], x.shape[: x.ndim - event]
    size, noise = math.prod(shape), probe if trace == "hutchinson" else None

    def rate(t: Array, state: Array) -> Array:
        place = state[..., :size].reshape(batch + shape)
        velocity, divergence = _divergence(lambda x: field(x, t, *context), place, event, noise)
        return jnp.concatenate([velocity.reshape(*batch, size), divergence[..., None]], -1)

    state = jnp.concatenate([x.reshape(*batch, size), jnp.zeros((*batch, 1), x.dtype)], -1)
    moved = _solution(rate, state, times, Solver(method, rtol, atol, steps, adjoint))[-1]
    return moved[..., :size].reshape(batch + shape), moved[..., size]


def _divergence(field: Callable[[Array], Array], x: Array, event: int, probe: Array | None) -> tuple[Array, Array]:
    """field(x) [.., *event] and the trace of its Jacobian [..], by products of it with columns e: sum_e e J e."""
    if probe is None:
        columns = _columns(x, event)
        velocity, products = jax.vmap(lambda e: jax.jvp(field, (x,), (e,)), out_axes=(None, 0))(columns)
        return velocity, (products * columns).sum((0, *range(-event, 0)))
    column = jnp.broadcast_to(probe, x.shape)
    velocity, product = jax.jvp(field, (x,), (column,))
    return velocity, (product * column).sum(tuple(range(-event, 0)))


def _columns(x: Array, event: int) -> Array:
    """The unit vectors of the event space [D, .., *event]."""
    shape = x.shape[x.ndim - event :]
    size = math.prod(shape)
    eye = jnp.eye(size, dtype=x.dtype).reshape(size, *(1,) * (x.ndim - event), *shape)
    return jnp.broadcast_to(eye, (size, *x.shape))


def _spread(x: Array, field: Callable[[Array], Array]) -> Array:
    """x with the batch axes that a function of it has."""
    return jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, jax.eval_shape(field, x).shape))


def _behind(x: Array, event: int) -> Array:
    """x [..] with axes for an event on the right."""
    return x.reshape(x.shape + (1,) * event)


# ---- solvers ---------------------------------------------------------------------------------------------------------


def _solution(rate: Rate, state: Array, times: Array, solver: Solver) -> Array:
    """The states at the times [T], [T, *state]."""
    if len(times) == 1:
        return state[None]
    if solver.method in FIXED:
        return _classical(rate, state, times, solver.steps)
    return _adaptive(rate, state, times, solver)


def _classical(rate: Rate, state: Array, times: Array, steps: int) -> Array:
    """The rule of Runge (1895) and Kutta (1901) with weights 1, 2, 2, 1."""

    def onward(state: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        since, width = interval

        def step(state: Array, number: Array) -> tuple[Array, None]:
            t = since + number * width
            first = rate(t, state)
            second = rate(t + 0.5 * width, state + 0.5 * width * first)
            third = rate(t + 0.5 * width, state + 0.5 * width * second)
            fourth = rate(t + width, state + width * third)
            return state + width / 6 * (first + 2 * second + 2 * third + fourth), None

        state, _ = jax.lax.scan(step, state, jnp.arange(steps, dtype=times.dtype))
        return state, state

    _, path = jax.lax.scan(onward, state, (times[:-1], jnp.diff(times) / steps))
    return jnp.concatenate([state[None], path])


def _adaptive(rate: Rate, state: Array, times: Array, solver: Solver) -> Array:
    """By diffrax; times out of order make everything NaN."""
    constant, read = jax.closure_convert(rate, times[0], state)
    if solver.adjoint:
        return _followed(constant, solver, times, state, read, _adjoint(solver))
    if state.size + sum(part.size for part in read) <= FEW:
        return _sensitive(constant, solver, times, state, read)
    return _followed(constant, solver, times, state, read, diffrax.RecursiveCheckpointAdjoint())


def _followed(
    rate: Callable[..., Array], solver: Solver, times: Array, state: Array, read: Read, adjoint: Any
) -> Array:
    """The states at the times, of a rate that is given what it reads."""
    gaps = jnp.diff(times) * jnp.sign(times[-1] - times[0])
    ordered = (gaps >= 0).all()
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, read: rate(t, x, *read)),
        {"dopri5": diffrax.Dopri5, "tsit5": diffrax.Tsit5}[solver.method](),
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=state,
        args=read,
        saveat=diffrax.SaveAt(ts=jnp.where(ordered, times, times[0])),
        stepsize_controller=diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=_largest),
        adjoint=adjoint,
        max_steps=MAX_STEPS,
        throw=False,
    )
    solved = ordered & (solution.result == diffrax.RESULTS.successful)
    path: Array = solution.ys * jnp.where(solved, 1.0, jnp.nan)
    return path


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sensitive(rate: Callable[..., Array], solver: Solver, times: Array, state: Array, read: Read) -> Array:
    """A path whose sensitivities are solved along with it: of few numbers they cost less than going back."""
    return _followed(rate, solver, times, state, read, diffrax.ForwardMode())


def _sensitive_forward(
    rate: Callable[..., Array], solver: Solver, times: Array, state: Array, read: Read
) -> tuple[Array, tuple[Any, ...]]:
    def twice(state: Array, read: Read) -> tuple[Array, Array]:
        path = _sensitive.fun(rate, solver, times, state, read)
        return path, path

    slopes, path = jax.jacfwd(twice, (0, 1), has_aux=True)(state, read)
    return path, (times, path, read, slopes)


def _sensitive_backward(
    rate: Callable[..., Array], solver: Solver, kept: tuple[Any, ...], cotangent: Array
) -> tuple[Array, Array, Read]:
    """d path[j] / d times[j] is the rate there; a later beginning takes the start's rate away from all of the path."""
    del solver
    times, path, read, slopes = kept
    of_state, of_read = jax.tree.map(lambda slope: jnp.tensordot(cotangent, slope, cotangent.ndim), slopes)
    rates = jax.vmap(lambda t, x: rate(t, x, *read))(times, path)
    of_times = (cotangent * rates).sum(tuple(range(1, cotangent.ndim)))
    return of_times.at[0].add(-(of_state * rates[0]).sum()), of_state, of_read


_sensitive.defvjp(_sensitive_forward, _sensitive_backward)


def _adjoint(solver: Solver) -> Any:
    """The errors of parameters' gradients do not feed back into the solution (Kidger, Chen and Lyons 2021)."""
    controller = diffrax.PIDController(rtol=solver.rtol, atol=solver.atol, norm=diffrax.adjoint_rms_seminorm)
    return diffrax.BacksolveAdjoint(stepsize_controller=controller)


def _largest(x: Array) -> Array:
    return jnp.abs(x).max()


# ---- the bijector ----------------------------------------------------------------------------------------------------


class Ode(Bijector):
    """x = z moved along a field from t = 0 to t = 1 (Chen et al. 2018; Grathwohl et al. 2019).

    The log-determinant is exact to the solver's tolerance; with a probe (`probed`) it is an unbiased estimate.
    """

    arrays = ("conditioner", "probe")

    def __init__(
        self,
        field: Any,
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
        self.probe: Array | None = None

    def bind(self, networks: Mapping[str, Any]) -> Bijector:
        """The step with its network, where that is shared."""
        if not isinstance(self.conditioner, Shared):
            return self
        bound = copy.copy(self)
        bound.conditioner = networks[self.conditioner.name]
        return bound

    def probed(self, probe: Array) -> Ode:
        """The same map; where its trace is `hutchinson`, estimated by this noise [.., *event]."""
        estimated = copy.copy(self)
        estimated.probe = probe
        return estimated

    def velocity(self, x: Array, t: Array, *context: Array) -> Array:
        """The field at x [.., *event] and t [..]."""
        return self.conditioner(x, t, *context)

    def push(self, z: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """From t = 0 to t = 1."""
        return self._move(z, 0.0, 1.0, context)

    def pull(self, x: Array, context: tuple[Array, ...]) -> tuple[Array, Array]:
        """From t = 1 to t = 0."""
        return self._move(x, 1.0, 0.0, context)

    def _move(self, x: Array, t0: float, t1: float, context: tuple[Array, ...]) -> tuple[Array, Array]:
        method, rtol, atol, steps, trace, adjoint = self.options
        return flow(
            self.conditioner, x, t0, t1, *context, event=len(self.event), probe=self.probe, method=method, rtol=rtol,
            atol=atol, steps=steps, trace=trace, adjoint=adjoint,
        )  # fmt: skip

"""Differential equations against matrix exponentials, a reference integrator, and automatic differentiation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from dgmppl.errors import RunError
from dgmppl_numpyro import odes as jax_odes
from dgmppl_numpyro.bijectors import Shared as JaxShared
from dgmppl_pyro import odes as torch_odes
from dgmppl_pyro.bijectors import Shared as TorchShared
from dgmppl_pyro.gradients import recorded

BACKENDS = ("pyro", "numpyro")
METHODS = [("pyro", "rk4"), ("pyro", "dopri5"), ("numpyro", "rk4"), ("numpyro", "dopri5"), ("numpyro", "tsit5")]
TOLERANCE = 1e-7


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def odes(backend: str) -> Any:
    return torch_odes if backend == "pyro" else jax_odes


def array(backend: str, x: Any) -> Any:
    return torch.as_tensor(np.asarray(x)) if backend == "pyro" else jnp.asarray(x)


def prepared(backend: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one backend as one of NumPy arrays; compiled once in JAX."""
    function = function if backend == "pyro" else jax.jit(function)

    def call(*arguments: Any) -> Any:
        results = function(*(array(backend, x) for x in arguments))
        several = isinstance(results, tuple)
        found = [np.asarray(x.detach() if backend == "pyro" else x) for x in (results if several else (results,))]
        return tuple(found) if several else found[0]

    return call


def run(backend: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The same, called once."""
    return prepared(backend, function)(*arguments)


def sloped(backend: str, function: Callable[[Any], Any]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The value and the gradient of a scalar function."""
    if backend == "numpyro":
        return prepared(backend, jax.value_and_grad(function))

    def call(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        leaf = torch.tensor(x, requires_grad=True)
        value = function(leaf)
        return value.detach().numpy(), torch.autograd.grad(value, leaf)[0].numpy()

    return call


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


MATRIX = np.array([[-0.3, 1.2, 0.1], [-1.0, -0.2, 0.4], [0.0, 0.3, 0.5]])


def rotation(x: Any, t: Any, matrix: Any) -> Any:
    """A linear field."""
    return x @ matrix.T + 0 * t


def swirl(x: Any, t: Any, weights: Any) -> Any:
    """A nonlinear field that depends on time; no library's name occurs in it."""
    h = x @ weights.T + t
    return (1 - 2 / (1 + (2 * h).exp())) @ weights if hasattr(h, "exp") else jnp.tanh(h) @ weights


WEIGHTS = np.random.default_rng(1).normal(size=(4, 3)) / 2


# ---- flows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "method"), METHODS)
def test_a_linear_field_is_a_matrix_exponential(backend: str, method: str) -> None:
    x = rng().normal(size=(2, 4, 3))
    move = prepared(
        backend,
        lambda x, matrix, since, until: odes(backend).flow(
            rotation, x, since, until, matrix, method=method, rtol=TOLERANCE, atol=TOLERANCE, steps=50
        ),
    )
    for since, until in ((0.0, 1.0), (1.5, 0.5)):
        y, log_det = move(x, MATRIX, since, until)
        # Of rk4: h^4 |A|^5 / 120 = 4e-9.
        np.testing.assert_allclose(y, x @ expm(MATRIX * (until - since)).T, atol=10 * TOLERANCE)
        assert log_det.shape == (2, 4)
        np.testing.assert_allclose(log_det, np.trace(MATRIX) * (until - since), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rk4_is_of_fourth_order(backend: str) -> None:
    x, sizes = rng().normal(size=3), np.array([4, 8, 16])
    errors = []
    for steps in sizes.tolist():
        path = run(
            backend,
            lambda x, matrix, n=steps: odes(backend).solve(
                lambda x, t: rotation(x, t, matrix), x, array(backend, [0.0, 2.0]), method="rk4", steps=n
            ),
            x,
            MATRIX,
        )
        errors.append(np.abs(path[1] - expm(2 * MATRIX) @ x).max())
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(order - 4) < 0.2, errors


@pytest.mark.parametrize(("backend", "method"), METHODS[:3])
def test_the_log_determinant_is_that_of_the_computed_map(backend: str, method: str) -> None:
    x = rng().normal(size=3)

    def move(x: Any, weights: Any) -> Any:
        return odes(backend).flow(swirl, x, 0.0, 1.0, weights, method=method, rtol=1e-9, atol=1e-9, steps=40)

    def both(x: Any, weights: Any) -> Any:
        differentiate = torch.autograd.functional.jacobian if backend == "pyro" else lambda f, x: jax.jacrev(f)(x)
        return differentiate(lambda x: move(x, weights)[0], x), move(x, weights)[1]

    jacobian, log_det = run(backend, both, x, WEIGHTS)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-7)


@pytest.mark.parametrize(("method", "tolerance"), [("rk4", 1e-12), ("dopri5", 10 * TOLERANCE)])
def test_the_backends_agree(method: str, tolerance: float) -> None:
    x = rng().normal(size=(5, 3))

    def move(backend: str) -> Callable[..., Any]:
        return lambda x, weights: odes(backend).flow(
            swirl, x, 0.0, 1.0, weights, method=method, rtol=TOLERANCE, atol=TOLERANCE
        )

    for first, second in zip(*(run(backend, move(backend), x, WEIGHTS) for backend in BACKENDS), strict=True):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("backend", "method", "adjoint"),
    [(*both, False) for both in METHODS[:4]] + [("pyro", "dopri5", True), ("numpyro", "dopri5", True)],
)
def test_gradients_are_those_of_the_map(backend: str, method: str, adjoint: bool) -> None:
    x, tolerance = rng().normal(size=(2, 3)), 1e-9

    def value(weights: Any) -> Any:
        y, log_det = odes(backend).flow(
            swirl, array(backend, x), 0.0, 1.0, weights, method=method, rtol=tolerance, atol=tolerance, steps=10,
            adjoint=adjoint, parameters=(weights,),
        )  # fmt: skip
        return (y * array(backend, x)).sum() + log_det.sum()

    evaluate = sloped(backend, value)
    _, found = evaluate(WEIGHTS)
    direction, step = rng().normal(size=WEIGHTS.shape), 1e-4
    ends = [float(evaluate(WEIGHTS + sign * step * direction)[0]) for sign in (1, -1)]
    # Central differences: curvature step^2, and the solver's error over the step.
    np.testing.assert_allclose((found * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_mean_over_all_signs_is_the_exact_trace(backend: str) -> None:
    """With fixed steps the estimate is linear in the trace, so that equality holds to rounding."""
    x = rng().normal(size=3)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))

    def move(x: Any, weights: Any, probe: Any = None) -> Any:
        return odes(backend).flow(swirl, x, 0.0, 1.0, weights, method="rk4", steps=5, trace="hutchinson", probe=probe)

    y, exact = run(backend, move, x, WEIGHTS)
    moved, estimates = run(backend, move, np.broadcast_to(x, signs.shape), WEIGHTS, signs)
    np.testing.assert_allclose(moved, np.broadcast_to(y, moved.shape), rtol=1e-12)
    assert estimates.std() > 1e-3
    np.testing.assert_allclose(estimates.mean(), exact, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal_probes_are_unbiased(backend: str) -> None:
    draws, tolerance = 4000, 1e-5
    probe = rng().normal(size=(draws, 3))
    x = np.broadcast_to(rng().normal(size=3), (draws, 3))

    def move(x: Any, matrix: Any, probe: Any) -> Any:
        return odes(backend).flow(rotation, x, 0.0, 1.0, matrix, trace="hutchinson", probe=probe, rtol=tolerance)

    _, estimates = run(backend, move, x, MATRIX, probe)
    np.testing.assert_allclose(estimates, np.einsum("di,ij,dj->d", probe, MATRIX, probe), atol=10 * tolerance)
    assert abs(estimates.mean() - np.trace(MATRIX)) < 3 * estimates.std() / np.sqrt(draws)


# ---- paths -----------------------------------------------------------------------------------------------------------


def predation(s: Any, t: Any, theta: Any, stack: Callable[[list[Any]], Any]) -> Any:
    """Lotka and Volterra."""
    prey, predators = s[..., 0], s[..., 1]
    return stack([(theta[0] - theta[1] * predators) * prey + 0 * t, (theta[3] * prey - theta[2]) * predators])


THETA, START, YEARS = np.array([0.55, 0.028, 0.8, 0.024]), np.array([33.0, 6.0]), np.arange(0.0, 12.0, 0.75)


def hunted(backend: str, theta: Any) -> Callable[[Any, Any], Any]:
    stack = (lambda parts: torch.stack(parts, -1)) if backend == "pyro" else (lambda parts: jnp.stack(parts, -1))
    return lambda s, t: predation(s, t, theta, stack)


def reference(times: np.ndarray, start: np.ndarray = START) -> np.ndarray:
    solution = solve_ivp(
        lambda t, s: predation(s, t, THETA, np.array),
        (times[0], times[-1]),
        start,
        "DOP853",
        times,
        rtol=1e-13,
        atol=1e-13,
    )
    return solution.y.T


@pytest.mark.parametrize(("backend", "method"), [entry for entry in METHODS if entry[1] != "rk4"])
def test_adaptive_paths_are_within_tolerance(backend: str, method: str) -> None:
    exact = reference(YEARS[:6])
    follow = prepared(
        backend,
        lambda start, times, tolerance: odes(backend).solve(
            hunted(backend, THETA), start, times, tolerance, tolerance, method
        ),
    )
    errors = []
    for tolerance in (1e-4, 1e-6, 1e-8):
        errors.append(np.abs(follow(START, YEARS[:6], tolerance) - exact))
        assert (errors[-1] <= 10 * tolerance * (1 + np.abs(exact))).all()
    assert errors[0].max() > errors[1].max() > errors[2].max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hard_datum_does_not_spoil_an_easy_one_nor_the_reverse(backend: str) -> None:
    tolerance = 1e-6
    starts = np.stack([START, *[[33.0, 20.0]] * 50])
    path = run(
        backend,
        lambda start, times: odes(backend).solve(hunted(backend, THETA), start, times, tolerance, tolerance),
        starts,
        YEARS[:5],
    )
    assert path.shape == (51, 5, 2)
    for found, start in zip(path[:2], starts, strict=False):
        exact = reference(YEARS[:5], start)
        assert (np.abs(found - exact) <= 10 * tolerance * (1 + np.abs(exact))).all()


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_times_may_rise_fall_tie_and_differ_between_data(backend: str, method: str) -> None:
    times = np.array([[0.0, 0.4, 0.4, 1.0], [1.0, 0.2, 0.1, -0.5]])
    start = rng().normal(size=3)

    def solve(start: Any, times: Any) -> Any:
        return odes(backend).solve(
            lambda x, _: x @ array(backend, MATRIX).T, start, times, rtol=TOLERANCE, atol=TOLERANCE, method=method
        )

    exact = np.stack([[expm(MATRIX * (t - row[0])) @ start for t in row] for row in times])
    np.testing.assert_allclose(run(backend, solve, start, times), exact, atol=10 * TOLERANCE)
    follow = prepared(backend, solve)
    for row, path in zip(times, exact, strict=True):
        np.testing.assert_allclose(follow(start, row), path, atol=10 * TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_enters_where_data_have_their_own(backend: str) -> None:
    """dx/dt = t x, of scalars: x(t) = x(s) exp((t^2 - s^2) / 2)."""
    times = np.array([[0.0, 0.5, 1.5], [1.0, 2.0, 0.5]])
    path = run(backend, lambda x, t: odes(backend).solve(lambda x, t: t * x, x, t, event=0), np.array(2.0), times)
    np.testing.assert_allclose(path, 2 * np.exp((times**2 - times[:, :1] ** 2) / 2), rtol=1e-5)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_axes_of_a_field_join_the_path(backend: str, method: str) -> None:
    rates = np.array([[0.5], [-1.0]])[:, None]
    path = run(
        backend,
        lambda start, times, rates: odes(backend).solve(lambda x, _: rates * x, start, times, method=method),
        np.ones((3, 1)),
        np.array([0.0, 1.0]),
        rates,
    )
    assert path.shape == (2, 3, 2, 1)
    np.testing.assert_allclose(path[..., 1, :], np.broadcast_to(np.exp(rates), (2, 3, 1)), rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_time_is_the_start(backend: str) -> None:
    path = run(backend, lambda x, t: odes(backend).solve(lambda x, _: x * x, x, t), np.array([2.0]), np.array([1.0]))
    np.testing.assert_array_equal(path, [[2.0]])


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_paths_are_those_of_the_reference(backend: str, method: str) -> None:
    """Sensitivities of a mechanistic model, by differences of the reference integrator."""
    times = YEARS[:5]

    def value(unknown: Any) -> Any:
        path = odes(backend).solve(
            hunted(backend, unknown[2:]), unknown[:2], array(backend, times), 1e-9, 1e-9, method, 60
        )
        return (path * array(backend, np.arange(10.0).reshape(5, 2))).sum()

    def exact(unknown: np.ndarray) -> float:
        solution = solve_ivp(
            lambda t, s: predation(s, t, unknown[2:], np.array), (times[0], times[-1]), unknown[:2], "DOP853", times,
            rtol=1e-13, atol=1e-13,
        )  # fmt: skip
        return float((solution.y.T * np.arange(10.0).reshape(5, 2)).sum())

    unknown = np.concatenate([START, THETA])
    expected = [(exact(unknown + move) - exact(unknown - move)) / 2e-5 for move in 1e-5 * np.eye(len(unknown))]
    np.testing.assert_allclose(sloped(backend, value)(unknown)[1], expected, rtol=1e-5)


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "adjoint"), [("pyro", False), ("pyro", True), ("numpyro", False)])
def test_what_cannot_be_solved_is_nan_with_its_gradient(backend: str, adjoint: bool) -> None:
    """dx/dt = x^2 from 1 has a pole at t = 1."""

    def end(x: Any) -> Any:
        return odes(backend).solve(lambda x, _: x * x, x, array(backend, [0.0, 0.5, 2.0]), adjoint=adjoint).sum()

    value, gradient = sloped(backend, end)(np.ones(1))
    assert np.isnan(value)
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_times_out_of_order_are_nan(backend: str) -> None:
    path = run(
        backend, lambda x, t: odes(backend).solve(lambda x, _: -x, x, t), np.ones(1), np.array([0.0, 0.5, 0.2, 1.0])
    )
    assert np.isnan(path).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_many_steps_are_nan(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oscillation of a thousand periods."""
    monkeypatch.setattr(torch_odes, "MAX_EVALUATIONS", 300)
    monkeypatch.setattr(jax_odes, "MAX_STEPS", 50)
    turn = array(backend, [[0.0, 2000 * np.pi], [-2000 * np.pi, 0.0]])
    path = run(backend, lambda x, t: odes(backend).solve(lambda x, _: x @ turn, x, t), np.ones(2), np.arange(2.0))
    assert np.isnan(path).all()


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(RunError, match="the Pyro backend has no solver tsit5; it has rk4, dopri5"):
        torch_odes.solve(lambda x, _: x, torch.ones(1), torch.arange(2.0), method="tsit5")
    with pytest.raises(RunError, match="the NumPyro backend has no solver euler"):
        jax_odes.solve(lambda x, _: x, jnp.ones(1), jnp.arange(2.0), method="euler")


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_recording_keeps_the_gradient(method: str) -> None:
    """The fixed steps are recorded; an adaptive solver looks at values and stays as it is."""

    def value(point: torch.Tensor) -> torch.Tensor:
        return torch_odes.solve(hunted("pyro", THETA), point, torch.tensor(YEARS[:2]), method=method, steps=2).sum()

    replay = recorded(value, torch.tensor(START))
    there = START + 1.0
    found, gradient = replay(torch.tensor(there))
    expected, slopes = sloped("pyro", value)(there)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-12)


# ---- the bijector ----------------------------------------------------------------------------------------------------


class TorchField(torch.nn.Module):
    """tanh network of (x, t, context), as programs have them."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Parameter(torch.tensor(x)) for x in (first, second))

    def forward(self, x: torch.Tensor, t: torch.Tensor, *context: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.first.T + t + sum(context)) @ self.second.T


class JaxField(eqx.Module):
    """The same."""

    first: jax.Array
    second: jax.Array

    def __call__(self, x: jax.Array, t: jax.Array, *context: jax.Array) -> jax.Array:
        return jnp.tanh(x @ self.first.T + t + sum(context)) @ self.second.T


def bijector(backend: str, **options: Any) -> Any:
    first, second = rng().normal(size=(5, 3)), 0.5 * rng().normal(size=(3, 5))
    field = TorchField(first, second) if backend == "pyro" else JaxField(jnp.asarray(first), jnp.asarray(second))
    return odes(backend).Ode(field, 3, **{"rtol": TOLERANCE, "atol": TOLERANCE, **options})


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_inverse_undoes_the_map(backend: str) -> None:
    step, z, context = bijector(backend), rng().normal(size=(4, 3)), rng().normal(size=(2, 1, 5))
    x, log_det = run(backend, step.forward_and_log_det, z, context)
    assert x.shape == (2, 4, 3)
    assert log_det.shape == (2, 4)
    back, inverse_log_det = run(backend, step.inverse_and_log_det, x, context)
    np.testing.assert_allclose(back, np.broadcast_to(z, back.shape), atol=20 * TOLERANCE)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=20 * TOLERANCE)
    np.testing.assert_allclose(run(backend, step.inverted().forward, x, context), back, atol=1e-12)


def test_the_bijectors_agree() -> None:
    z = rng().normal(size=(4, 3))
    found = [run(backend, bijector(backend, method="rk4").forward_and_log_det, z) for backend in BACKENDS]
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("adjoint", [False, True])
def test_every_parameter_and_the_context_get_their_gradients(adjoint: bool) -> None:
    """Against fixed steps on the other backend, whose error is (1 / 40)^4 times a small constant."""
    z, context = rng().normal(size=(4, 3)), rng().normal(size=5)
    step = bijector("pyro", adjoint=adjoint)
    given = torch.tensor(context, requires_grad=True)
    x, log_det = step.forward_and_log_det(torch.tensor(z), given)
    found = torch.autograd.grad(x.square().sum() + log_det.sum(), [*step.parameters(), given])

    def value(step: Any, given: Any) -> Any:
        x, log_det = step.forward_and_log_det(jnp.asarray(z), given)
        return jnp.square(x).sum() + log_det.sum()

    other = bijector("numpyro", method="rk4", steps=40)
    slopes = jax.jit(jax.grad(value, (0, 1)))(other, jnp.asarray(context))
    for first, second in zip(found, jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(first, second, atol=100 * TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_probes_estimate_and_shared_fields_are_bound(backend: str) -> None:
    step, z = bijector(backend, method="rk4", steps=5, trace="hutchinson"), rng().normal(size=3)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    exact = run(backend, step.forward_and_log_det, z)[1]
    estimates = run(backend, lambda z, probe: step.probed(probe).forward_and_log_det(z), np.tile(z, (8, 1)), signs)[1]
    assert estimates.std() > 1e-3
    np.testing.assert_allclose(estimates.mean(), exact, rtol=1e-12)
    place = (TorchShared if backend == "pyro" else JaxShared)("velocity")
    shared = odes(backend).Ode(place, 3, method="rk4", steps=5).bind({"velocity": step.conditioner})
    np.testing.assert_allclose(run(backend, shared.forward_and_log_det, z)[1], exact, rtol=1e-12)

"""Paths of differential equations against a reference integrator, and what cannot be integrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from dgmppl.errors import RunError
from dgmppl_numpyro import odes as jax_odes
from dgmppl_pyro import odes as torch_odes
from dgmppl_pyro.gradients import recorded
from tests.laws.integrators import BACKENDS, MATRIX, METHODS, TOLERANCE, array, odes, prepared, rng, run, sloped


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


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

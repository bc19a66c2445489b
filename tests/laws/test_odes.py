"""Flows of differential equations against matrix exponentials and automatic differentiation."""

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
from scipy.linalg import expm

from dgmppl_numpyro.bijectors import Shared as JaxShared
from dgmppl_pyro.bijectors import Shared as TorchShared
from tests.laws.integrators import BACKENDS, MATRIX, METHODS, TOLERANCE, array, odes, prepared, rng, run, sloped


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


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

"""Flow matching against what is known in closed form: between Gaussians, and under exact optimal transport.

With x0 ~ N(0, 1) and x1 ~ N(m, s^2) independent, (x_t, v_t) is Gaussian for every path that is linear in (x0, x1): the
regression's minimum is the conditional mean of v_t, and its value the conditional variance, integrated over t.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import dgmppl as dg
from dgmppl.compiler import Compilation
from dgmppl_numpyro import transport as jax_transport
from dgmppl_pyro import transport as torch_transport
from tests.support import BACKENDS, Values, both, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

Array = NDArray[Any]
Spec = dict[str, Any]
backends = pytest.mark.parametrize("backend", BACKENDS)
MEAN, SCALE = np.array([0.7, -0.4]), np.array([0.5, 1.6])
LOC = "field.body.module.loc"
PATHS = ("linear", "variance_preserving")


def spec(objective: str, field: str = "mlp([6], activation=tanh)", ode: str = "solver=rk4, steps=8") -> Spec:
    """A flow in the plane, trained by `objective`."""
    return {
        "dgmppl": 1,
        "name": "matched",
        "data": {"x": {"shape": [2], "support": "real"}},
        "networks": {"field": field},
        "bijectors": {"flow": f"ode(field, {ode})"},
        "model": {"z": "Normal(0, 1, shape=2)", "x": "flow(z)"},
        "objective": objective,
    }


def noise(compiled: Compilation, rows: int, seed: int) -> Values:
    function = compiled.module.function("loss_model")
    assert function is not None
    return noise_for(function, rows, seed=seed)


def loss(compiled: Compilation, values: Values, x: Array, given: Values) -> tuple[float, Values]:
    """The regression's loss on a batch at given noise, and its gradient."""
    value, gradient, _ = compiled.executable.loss("model", values, {"x": x}, noise=given, gradient=True)
    return value, gradient


# ---- the regression --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_the_loss_is_the_squared_distance_to_the_paths_velocity(path: str) -> None:
    """With a field that is zero everywhere the loss is the mean of |d x_t / dt|^2 at the same noise."""
    compiled = both(spec(f"flow_matching(path={path})", "linear()"))
    values = {name: np.zeros_like(value) for name, value in start(compiled["pyro"]).items()}
    x, given = np.random.default_rng(0).normal(size=(9, 2)), noise(compiled["pyro"], 9, 1)
    z, t = given["z"], given["x.time"][:, None]
    points = {"linear": lambda t: (1 - t) * z + t * x, "variance_preserving": lambda t: np.cos(t) * z + np.sin(t) * x}
    scaled = math.pi / 2 if path == "variance_preserving" else 1.0
    step = 1e-6
    velocity = scaled * (points[path](scaled * t + step) - points[path](scaled * t - step)) / (2 * step)
    expected = np.square(velocity).sum(-1).mean()
    for backend in BACKENDS:
        assert loss(compiled[backend], values, x, given)[0] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("objective", [*(f"flow_matching(path={path})" for path in PATHS),
                                       "flow_matching(coupling=optimal_transport)"])  # fmt: skip
def test_backends_agree(objective: str) -> None:
    compiled = both(spec(objective))
    values = start(compiled["pyro"], jitter=0.4)
    x, given = np.random.default_rng(0).normal(size=(7, 2)), noise(compiled["pyro"], 7, 1)
    first, second = (loss(compiled[backend], values, x, given) for backend in BACKENDS)
    assert first[0] == pytest.approx(second[0], rel=1e-11)
    for name in values:
        np.testing.assert_allclose(first[1][name], second[1][name], rtol=1e-9, atol=1e-11)
        assert np.abs(first[1][name]).max() > 0, name


# ---- between Gaussians -----------------------------------------------------------------------------------------------


class TorchOptimal(nn.Module):
    """E[v_t | x_t] of the linear or the variance-preserving path to N(m, s^2), with m and s to be learned."""

    def __init__(self, inputs: tuple[tuple[int, ...], ...], outputs: int, turning: bool = False) -> None:
        super().__init__()
        del inputs
        self.loc, self.scale = nn.Parameter(torch.zeros(outputs)), nn.Parameter(torch.ones(outputs))
        self.turning = turning

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return _optimal(torch, x, time.reshape(-1, 1), self.loc, self.scale, self.turning)


def _optimal(library: Any, x: Any, t: Any, loc: Any, scale: Any, turning: bool) -> Any:
    """The conditional mean, by the covariance of (v_t, x_t) over the variance of x_t."""
    if not turning:
        variance, covariance = (1 - t) ** 2 + (t * scale) ** 2, t * scale**2 - (1 - t)
        return loc + covariance / variance * (x - t * loc)
    cosine, sine = library.cos(math.pi / 2 * t), library.sin(math.pi / 2 * t)
    variance, covariance = cosine**2 + (sine * scale) ** 2, cosine * sine * (scale**2 - 1)
    return math.pi / 2 * (cosine * loc + covariance / variance * (x - sine * loc))


def least(path: str, scale: Array) -> float:
    """The loss at the minimum: the integral over t of Var(v_t | x_t), summed over elements.

    (x_t, v_t) = A_t (x0, x1) has the conditional variance s^2 det(A_t)^2 / Var(x_t), with det A_t = 1 on the linear
    path and pi / 2 on the variance-preserving one; the integrals are s pi / 2 and s (pi / 2)^2.
    """
    return float((math.pi / 2) ** (1 if path == "linear" else 2) * scale.sum())


@pytest.mark.parametrize("path", PATHS)
def test_the_conditional_mean_of_the_velocity_is_the_minimum(path: str) -> None:
    """Its gradient is zero and its loss the closed form, within 4.5 standard errors over 60 batches; elsewhere not."""
    turning = path == "variance_preserving"
    dg.register_network("optimal_field", torch=TorchOptimal)
    compiled = dg.compile(spec(f"flow_matching(path={path})", f"optimal_field(turning={str(turning).lower()})"),
                          backend="pyro").compiled  # fmt: skip
    generator, optimum = np.random.default_rng(0), {LOC: MEAN, "field.body.module.scale": SCALE}
    moved = {**optimum, LOC: MEAN + 0.3}
    found: dict[str, list[Array]] = {"loss": [], "optimum": [], "moved": []}
    for seed in range(60):
        x, given = generator.normal(MEAN, SCALE, (256, 2)), noise(compiled, 256, seed)
        value, gradient = loss(compiled, optimum, x, given)
        found["loss"].append(np.array([value]))
        found["optimum"].append(np.concatenate(list(gradient.values())))
        found["moved"].append(loss(compiled, moved, x, given)[1][LOC])
    means = {name: np.mean(values, 0) for name, values in found.items()}
    errors = {name: 4.5 * np.std(values, 0) / math.sqrt(60) for name, values in found.items()}
    assert abs(means["loss"][0] - least(path, SCALE)) < errors["loss"][0]
    assert (np.abs(means["optimum"]) < errors["optimum"]).all()
    assert (np.abs(means["moved"]) > errors["moved"]).any()


# ---- couplings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 2), (9,), (8, 2, 3)], ids=str)
def test_the_coupling_is_the_cheapest_assignment(shape: tuple[int, ...]) -> None:
    """Each datum keeps its place, and the base points are those of scipy's solution of the assignment problem."""
    generator = np.random.default_rng(4)
    base, data = generator.normal(size=shape), generator.normal(size=shape)
    flat = [array.reshape(len(array), -1) for array in (data, base)]
    cost = np.square(flat[0][:, None] - flat[1][None]).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    assert (rows == np.arange(len(rows))).all()
    np.testing.assert_array_equal(torch_transport.coupled(torch.tensor(base), torch.tensor(data)), base[columns])
    with jax.enable_x64(True):
        jaxed = jax.jit(jax_transport.coupled)(jax.numpy.asarray(base), jax.numpy.asarray(data))
        np.testing.assert_array_equal(jaxed, base[columns])


@backends
def test_a_translation_is_matched_without_residual(backend: str) -> None:
    """Data that are the base points moved by m, in another order, are paired again, and every velocity is m.

    So a field that is m has loss zero and gradient zero; independent pairs leave a variance.
    """
    compiled = both(spec("flow_matching(coupling=optimal_transport)", "linear()"))[backend]
    values = {name: np.zeros_like(value) for name, value in start(compiled).items()}
    bias = next(name for name in values if name.endswith("bias"))
    values[bias] = np.array([3.0, -1.0])
    given = noise(compiled, 10, 2)
    x = np.random.default_rng(1).permutation(given["z"] + values[bias])
    value, gradient = loss(compiled, values, x, given)
    assert value < 1e-24
    assert all(np.abs(slope).max() < 1e-11 for slope in gradient.values())
    independent = both(spec("flow_matching()", "linear()"))[backend]
    assert loss(independent, values, x, given)[0] > 0.1


# ---- training --------------------------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize(
    "objective", ["flow_matching()", "flow_matching(path=variance_preserving, coupling=optimal_transport)"]
)
def test_a_trained_field_has_a_likelihood(objective: str, backend: str) -> None:
    """Trained without simulation, scored by the ODE: better than the untrained flow, and no better than the truth."""
    generator = np.random.default_rng(0)
    x = generator.normal(MEAN + 2.0, 0.5, (512, 2))
    text = spec(objective, "mlp([32], activation=silu)") | {
        "train": {"optimizer": "adam(1e-2)", "batch_size": 64, "steps": 300, "seed": 0}
    }
    compiled = dg.compile(text, backend=backend)
    fit = compiled.fit(x)
    scores, before = fit.log_prob(x), compiled.initial().log_prob(x)
    truth = -np.log(2 * math.pi * 0.25) - 1.0
    assert np.isfinite(scores).all()
    assert scores.mean() > before.mean() + 2.0
    assert scores.mean() < truth + 4 * scores.std() / math.sqrt(512) + 0.1
    assert np.abs(fit.sample(500, seed=1).mean(0) - x.mean(0)).max() < 0.3

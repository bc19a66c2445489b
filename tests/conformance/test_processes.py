"""Gaussian processes against SciPy, scikit-learn, finite differences and each other."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import halfnorm, multivariate_normal, poisson
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

import dgmppl as dg
from dgmppl.compiler import compile_spec
from dgmppl.errors import RunError, SpecError, UnsupportedError
from tests.support import BACKENDS, Values, both, library_log_density, noise_for

pytestmark = pytest.mark.filterwarnings("ignore")

Array = NDArray[Any]
Spec = dict[str, Any]
backends = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(3)
N = 9
X, COLUMNS, Y = np.sort(RNG.uniform(-3, 3, N)), RNG.normal(size=(N, 2)), RNG.normal(size=N)
VALUES: Values = {"rho": np.array(0.8), "wide": np.array([0.7, 1.9]), "alpha": np.array(1.3), "sigma": np.array(0.2)}


def spec(model: str, **sections: Any) -> Spec:
    """One series over nine inputs, given as one column and as two."""
    return {
        "dgmppl": 1,
        "name": "process",
        "data": {
            "x": {"shape": [N], "whole": True},
            "u": {"shape": [N, 2], "whole": True},
            "y": {"shape": [N], "whole": True},
        },
        "parameters": {
            "rho": "HalfNormal(1)", "wide": "HalfNormal(1, shape=2)", "alpha": "HalfNormal(1)",
            "sigma": "HalfNormal(1)",
        },
        "model": {"y": model},
        "infer": "nuts(warmup=5, draws=5, chains=1)",
        **sections,
    }  # fmt: skip


DATA: Values = {"x": X[None], "u": COLUMNS[None], "y": Y[None]}


def rbf(points: Array, scale: Array | float) -> Array:
    scaled = (points[:, None] if points.ndim == 1 else points) / scale
    return np.exp(-0.5 * ((scaled[:, None] - scaled[None]) ** 2).sum(-1))


RHO, WIDE, ALPHA, SIGMA = (VALUES[name] for name in ("rho", "wide", "alpha", "sigma"))
KERNELS = {
    "one": ("GP(square(alpha) * rbf(x, lengthscale=rho), noise=sigma)", ALPHA**2 * rbf(X, RHO) + SIGMA * np.eye(N)),
    "place": ("GP(rbf(x, 0.5), 0.1)", rbf(X, 0.5) + 0.1 * np.eye(N)),
    "columns": ("GP(rbf(u, lengthscale=wide), noise=sigma)", rbf(COLUMNS, WIDE) + SIGMA * np.eye(N)),
    "scale": ("GP(rbf(u, lengthscale=rho), noise=sigma)", rbf(COLUMNS, RHO) + SIGMA * np.eye(N)),
    "sum": (
        "GP(alpha * rbf(x, rho) + 2 * rbf(u, wide) + 0.5, noise=sigma)",
        ALPHA * rbf(X, RHO) + 2 * rbf(COLUMNS, WIDE) + 0.5 + SIGMA * np.eye(N),
    ),
    "product": (
        "GP(alpha * rbf(x, rho) * rbf(u, 3) + eye(9), noise=sigma)",
        ALPHA * rbf(X, RHO) * rbf(COLUMNS, 3) + np.eye(N) * (1 + SIGMA),
    ),
    "noises": ("GP(rbf(x, rho), noise=0.1 + square(x))", rbf(X, RHO) + np.diag(0.1 + X**2)),
    "stacked": (
        "GP(rbf(stack(x, 2 * x, axis=1), wide), sigma)",
        rbf(np.stack([X, 2 * X], 1), WIDE) + SIGMA * np.eye(N),
    ),
}  # fmt: skip
kernels = pytest.mark.parametrize("kernel", KERNELS)


def read_by(model: str) -> list[str]:
    """The columns that a model names, and y."""
    return [name for name in ("x", "u") if re.search(rf"\b{name}\b", model)] + ["y"]


@kernels
def test_the_density_is_the_multivariate_normal(kernel: str) -> None:
    model, covariance = KERNELS[kernel]
    wanted = multivariate_normal(np.zeros(N), covariance).logpdf(Y)
    prior = sum(halfnorm.logpdf(value).sum() for value in VALUES.values())
    for backend, compiled in both(spec(model)).items():
        call = compiled.executable.call
        assert float(call("log_prob", VALUES, DATA)["value"][0]) == pytest.approx(wanted, abs=1e-9), backend
        assert float(call("log_joint", VALUES, DATA)["value"]) == pytest.approx(wanted + prior, abs=1e-9), backend
        program = compiled.executable.library_model(VALUES)
        library = library_log_density(backend, program, {name: DATA[name] for name in read_by(model)}, VALUES)
        assert library == pytest.approx(wanted + prior, abs=1e-9), backend


def test_the_density_is_that_of_scikit_learn() -> None:
    """Its white kernel's level is the noise's variance, as ours."""
    kernel = ConstantKernel(ALPHA**2) * RBF(RHO) + WhiteKernel(SIGMA)
    regressor = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X[:, None], Y)
    wanted = regressor.log_marginal_likelihood(regressor.kernel_.theta)
    for backend, compiled in both(spec(KERNELS["one"][0])).items():
        found = compiled.executable.call("log_prob", VALUES, DATA)["value"][0]
        assert float(found) == pytest.approx(float(wanted), abs=1e-9), backend


@kernels
def test_a_draw_is_the_root_times_the_noise(kernel: str) -> None:
    model, covariance = KERNELS[kernel]
    compiled = both(spec(model))
    noise = noise_for(compiled["pyro"].module.function("sample"), 1)
    for backend, one in compiled.items():
        drawn = one.executable.call("sample", VALUES, {"x": X[None], "u": COLUMNS[None]}, rows=1, noise=noise)["y"]
        np.testing.assert_allclose(drawn[0], np.linalg.cholesky(covariance) @ noise["y"][0], atol=1e-9, err_msg=backend)


def test_gradients_are_those_of_finite_differences() -> None:
    learned = {"rho": "learned(positive())", "wide": "learned(positive(2))", "alpha": "learned(positive())"}
    model = "GP(square(alpha) * rbf(x, rho) * rbf(u, lengthscale=wide), noise=sigma)"
    trained = spec(model, parameters={**learned, "sigma": "learned(positive())"})
    trained.pop("infer")
    step = 1e-5
    for backend, compiled in both(trained).items():
        loss = compiled.executable.loss
        _, gradient, _ = loss("model", VALUES, DATA, gradient=True)
        assert set(gradient) == set(VALUES)
        for name, slope in gradient.items():
            for place in np.ndindex(slope.shape):
                ends = []
                for sign in (1, -1):
                    moved = VALUES[name].copy()
                    moved[place] *= math.exp(sign * step)  # a step in the logarithm, which is what is differentiated
                    ends.append(loss("model", {**VALUES, name: moved}, DATA)[0])
                assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-7), (backend, name)


@backends
def test_a_covariance_that_rounding_leaves_singular_is_an_error(backend: str) -> None:
    """Nothing is added to the diagonal: two points in one place without noise have no density, and the run says so."""
    twice = spec("GP(rbf(x, lengthscale=100 + 0 * rho), noise=0)")
    compiled = compile_spec(twice, backend=backend)
    data = {**DATA, "x": np.zeros((1, N))}
    assert np.isnan(compiled.executable.call("log_prob", VALUES, data)["value"]).all()
    program = dg.compile(twice, backend=backend)
    with pytest.raises(RunError, match="finite"):
        program.fit(data={"x": np.zeros(N), "u": COLUMNS, "y": Y}, seed=0)


@backends
def test_a_process_serves_arviz(backend: str) -> None:
    program = dg.compile(spec(KERNELS["one"][0]), backend=backend)
    fit = program.fit(data={"x": X, "u": COLUMNS, "y": Y}, seed=0, precision="float64")
    groups = fit.to_arviz("posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", draws=4)
    assert groups["posterior_predictive"]["y"].shape[-1] == N
    assert groups["prior_predictive"]["y"].shape[-1] == N
    assert groups["log_likelihood"]["y"].shape[-1] == 1  # one event


def test_a_latent_process_has_its_density_in_the_joint() -> None:
    """Model: f ~ GP, y_i ~ Poisson(exp f_i); f is sampled beside the parameters."""
    counts = RNG.poisson(2.0, N)
    spec_of_counts = {
        "dgmppl": 1,
        "name": "counts",
        "data": {"x": {"shape": [N], "whole": True}, "y": {"shape": [N], "whole": True, "support": "count"}},
        "parameters": {"rho": "HalfNormal(1)"},
        "model": {"f": "GP(rbf(x, lengthscale=rho), noise=0.1)", "y": "Poisson(exp(f))"},
        "infer": "nuts(warmup=5, draws=5, chains=1)",
    }
    f, data = RNG.normal(size=(1, N)), {"x": X[None], "y": counts[None]}
    wanted = halfnorm.logpdf(RHO) + multivariate_normal(np.zeros(N), rbf(X, RHO) + 0.1 * np.eye(N)).logpdf(f[0])
    wanted += poisson.logpmf(counts, np.exp(f[0])).sum()
    for backend, compiled in both(spec_of_counts).items():
        found = compiled.executable.call("log_joint", {"rho": VALUES["rho"], "f": f}, data)["value"]
        assert float(found) == pytest.approx(float(wanted), abs=1e-9), backend


def test_a_covariance_matrix_may_be_written_out() -> None:
    """A multivariate normal of a covariance is evaluated like a process: by its Cholesky factor."""
    written = {
        "dgmppl": 1,
        "data": {"y": {"shape": [3]}},
        "parameters": {"root": "learned(cholesky(3))"},
        "model": {"y": "MultivariateNormal(zeros(3), covariance_matrix=root @ transpose(root))"},
    }
    root = np.tril(RNG.normal(size=(3, 3)), -1) + np.diag([0.5, 1.2, 0.8])
    y = RNG.normal(size=(4, 3))
    wanted = multivariate_normal(np.zeros(3), root @ root.T).logpdf(y)
    for backend, compiled in both(written).items():
        found = compiled.executable.call("log_prob", {"root": root}, {"y": y})["value"]
        np.testing.assert_allclose(found, wanted, atol=1e-9, err_msg=backend)


@pytest.mark.parametrize(
    ("model", "found"),
    [("GP(rbf(u, lengthscale=[1.0, 2.0, 3.0]), noise=1)", "[9, 2] and [3]"), ("GP(rbf(x, x), 1)", "[9] and [9]")],
)
def test_a_length_scale_is_one_or_one_for_each_column(model: str, found: str) -> None:
    with pytest.raises(SpecError, match=re.escape(f"one length scale, or one for each of D; it finds {found}")):
        compile_spec(spec(model), backend="numpyro")


def test_a_process_over_no_vector_is_refused() -> None:
    model = {"dgmppl": 1, "data": {"y": Y.tolist()}, "parameters": {"s": "HalfNormal(1)"}}
    compiled = compile_spec({**model, "model": {"y": "GP(1.0, noise=s)"}}, backend="numpyro")
    with pytest.raises(UnsupportedError, match=r"a Gaussian process over \[\], which is no vector"):
        _ = compiled.module

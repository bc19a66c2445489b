"""Models with truncated, censored and ordered densities, and with differential equations, on both backends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import expm
from scipy.special import gammaln

import dgmppl as dg
from dgmppl.compiler import compile_spec
from dgmppl.errors import RunError, UnsupportedError
from tests.support import BACKENDS, SPECS, Values, both, library_log_density, noise_for

pytestmark = pytest.mark.filterwarnings("ignore")

Spec = dict[str, Any]


def truncated(of: Any, x: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    return of.logpdf(x) - np.log(of.cdf(high) - of.cdf(low))


# ---- bounds ---------------------------------------------------------------------------------------------------------

Y, LIMIT = np.array([0.4, 1.1, 2.0, 0.0]), np.array([1.0, 1.1, 2.5, 0.5])
VALUES: Values = {
    "m": np.array(1.4), "s": np.array([0.5, 2.2]), "c": np.array([-1.0, 0.3, 0.9]), "d": np.array([0.2, 0.5]),
    "e": np.array([1.2, 3.3]), "f": np.array(1.9), "a": np.array([0.3, 1.3]),
}  # fmt: skip
BOUNDED: Spec = {
    "dgmppl": 1,
    "name": "bounded",
    "data": {"y": Y.tolist(), "u": Y.tolist(), "limit": LIMIT.tolist(), "k": ["p", "q", "q", "p"]},
    "parameters": {
        "m": "Truncated(Normal(0, 1), low=1)",
        "s": "Truncated(Exponential(1), high=3, shape=2)",
        "c": "Ordered(Normal(0, 2), shape=3)",
        "d": "Ordered(Truncated(Normal(0, 2), low=0), shape=2)",
        "e": "Truncated(Uniform(0, 4), low=1, shape=2)",
        "f": "Truncated(Logistic(m, 2), low=m)",
        "a[k]": "Truncated(Normal(0.5, 1), low=0, high=2)",
    },
    "model": {
        "y": "Truncated(Normal(a[k], s[0]), low=0, high=3)",
        "u": "Censored(Normal(m, s[1]), low=0, high=limit)",
    },
    "infer": "nuts(warmup=50, draws=50, chains=1)",
}


def exact_prior() -> float:
    m, s, c, d, e, f, a = VALUES.values()
    half = stats.halfnorm(scale=2)
    parts = [
        truncated(stats.norm(), m, low=1.0),
        truncated(stats.expon(), s, high=3.0),
        gammaln(4) + stats.norm(0, 2).logpdf(c).sum(),
        gammaln(3) + half.logpdf(d).sum(),
        np.full(2, -math.log(3.0)) + 0 * e,
        truncated(stats.logistic(float(m), 2), f, low=float(m)),
        truncated(stats.norm(0.5, 1), a, low=0.0, high=2.0),
    ]
    return float(sum(np.sum(part) for part in parts))


def exact_likelihood() -> NDArray[np.float64]:
    places = VALUES["a"][[0, 1, 1, 0]]
    first = [truncated(stats.norm(at, 0.5), y, 0.0, 3.0) for at, y in zip(places, Y, strict=True)]
    of = stats.norm(1.4, 2.2)
    second = np.where(Y <= 0, of.logcdf(0.0), np.where(Y >= LIMIT, of.logsf(LIMIT), of.logpdf(Y)))
    return np.asarray(first) + second


def test_priors_and_likelihoods_are_those_of_scipy() -> None:
    for backend, compiled in both(BOUNDED).items():
        batch = {"y": Y, "u": Y, "limit": LIMIT, "k": np.array([0, 1, 1, 0])}
        call = compiled.executable.call
        found = call("log_prob", VALUES, batch)["value"]
        np.testing.assert_allclose(found, exact_likelihood(), rtol=1e-9, err_msg=backend)
        total = exact_prior() + exact_likelihood().sum()
        assert float(call("log_joint", VALUES, batch)["value"]) == pytest.approx(total, rel=1e-9), backend
        library = library_log_density(backend, compiled.executable.library_model(VALUES), batch, VALUES)
        assert library == pytest.approx(total, rel=1e-9), backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_text_stands_alone(backend: str) -> None:
    batch = {"y": Y, "u": Y, "limit": LIMIT, "k": np.array([0, 1, 1, 0])}
    compiled = compile_spec(BOUNDED, backend=backend, standalone=True)
    assert f"dgmppl_{backend}" not in compiled.source
    found = float(compiled.executable.call("log_joint", VALUES, batch)["value"])
    assert found == pytest.approx(exact_prior() + exact_likelihood().sum(), rel=1e-9)


def test_draws_are_alike_and_inside_their_bounds() -> None:
    found = {}
    for backend, compiled in both(BOUNDED).items():
        batch = {"limit": LIMIT, "k": np.array([0, 1, 1, 0])}
        function = compiled.module.function("prior")
        assert function is not None
        noise = {**noise_for(function, rows=4), "a": np.array([0.2, 0.9])}  # one for each level
        found[backend] = compiled.executable.call("prior", VALUES, batch, noise=noise)
    for name, draws in found["pyro"].items():
        np.testing.assert_allclose(draws, found["numpyro"][name], rtol=1e-9, err_msg=name)
    draws = found["numpyro"]
    assert draws["m"] >= 1
    assert draws["f"] >= draws["m"]
    assert (np.diff(draws["c"]) > 0).all()
    assert (np.diff(draws["d"]) > 0).all()
    assert (draws["a"] >= 0).all()
    assert (draws["a"] <= 2).all()
    assert (draws["y"] >= 0).all()
    assert (draws["y"] <= 3).all()
    assert (draws["u"] >= 0).all()
    assert (draws["u"] <= LIMIT).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_chains_stay_inside_the_bounds(backend: str) -> None:
    draws = dg.compile(BOUNDED, backend=backend).fit(seed=0).draws
    assert draws is not None
    posterior = draws.posterior
    assert (posterior["m"] >= 1).all()
    assert (posterior["f"] >= posterior["m"]).all()
    assert (posterior["s"] <= 3).all()
    assert (np.diff(posterior["c"], axis=-1) >= 0).all()
    assert all(np.isfinite(values).all() for values in posterior.values())


@pytest.mark.parametrize("density", ["Gamma(2, 1)", "StudentT(3, 0, 1)", "Poisson(2)"])
def test_a_distribution_without_tails_is_named(density: str) -> None:
    spec = {"dgmppl": 1, "data": {"x": [1, 2]}, "model": {"x": f"Truncated({density}, low=0.5)"}}
    with pytest.raises(UnsupportedError, match=r"has no closed form with a derivative in each parameter") as caught:
        _ = compile_spec(spec).module
    assert [problem.code for problem in caught.value.diagnostics] == ["not-lowered"]


# ---- differential equations -----------------------------------------------------------------------------------------

TIMES = np.array([0.0, 0.3, 1.0, 1.4])
LINEAR: Spec = {
    "dgmppl": 1,
    "name": "linear",
    "data": {"t": {"shape": [4], "whole": True}, "y": {"shape": [4, 2], "whole": True}},
    "parameters": {"A": "Normal(0, 1, shape=[2, 2])", "start": "Normal(0, 1, shape=2)"},
    "model": {
        "rate(s)": "A @ s",
        "path": "ode_solve(rate, start, t, rtol=1e-8, atol=1e-8)",
        "y": "Normal(path, 0.5)",
    },
    "train": {"precision": "float64"},
    "infer": "nuts(warmup=5, draws=5, chains=1)",
}
MATRIX, START = np.array([[-0.3, 1.2], [-1.0, 0.2]]), np.array([0.7, -0.4])
OBSERVED = np.random.default_rng(0).normal(size=(4, 2))


def linear(matrix: NDArray[Any], start: NDArray[Any]) -> float:
    path = np.stack([expm(matrix * t) @ start for t in TIMES])
    priors = stats.norm.logpdf(matrix).sum() + stats.norm.logpdf(start).sum()
    return float(stats.norm(path, 0.5).logpdf(OBSERVED).sum() + priors)


def test_a_linear_equation_is_a_matrix_exponential() -> None:
    values, batch = {"A": MATRIX, "start": START}, {"t": TIMES[None], "y": OBSERVED[None]}
    for backend, compiled in both(LINEAR).items():
        found = float(compiled.executable.call("log_joint", values, batch)["value"])
        # 10 tolerances in each element of the path, which enters with slope (y - path) / 0.25.
        assert found == pytest.approx(linear(MATRIX, START), abs=10 * 1e-8 * 8 * 20), backend
        program = compiled.executable.library_model(values)
        assert library_log_density(backend, program, batch, values) == pytest.approx(found, abs=1e-9), backend


TIMED: Spec = {
    "dgmppl": 1,
    "name": "timed",
    "data": {"x": {"shape": []}, "y": {"shape": [2]}},
    "parameters": {"k": "Normal(0, 1)"},
    "model": {
        "rate(s, u)": "k * u * s + x",
        "path": "ode_solve(rate, 1 + x, [0, 0.5, 1.5])",
        "y": "Normal(path[1:], 0.5)",
    },
    "infer": "nuts(warmup=5, draws=5, chains=1)",
}


def test_a_rate_of_time_that_differs_between_data() -> None:
    """ds/du = k u s + x through 1 + x, at k = 0 a line."""
    x, y = np.array([0.3, -0.2, 1.0]), np.random.default_rng(1).normal(size=(3, 2))
    for backend, compiled in both(TIMED).items():
        path = 1 + x[:, None] * (1 + np.array([0.5, 1.5]))
        found = compiled.executable.call("log_prob", {"k": np.array(0.0)}, {"x": x, "y": y})["value"]
        np.testing.assert_allclose(found, stats.norm(path, 0.5).logpdf(y).sum(-1), atol=1e-4, err_msg=backend)
        still = {"x": np.zeros(3), "y": y}
        path = np.broadcast_to(np.exp(0.7 * np.array([0.5, 1.5]) ** 2 / 2), (3, 2))
        found = compiled.executable.call("log_prob", {"k": np.array(0.7)}, still)["value"]
        np.testing.assert_allclose(found, stats.norm(path, 0.5).logpdf(y).sum(-1), atol=1e-4, err_msg=backend)


POLE: Spec = {
    "dgmppl": 1,
    "name": "pole",
    "data": {"y": [1.2, 1.5]},
    "parameters": {"a": "Normal(0, 1)"},
    "model": {"rate(s)": "a * s * s", "path": "ode_solve(rate, [1.0], [0.0, 1.0])", "y": "Normal(path[1, 0], 0.3)"},
    "infer": "nuts(warmup=20, draws=20, chains=1)",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_solved_is_a_rejected_proposal(backend: str) -> None:
    """ds/dt = a s^2 through 1 is 1 / (1 - a t), which has its pole before t = 1 where a > 1."""
    compiled = both(POLE)[backend]
    data = {"y": np.array([1.2, 1.5])}
    assert np.isnan(compiled.executable.call("log_joint", {"a": np.array(1.5)}, data)["value"])
    draws = dg.compile(POLE, backend=backend).fit(seed=0).draws
    assert draws is not None
    assert (draws.posterior["a"] < 1).all()
    assert np.isfinite(draws.posterior["a"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_is_never_solved_says_so(backend: str) -> None:
    spec = {**POLE, "model": {**POLE["model"], "rate(s)": "s * sqrt(-1 - a * a)"}}
    with pytest.raises(RunError, match="no starting point"):
        dg.compile(spec, backend=backend).fit(seed=0)


def test_the_canonical_equation_in_single_precision() -> None:
    """Both backends agree to ten tolerances, at the reference posterior's mean."""
    values = {
        "theta": np.array([0.5469, 0.0277, 0.8001, 0.0241]), "start": np.array([34.04, 5.936]),
        "sigma": np.array([0.248, 0.251]),
    }  # fmt: skip
    found = {}
    for backend, compiled in both(SPECS / "lotka_volterra.yaml").items():
        table = np.loadtxt(SPECS / "lynx_hare.csv", delimiter=",", skiprows=1)
        batch = {"t": table[None, :, 0], "y": table[None, :, 1:]}
        found[backend] = {
            dtype: compiled.executable.call(
                "log_joint", {name: value.astype(dtype) for name, value in values.items()},
                {name: value.astype(dtype) for name, value in batch.items()},
            )["value"] for dtype in ("float64", "float32")
        }  # fmt: skip
    # 42 elements of log(path), each within ten tolerances and with a slope of at most 3 / sigma.
    bound = 10 * 1e-6 * 42 * 3 / 0.25
    assert float(found["pyro"]["float64"]) == pytest.approx(float(found["numpyro"]["float64"]), abs=bound)
    for single in (values["float32"] for values in found.values()):
        assert float(single) == pytest.approx(float(found["pyro"]["float64"]), abs=10 * bound)

"""Latents that an engine samples beside the parameters: densities by hand and by library, posteriors in closed form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import dgmppl as dg
from dgmppl.compiler import Compilation
from tests.support import BACKENDS, both, library_log_density

with warnings.catch_warnings():
    # 0.23 announces 1.0 once a day.
    warnings.simplefilter("ignore")
    import arviz as az

Array = NDArray[np.float64]
Values = dict[str, Array]
Reference = Callable[[Values], float]

COUNTS = [1, 0, 3, 2]
LOG_COUNTS = np.array(COUNTS, float)


def spec(data: dict[str, Any], parameters: dict[str, str], model: dict[str, str], infer: str = "nuts()") -> Any:
    return {"dgmppl": 1, "name": "joint", "data": data, "parameters": parameters, "model": model, "infer": infer}


ROWS = spec(
    {"n": {"values": COUNTS, "support": "count"}},
    {"mu": "Normal(0, 1)", "tau": "HalfNormal(1)"},
    {"z": "Normal(mu, tau)", "n": "Poisson(exp(z))"},
)
SERIES = spec(
    {"n": {"values": COUNTS, "support": "count", "whole": True}},
    {"s": "HalfNormal(1)"},
    {"z[0]": "Normal(0, 1)", "z[t]": "Normal(0.9 * z[t-1], s)", "n[t]": "Poisson(exp(z[t]))"},
)
FACTORS = spec(
    {"x": {"values": [[1.0, 0.0], [3.0, 2.0], [-1.0, 0.5]]}},
    {"W": "Normal(0, 1, shape=[2, 2])", "sigma": "HalfNormal(1)"},
    {"z": "Normal(0, 1, shape=2)", "x": "StudentT(4, W @ z, sigma)"},
)
POSITIVE = spec(
    {"y": {"values": [1.0, 0.5, 2.0]}},
    {"m": "Normal(0, 1)"},
    {"v": "Gamma(2, 1)", "y": "Normal(m, v)"},
)
SIMPLEX = spec(
    {"y": {"values": [1.0, 0.5, 2.0]}},
    {"m": "Normal(0, 1)"},
    {"w": "Dirichlet([1.0, 2.0, 3.0])", "y": "Normal(m * w[0] + w[1], 1)"},
)
SURVEY = spec(
    {"x": {"values": [None, 1.0, -0.5, None, 2.0]}, "y": {"values": [1.0, None, 0.3, 2.0, 1.5]}},
    {"m": "Normal(0, 1)", "s": "HalfNormal(1)", "b": "Normal(0, 1)"},
    {"x": "Normal(m, s)", "y": "Normal(b * x, 1)"},
)
VECTORS = spec(
    {"x": {"values": [[1.0, None], [None, None], [0.5, 2.0]]}, "y": {"values": [1.0, 2.0, 0.0]}},
    {"m": "Normal(0, 1, shape=2)"},
    {"x": "MultivariateNormal(m, scale_tril=[[1.0, 0.0], [0.5, 1.0]])", "y": "Normal(x[0] * x[1], 1)"},
)
WALK = spec(
    {"x": {"values": [1.0, None, None, 2.0], "whole": True}},
    {"a": "Normal(0, 1)"},
    {"x[0]": "Normal(0, 1)", "x[t]": "Normal(a * x[t-1], 0.5)"},
)
SUMMED = spec(
    {"y": {"values": [1.0, -0.5, 2.0]}},
    {"m": "HalfNormal(1)"},
    {"k": "Categorical([0.3, 0.7])", "z": "StudentT(3, 0, m)", "y": "Normal(z * k, 1)"},
)


PATHS = spec(
    {"x": {"values": [[1.0, None, 3.0], [2.0, 1.0, None]]}},
    {"s": "HalfNormal(1)"},
    {"x[0]": "Normal(0, 1)", "x[t]": "Normal(x[t-1], s)"},
)
CLASH = spec(
    {"x": {"values": [1.0, None, 3.0]}, "y": {"values": [1.0, 2.0, 0.0]}},
    {"x_missing": "HalfNormal(1)", "x_filled": "Normal(0, 1)"},
    {"x": "Gamma(x_missing, 1)", "y": "Normal(x + x_filled * observed(x), 1)"},
)
IMAGE = spec(
    {"y": {"values": [1.0, 2.0]}},
    {"m": "HalfNormal(1)"},
    {"e": "Normal(0, m)", "z": "f(e)", "y": "Normal(z, 1)"},
) | {"bijectors": {"f": "[exp()]"}}


FINITE = spec(
    {"x": {"values": [1, None, 0, None], "support": "binary"}, "y": {"values": [1.0, 2.0, 0.0, -1.0]}},
    {"m": "Normal(0, 1)", "p": "Beta(2, 1)"},
    {"x": "Bernoulli(p)", "y": "Normal(m * x, 1)"},
)


def normal(x: Any, loc: Any, scale: Any) -> float:
    return float(np.sum(stats.norm(loc, scale).logpdf(x)))


def half_normal(x: Any) -> float:
    return float(stats.halfnorm.logpdf(x))


def rows(v: Values) -> float:
    latents = normal(v["mu"], 0, 1) + half_normal(v["tau"]) + normal(v["z"], v["mu"], v["tau"])
    return latents + float(stats.poisson(np.exp(v["z"])).logpmf(LOG_COUNTS).sum())


def series(v: Values) -> float:
    (z,) = v["z"]
    latents = half_normal(v["s"]) + normal(z[0], 0, 1) + normal(z[1:], 0.9 * z[:-1], v["s"])
    return latents + float(stats.poisson(np.exp(z)).logpmf(LOG_COUNTS).sum())


def factors(v: Values) -> float:
    x, z, w = np.array(FACTORS["data"]["x"]["values"]), v["z"], v["W"]
    latents = normal(w, 0, 1) + half_normal(v["sigma"]) + normal(z, 0, 1)
    return latents + float(stats.t(4, z @ w.T, v["sigma"]).logpdf(x).sum())


def positive(v: Values) -> float:
    latents = normal(v["m"], 0, 1) + float(stats.gamma(2).logpdf(v["v"]).sum())
    return latents + normal(POSITIVE["data"]["y"]["values"], v["m"], v["v"])


def simplex(v: Values) -> float:
    w = v["w"]
    latents = normal(v["m"], 0, 1) + sum(float(stats.dirichlet([1, 2, 3]).logpdf(row)) for row in w)
    return latents + normal(SIMPLEX["data"]["y"]["values"], v["m"] * w[:, 0] + w[:, 1], 1)


def filled(column: list[Any], entries: Array) -> Array:
    """A column whose gaps are filled one after the other."""
    whole = np.array(column, float)
    whole[np.isnan(whole)] = entries
    return whole


def survey(v: Values) -> float:
    x, y = filled(SURVEY["data"]["x"]["values"], v["x.missing"]), np.array(SURVEY["data"]["y"]["values"], float)
    there = ~np.isnan(y)
    latents = normal(v["m"], 0, 1) + half_normal(v["s"]) + normal(v["b"], 0, 1) + normal(x, v["m"], v["s"])
    return latents + normal(y[there], v["b"] * x[there], 1)


def vectors(v: Values) -> float:
    x, root = filled(VECTORS["data"]["x"]["values"], v["x.missing"]), np.array([[1.0, 0.0], [0.5, 1.0]])
    latents = normal(v["m"], 0, 1) + float(stats.multivariate_normal(v["m"], root @ root.T).logpdf(x).sum())
    return latents + normal(VECTORS["data"]["y"]["values"], x[:, 0] * x[:, 1], 1)


def walk(v: Values) -> float:
    x = filled(WALK["data"]["x"]["values"], v["x.missing"])
    return normal(v["a"], 0, 1) + normal(x[0], 0, 1) + normal(x[1:], v["a"] * x[:-1], 0.5)


def summed(v: Values) -> float:
    y, z = np.array(SUMMED["data"]["y"]["values"]), v["z"]
    latents = half_normal(v["m"]) + float(stats.t(3, 0, v["m"]).logpdf(z).sum())
    return latents + float(np.log(0.3 * stats.norm(0, 1).pdf(y) + 0.7 * stats.norm(z, 1).pdf(y)).sum())


def paths(v: Values) -> float:
    x = filled(PATHS["data"]["x"]["values"], v["x.missing"])
    return half_normal(v["s"]) + normal(x[:, 0], 0, 1) + normal(x[:, 1:], x[:, :-1], v["s"])


def clash(v: Values) -> float:
    x, there = filled(CLASH["data"]["x"]["values"], v["x.missing"]), np.array([1.0, 0.0, 1.0])
    latents = half_normal(v["x_missing"]) + normal(v["x_filled"], 0, 1)
    latents += float(stats.gamma(v["x_missing"]).logpdf(x).sum())
    return latents + normal(CLASH["data"]["y"]["values"], x + v["x_filled"] * there, 1)


def image(v: Values) -> float:
    latents = half_normal(v["m"]) + normal(np.log(v["z"]), 0, v["m"]) - float(np.log(v["z"]).sum())
    return latents + normal(IMAGE["data"]["y"]["values"], v["z"], 1)


def finite(v: Values) -> float:
    y = np.array(FINITE["data"]["y"]["values"])
    one, none = v["p"] * stats.norm(v["m"], 1).pdf(y), (1 - v["p"]) * stats.norm(0, 1).pdf(y)
    likelihood = np.log(np.array([one[0], one[1] + none[1], none[2], one[3] + none[3]]))
    return normal(v["m"], 0, 1) + float(stats.beta(2, 1).logpdf(v["p"])) + float(likelihood.sum())


CASES: dict[str, tuple[Any, Reference]] = {
    "rows": (ROWS, rows),
    "series": (SERIES, series),
    "factors": (FACTORS, factors),
    "positive": (POSITIVE, positive),
    "simplex": (SIMPLEX, simplex),
    "survey": (SURVEY, survey),
    "vectors": (VECTORS, vectors),
    "walk": (WALK, walk),
    "summed": (SUMMED, summed),
    "paths": (PATHS, paths),
    "clash": (CLASH, clash),
    "image": (IMAGE, image),
    "finite": (FINITE, finite),
}


def point(compiled: Compilation) -> Values:
    """A value of everything that the engine moves, inside its support."""
    generator = np.random.default_rng(1)
    moved: Values = {}
    for one in compiled.module.parameters:
        noise = generator.standard_normal(one.shape)
        if one.support.kind == "simplex":
            moved[one.name] = np.exp(noise) / np.exp(noise).sum(-1, keepdims=True)
        else:
            moved[one.name] = {"real": noise, "unit": 1 / (1 + np.exp(noise))}.get(
                one.support.kind, np.exp(0.5 * noise)
            )
    return moved


@pytest.mark.parametrize("name", CASES)
def test_log_joint_is_the_density_by_hand_and_the_librarys(name: str) -> None:
    declared, reference = CASES[name]
    for backend, compiled in both(declared).items():
        values = point(compiled)
        batch = training_rows(declared, backend)
        expected = reference(values)
        (found,) = compiled.executable.call("log_joint", values, batch).values()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        if name in {"summed", "finite"}:
            continue  # the library enumerates nothing in a plain trace
        arguments = {key.replace(".", "_"): array for key, array in batch.items()}
        model = compiled.executable.library_model(values)
        np.testing.assert_allclose(library_log_density(backend, model, arguments, values), expected, rtol=1e-9)


def training_rows(declared: Any, backend: str) -> dict[str, NDArray[Any]]:
    from dgmppl.api.inputs import of_part

    program = dg.compile(declared, backend=backend)
    data = program.load_data()
    return dict(of_part(program.compiled.program, data, data.train).arrays)


# ---- posteriors -----------------------------------------------------------------------------------------------------

NUTS = "nuts(warmup=300, draws=700, chains=2)"
# One linear-Gaussian factor: the coefficients of the unknowns, the value of their sum, and its standard deviation.
Line = tuple[dict[int, float], float, float]


def gaussian(size: int, lines: list[Line]) -> tuple[Array, Array]:
    """Mean and standard deviation of the unknowns of a linear-Gaussian model."""
    precision, pull = np.zeros((size, size)), np.zeros(size)
    for coefficients, value, sd in lines:
        row = np.zeros(size)
        row[list(coefficients)] = list(coefficients.values())
        precision += np.outer(row, row) / sd**2
        pull += row * value / sd**2
    covariance = np.linalg.inv(precision)
    return covariance @ pull, np.sqrt(np.diag(covariance))


def agree(draws: Array, mean: Array, sd: Array) -> None:
    """Means and standard deviations of `[chain, draw, D]` within four Monte Carlo standard errors; R-hat near one."""
    for place in range(draws.shape[-1]):
        one = draws[..., place].astype(np.float64)
        assert abs(one.mean() - mean[place]) < 4 * float(az.mcse(one)), place
        assert abs(one.std() - sd[place]) < 4 * float(az.mcse(one, method="sd")), place
        assert float(az.rhat(one)) < 1.03, place


def stacked(posterior: dict[str, Array], *names: str) -> Array:
    """Draws of several unknowns side by side, `[chain, draw, D]`."""
    return np.concatenate([posterior[name].reshape(*posterior[name].shape[:2], -1) for name in names], -1)


HOLES = [0.4, None, 1.1, None, -0.6, 2.0]
ANSWERS = [0.1, 1.3, None, -0.2, 0.0, 1.7]


def conjugate_survey() -> tuple[Any, tuple[str, ...], list[Line]]:
    """m ~ N(0, 1), x ~ N(m, 1), y ~ N(0.8 x, 0.5): the unknowns are m and the two gaps."""
    declared = spec(
        {"x": {"values": HOLES}, "y": {"values": ANSWERS}},
        {"m": "Normal(0, 1)"},
        {"x": "Normal(m, 1)", "y": "Normal(0.8 * x, 0.5)"},
        NUTS,
    )
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0)]
    lines += [({0: 1.0}, x, 1.0) for x in HOLES if x is not None]
    for number, place in enumerate((1, 3), 1):
        answer = ANSWERS[place]
        assert answer is not None
        lines += [({number: 1.0, 0: -1.0}, 0.0, 1.0), ({number: 0.8}, answer, 0.5)]
    return declared, ("m", "x.missing"), lines


def conjugate_rows() -> tuple[Any, tuple[str, ...], list[Line]]:
    """mu ~ N(0, 1), z ~ N(mu, 1) for each row, log y ~ N(z, 0.5)."""
    logs = [0.3, -1.0, 1.5]
    data = {"y": {"values": [math.exp(one) for one in logs]}}
    model = {"z": "Normal(mu, 1)", "y": "LogNormal(z, 0.5)"}
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0)]
    for number, one in enumerate(logs, 1):
        lines += [({number: 1.0, 0: -1.0}, 0.0, 1.0), ({number: 1.0}, one, 0.5)]
    return spec(data, {"mu": "Normal(0, 1)"}, model, NUTS), ("mu", "z"), lines


def conjugate_series() -> tuple[Any, tuple[str, ...], list[Line]]:
    """z_0 ~ N(0, 1), z_t ~ N(0.9 z_{t-1}, 0.5), log y_t ~ N(mu + z_t, 0.7)."""
    logs = [0.3, -1.0, 1.5, 0.2]
    data = {"y": {"values": [math.exp(one) for one in logs], "whole": True}}
    model = {"z[0]": "Normal(0, 1)", "z[t]": "Normal(0.9 * z[t-1], 0.5)", "y[t]": "LogNormal(mu + z[t], 0.7)"}
    lines: list[Line] = [({0: 1.0}, 0.0, 1.0), ({1: 1.0}, 0.0, 1.0)]
    lines += [({number: 1.0, number - 1: -0.9}, 0.0, 0.5) for number in range(2, 5)]
    lines += [({0: 1.0, number: 1.0}, one, 0.7) for number, one in enumerate(logs, 1)]
    return spec(data, {"mu": "Normal(0, 1)"}, model, NUTS), ("mu", "z"), lines


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [conjugate_survey, conjugate_rows, conjugate_series])
def test_conjugate_posteriors(case: Any, backend: str) -> None:
    declared, names, lines = case()
    fit = dg.compile(declared, backend=backend).fit(seed=1)
    assert fit.draws is not None
    mean, sd = gaussian(1 + max(max(coefficients) for coefficients, _, _ in lines), lines)
    agree(stacked(fit.draws.posterior, *names), mean, sd)


TRUTH = {"m": 0.5, "s": 1.2, "a": 0.3, "b": 0.8, "sigma": 0.6}


def simulated_survey(rows: int = 40, seed: int = 3) -> tuple[Array, Array]:
    """x and y of a survey; x is missing more often where y is large, y now and then: at random, given the rest.

    No x is missing because of itself, nor where y is missing too.
    """
    generator = np.random.default_rng(seed)
    x = generator.normal(TRUTH["m"], TRUTH["s"], rows)
    y = TRUTH["a"] + TRUTH["b"] * x + TRUTH["sigma"] * generator.standard_normal(rows)
    lost = generator.uniform(size=rows) < 1 / (1 + np.exp(-2 * (y - 1)))
    silent = ~lost & (generator.uniform(size=rows) < 0.1)
    return np.where(lost, np.nan, x), np.where(silent, np.nan, y)


def marginal(theta: Array, x: Array, y: Array) -> Array:
    """log p(theta, data) over theta = (m, log s, a, b, log sigma), [.., 5], the gaps of x integrated out by hand."""
    m, log_s, a, b, log_sigma = (theta[..., place, None] for place in range(5))
    s, sigma = np.exp(log_s), np.exp(log_sigma)
    known, answered = ~np.isnan(x), ~np.isnan(y)
    whole, alone = known & answered, ~known & answered
    parts = [_normal(part, 0, 2) for part in (m, a, b)]
    parts += [_normal(s, 0, 1) + log_s, _normal(sigma, 0, 1) + log_sigma, _normal(x[known], m, s)]
    parts += [_normal(y[whole], a + b * x[whole], sigma), _normal(y[alone], a + b * m, np.hypot(sigma, b * s))]
    return np.sum([part.sum(-1) for part in parts], 0)


def _normal(x: Any, loc: Any, scale: Any) -> Array:
    return np.asarray(-0.5 * ((x - loc) / scale) ** 2 - np.log(scale))


@pytest.mark.parametrize("backend", ["numpyro", pytest.param("pyro", marks=pytest.mark.slow)])
def test_a_survey_with_gaps_at_random(backend: str) -> None:
    """The draws satisfy Stein's identities of the posterior in which the gaps are integrated out by hand.

    E[d log p / d theta_i] = 0 and E[theta_j d log p / d theta_i] = -1 (i = j) or 0, over the density p of the draws.
    The gaps have their normal conditional given each draw of the parameters.
    """
    x, y = simulated_survey()
    declared = spec(
        {"x": {"shape": []}, "y": {"shape": []}},
        {"m": "Normal(0, 2)", "s": "HalfNormal(1)", "a": "Normal(0, 2)", "b": "Normal(0, 2)", "sigma": "HalfNormal(1)"},
        {"x": "Normal(m, s)", "y": "Normal(a + b * x, sigma)"},
        "nuts(warmup=250, draws=400, chains=2)",
    )
    fit = dg.compile(declared, backend=backend).fit({"x": x, "y": y}, seed=2)
    assert fit.draws is not None
    draws = {name: values.astype(np.float64) for name, values in fit.draws.posterior.items()}
    theta = np.stack([draws["m"], np.log(draws["s"]), draws["a"], draws["b"], np.log(draws["sigma"])], -1)
    slopes = _slopes(theta, x, y)
    for place in range(5):
        check(slopes[..., place], 0.0)
        check((theta[..., place] - theta[..., place].mean()) * slopes[..., place], -1.0)
    gaps = np.isnan(x)
    m, s, a, b, sigma = (draws[name][..., None] for name in ("m", "s", "a", "b", "sigma"))
    variance = 1 / (1 / s**2 + b**2 / sigma**2)
    centre = variance * (m / s**2 + b * (y[gaps] - a) / sigma**2)
    standard = (draws["x.missing"] - centre) / np.sqrt(variance)
    check(standard.mean(-1), 0.0)
    check((standard**2).mean(-1), 1.0)


def _slopes(theta: Array, x: Array, y: Array, step: float = 1e-5) -> Array:
    """d log p / d theta_i at each draw, [.., 5]."""
    ways = step * np.eye(theta.shape[-1])
    rises = [marginal(theta + way, x, y) - marginal(theta - way, x, y) for way in ways]
    return np.stack(rises, -1) / (2 * step)


def check(values: Array, expected: float) -> None:
    """The mean of `[chain, draw]` is what is expected, within four Monte Carlo standard errors."""
    assert abs(values.mean() - expected) < 4 * float(az.mcse(values)), (values.mean(), expected)

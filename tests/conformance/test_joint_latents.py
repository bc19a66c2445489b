"""Latents that an engine samples beside the parameters: densities by hand and by library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import dgmppl as dg
from dgmppl.compiler import Compilation
from tests.conformance.joint import spec
from tests.support import both, library_log_density

Array = NDArray[np.float64]
Values = dict[str, Array]
Reference = Callable[[Values], float]

COUNTS = [1, 0, 3, 2]
LOG_COUNTS = np.array(COUNTS, float)


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

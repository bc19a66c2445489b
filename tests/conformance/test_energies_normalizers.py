"""log Z of energies: annealing against known values, quadrature, summation, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.errors import RunError
from dgmppl.results.partition import annealed, annealed_backwards, integrated, log_normalizer, summed
from tests.energies import (
    bits,
    joint,
    machine,
    pair,
    quadratic,
    spec,
)
from tests.support import BACKENDS, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

TILT = np.array([[2.0, 0.3], [0.3, 1.0]])


def tilted(log_z: str) -> Compilation:
    """N(0, 4 I) exp(-x^T P x / 2)."""
    return compile_spec(
        spec(
            {"x": "Energy(0.5 * dot(x, P @ x), base=Normal(0, 2))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"P": "learned(normal(2, 2))"},
            objective="implicit_score_matching()",
            evaluate={"log_z": log_z},
        )
    )


def two_wells(log_z: str) -> Compilation:
    """N(x; 0, 1) (exp(c . x - c^2 / 2) + exp(-c . x - c^2 / 2)) / 2, whose Z is 1."""
    return compile_spec(
        spec(
            {"x": "Energy(-(logsumexp(stack(dot(c, x), -dot(c, x))) - 0.5 * dot(c, c) - log(2)), base=Normal(0, 1))"},
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"c": "learned(normal(2))"},
            objective="implicit_score_matching()",
            evaluate={"log_z": log_z},
        )
    )


Known = tuple[Compilation, dict[str, np.ndarray], str, float, Any]


def known(model: str, temperatures: int) -> Known:
    """A model with its parameters, its site, log Z, and a function (generator, n) -> exact draws."""
    ais = f"ais(temperatures={temperatures}, chains=64)"
    if model == "gaussian":
        precision = TILT + np.eye(2) / 4.0
        exact = -0.5 * math.log(16.0 * np.linalg.det(precision))
        covariance = np.linalg.inv(precision)
        return tilted(ais), {"P": TILT}, "x", exact, lambda g, n: g.multivariate_normal([0.0, 0.0], covariance, n)
    if model == "two wells":
        c = np.array([1.5, 0.5])
        return (
            two_wells(ais),
            {"c": c},
            "x",
            0.0,
            lambda g, n: g.choice([-1.0, 1.0], size=(n, 1)) * c + g.standard_normal((n, 2)),
        )
    compiled = compile_spec(
        {**machine("contrastive_divergence(steps=1, sampler=gibbs())", 14, 6), "evaluate": {"log_z": ais}}
    )
    values = {**start(compiled, jitter=0.0), "W": np.random.default_rng(3).normal(size=(14, 6)) * 0.5}
    energies = joint(values, bits(14), bits(6))
    weights = np.logaddexp.reduce(energies, 1)
    exact = float(np.logaddexp.reduce(weights))
    return compiled, values, "v", exact, lambda g, n: bits(14)[g.choice(2**14, size=n, p=np.exp(weights - exact))]


@pytest.mark.parametrize("model", ["gaussian", "two wells", "machine"])
def test_annealing_brackets_a_known_log_normalizer(model: str) -> None:
    compiled, values, site, exact, draws = known(model, temperatures=100)
    runs = 100
    forward = [annealed(compiled.executable, values, site, 64, seed) for seed in range(runs)]
    generator = np.random.default_rng(0)
    reverse = [
        annealed_backwards(compiled.executable, values, site, draws(generator, 64), seed) for seed in range(runs)
    ]
    ratios = np.exp([one.value - exact for one in forward])
    assert abs(ratios.mean() - 1.0) < 3 * ratios.std(ddof=1) / math.sqrt(runs)
    for found, side in ((forward, 1.0), (reverse, -1.0)):
        off = side * (np.array([one.value for one in found]) - exact)
        assert off.mean() < 3 * off.std(ddof=1) / math.sqrt(runs)
        errors = np.array([one.standard_error for one in found])
        assert (np.abs(off) < 3 * errors).sum() >= 95
        assert np.median(errors) <= 0.1


@pytest.mark.parametrize("backend", BACKENDS)
def test_quadrature_and_summation_are_exact(backend: str) -> None:
    compiled, values, site, exact, _ = known("gaussian", 1)
    compiled = compile_spec(compiled.spec, backend=backend)
    found = integrated(compiled.executable, values, compiled.program.by_name[site], 200)
    assert found.value == pytest.approx(exact, abs=1e-10)
    compiled, values, site, exact, _ = known("machine", 1)
    compiled = compile_spec(compiled.spec, backend=backend)
    assert summed(compiled.executable, values, compiled.program.by_name[site]).value == pytest.approx(exact, abs=1e-10)


def test_a_score_is_normalized_with_an_error_bar_and_said_to_be_an_estimate() -> None:
    import dgmppl as dg

    x = np.random.default_rng(0).standard_normal((50, 2))
    program = dg.compile(tilted("ais(temperatures=100, chains=256)").spec, bindings={"x": x})
    score = program.at({"P": TILT}).score(x)
    precision = TILT + np.eye(2) / 4.0
    exact = 0.5 * np.log(np.linalg.det(precision)) - math.log(2 * math.pi) - 0.5 * ((x @ precision) * x).sum(1)
    assert score.status == "estimate"
    assert score.log_z_error is not None
    assert 0.0 < score.log_z_error < 0.1
    off = score.values - exact
    np.testing.assert_allclose(off, off[0], atol=1e-9)
    assert abs(off[0]) < 4 * score.log_z_error


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_joint_energy_is_annealed_over_all_of_its_sites(backend: str) -> None:
    compiled = compile_spec(pair(evaluate={"log_z": "ais(temperatures=60, chains=512)"}), backend=backend)
    values = {"w": np.array(0.7)}
    grid = np.linspace(-7.0, 7.0, 57)
    a, b, c = np.meshgrid(grid, grid, grid, indexing="ij")
    squares = a**2 + b**2 + c**2  # half of it from the energy, half from the base
    log_p = -squares + 0.4 * a * b - 0.7 * (np.cos(b) + np.cos(c)) - 1.5 * math.log(2.0 * math.pi)
    exact = np.logaddexp.reduce(log_p, None) + 3.0 * math.log(grid[1] - grid[0])
    found = log_normalizer(compiled.program, compiled.executable, values, "a")
    assert abs(found.value - exact) < 3 * found.standard_error
    assert found.standard_error < 0.05


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("support", ["interval", "simplex"])
def test_an_energy_on_a_confined_support_is_annealed_to_its_normalizer(backend: str, support: str) -> None:
    """exp(a x) over U(-1, 3) by quadrature; prod_k x_k^a on the simplex, whose Z is Dirichlet's constant."""
    inside = support == "interval"
    energy = "Energy(-a * x, base=Uniform(-1, 3))" if inside else "Energy(-a * sum(log(x)))"
    data = {"shape": []} if inside else {"shape": [3], "support": "simplex(3)"}
    compiled = compile_spec(
        spec(
            {"x": energy}, data={"x": data}, parameters={"a": "learned(positive)"},
            objective="contrastive_divergence(steps=1)",
            evaluate={"log_z": "ais(temperatures=60, chains=512)"},
        ),
        backend=backend,
    )  # fmt: skip
    a = 1.3
    exact = (
        math.log(integrate.quad(lambda x: math.exp(a * x) / 4.0, -1.0, 3.0)[0])
        if inside
        else 3 * math.lgamma(a + 1.0) - math.lgamma(3.0 * a + 3.0)
    )
    found = log_normalizer(compiled.program, compiled.executable, {"a": np.array(a)}, "x")
    assert abs(found.value - exact) < 3 * found.standard_error
    assert found.standard_error < 0.05


def test_quadrature_of_a_joint_energy_is_refused() -> None:
    compiled = compile_spec(pair(evaluate={"log_z": "quadrature(points=9)"}))
    with pytest.raises(RunError, match="not the joint density of a, b"):
        log_normalizer(compiled.program, compiled.executable, {"w": np.array(0.7)}, "a")


def test_a_log_normalizer_that_may_be_infinite_is_refused() -> None:
    compiled = quadratic("implicit_score_matching()")
    with pytest.raises(RunError, match="may be infinite"):
        log_normalizer(compiled.program, compiled.executable, {"P": TILT}, "x")

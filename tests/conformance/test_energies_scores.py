"""Score matching and contrast with noise against closed forms on Gaussian data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize

from dgmppl.backend import Executable
from dgmppl.compiler import Compilation, compile_spec
from tests.energies import (
    quadratic,
    spec,
)
from tests.support import BACKENDS, both

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMOOTHING = 0.4


def design(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data, each point four times, with noise whose mean is 0 and whose covariance is I within every four."""
    generator = np.random.default_rng(seed)
    x = generator.multivariate_normal(np.zeros(2), [[1.0, 0.5], [0.5, 0.8]], size=rows)
    directions = math.sqrt(2.0) * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return np.repeat(x, 4, axis=0), np.tile(directions, (rows, 1))


def slope(compiled: Compilation, precision: np.ndarray, x: np.ndarray, noise: dict[str, np.ndarray]) -> np.ndarray:
    return compiled.executable.loss("model", {"P": precision}, {"x": x}, noise=noise, gradient=True)[1]["P"]


def second_moment(x: np.ndarray) -> np.ndarray:
    return x.T @ x / len(x)


@pytest.mark.parametrize("kind", ["implicit", "sliced"])
def test_implicit_and_sliced_score_matching_recover_the_precision(kind: str) -> None:
    x, _ = design(25)
    compiled = quadratic(f"{kind}_score_matching({'projections=2' if kind == 'sliced' else ''})")
    unit = np.broadcast_to(math.sqrt(2.0) * np.eye(2), (len(x), 2, 2))
    noise = {"x.direction": unit} if kind == "sliced" else {}
    precision = np.linalg.inv(second_moment(x))
    np.testing.assert_allclose(slope(compiled, precision, x, noise), 0.0, atol=1e-12)
    assert np.abs(slope(compiled, precision + 0.1 * np.eye(2), x, noise)).max() > 1e-3
    value = compiled.executable.loss("model", {"P": precision}, {"x": x}, noise=noise)[0]
    assert value == pytest.approx(-0.5 * np.trace(precision), rel=1e-10)


def test_denoising_score_matching_recovers_the_precision_of_the_smoothed_data() -> None:
    x, eps = design(25)
    compiled = quadratic(f"denoising_score_matching(sigma={SMOOTHING})")
    precision = np.linalg.inv(second_moment(x) + SMOOTHING**2 * np.eye(2))
    np.testing.assert_allclose(slope(compiled, precision, x, {"x.smoothing": eps}), 0.0, atol=1e-12)
    assert np.abs(slope(compiled, np.linalg.inv(second_moment(x)), x, {"x.smoothing": eps})).max() > 1e-3


def test_denoising_has_the_gradient_of_score_matching_on_the_smoothed_data() -> None:
    x, eps = design(25)
    precision = np.array([[1.3, 0.2], [0.4, 0.7]])
    denoising = slope(quadratic(f"denoising_score_matching(sigma={SMOOTHING})"), precision, x, {"x.smoothing": eps})
    implicit = slope(quadratic("implicit_score_matching()"), precision, x + SMOOTHING * eps, {})
    np.testing.assert_allclose(denoising, implicit, rtol=1e-10, atol=1e-12)


def test_explicit_score_matching_recovers_the_precision_of_the_known_density() -> None:
    x, _ = design(25)
    truth = np.array([[1.1, 0.3], [0.3, 0.7]])
    value, slopes, _ = explicit(truth).loss("model", {"P": np.linalg.inv(truth)}, {"x": x}, gradient=True)
    assert value == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(slopes["P"], 0.0, atol=1e-12)
    # Half tr((P - truth^-1) S (P - truth^-1)), S the data's second moment, at another precision.
    off = np.eye(2) - np.linalg.inv(truth)
    found = explicit(truth).loss("model", {"P": np.eye(2)}, {"x": x})[0]
    assert found == pytest.approx(0.5 * np.trace(off @ second_moment(x) @ off), rel=1e-10)


def explicit(covariance: np.ndarray) -> Executable:
    """E(x) = x^T P x / 2 against the score of N(0, covariance)."""
    return compile_spec(
        spec(
            {
                "truth": f"MultivariateNormal(zeros(2), scale_tril={np.linalg.cholesky(covariance).tolist()})",
                "x": "Energy(0.5 * dot(x, P @ x))",
            },
            data={"x": {"shape": [2], "support": "real"}},
            parameters={"P": "learned(normal(2, 2))"},
            objective="explicit_score_matching(density=truth)",
        )
    ).executable


def test_denoising_has_the_gradient_of_explicit_score_matching_on_the_smoothed_data() -> None:
    """Vincent 2011: equal in expectation; here the design's second moments are the smoothed Gaussian's own."""
    x, eps = design(25)
    precision = np.array([[1.3, 0.2], [0.4, 0.7]])
    smoothed = second_moment(x) + SMOOTHING**2 * np.eye(2)
    denoising = slope(quadratic(f"denoising_score_matching(sigma={SMOOTHING})"), precision, x, {"x.smoothing": eps})
    points = {"x": x + SMOOTHING * eps}
    found = explicit(smoothed).loss("model", {"P": precision}, points, gradient=True)[1]["P"]
    np.testing.assert_allclose(found, denoising, rtol=1e-10, atol=1e-12)
    assert np.abs(denoising).max() > 1e-3


@pytest.mark.parametrize("support", ["positive", "unit"])
def test_bounded_data_are_matched_in_unbounded_coordinates(support: str) -> None:
    """The score of u = log x or logit x: with x = x(u), d/du [log p~(x) + log x'(u)] against its noise's."""
    generator = np.random.default_rng(0)
    compiled = compile_spec(
        spec(
            {"x": "Energy(a * sum(square(x)))"},
            data={"x": {"shape": [2], "support": support}},
            parameters={"a": "learned(positive())"},
            objective="denoising_score_matching(sigma=0.3)",
        )
    )
    u, eps = generator.normal(size=(30, 2)), generator.normal(size=(30, 2))
    noisy = u + 0.3 * eps
    if support == "positive":
        data, score = np.exp(u), -2.0 * 1.4 * np.exp(2.0 * noisy) + 1.0
    else:
        data, x = 1.0 / (1.0 + np.exp(-u)), 1.0 / (1.0 + np.exp(-noisy))
        score = -2.0 * 1.4 * x * x * (1.0 - x) + (1.0 - 2.0 * x)
    expected = 0.5 * np.square(score + eps / 0.3).sum(1).mean()
    found = compiled.executable.loss("model", {"a": np.array(1.4)}, {"x": data}, noise={"x.smoothing": eps})[0]
    assert found == pytest.approx(expected, rel=1e-9)


def laddered(sampler: str = "") -> dict[str, object]:
    """The energy of N(0, (a + s^2) I), told the noise s: exact at every level where the data are N(0, a I)."""
    return spec(
        {"s": "0.1", "x": f"Energy(sum(square(x)) / (2 * (a + s ** 2)){sampler})"},
        data={"x": {"shape": [2], "support": "real"}},
        parameters={"a": "learned(positive)"},
        objective="denoising_score_matching(sigma=2.0, smallest=0.1, levels=5, level=s)",
    )


@pytest.mark.parametrize(
    ("sampler", "steps", "step_size"),
    [("", 100, 1e-3), (", sampler=langevin(steps=3, step_size=0.002)", 3, 0.002)],
    ids=["by default", "as the site says"],
)
def test_samples_walk_down_the_noises(sampler: str, steps: int, step_size: float) -> None:
    """Each step is affine: v' = (1 - h / (a + s^2))^2 v + 2 h, h growing with s^2; the end is known, bias and all."""
    a, rows, variance = 0.5, 20_000, 1.0
    for s in 2.0 * 0.05 ** (np.arange(5) / 4):
        h = step_size * (s / 0.1) ** 2
        for _ in range(steps):
            variance = (1.0 - h / (a + s**2)) ** 2 * variance + 2.0 * h
    one, two = both(laddered(sampler)).values()
    generator = np.random.default_rng(0)
    noise = {entry.name: generator.normal(size=(rows, *entry.shape)) for entry in one.module.function("sample").noise}
    first, second = (
        compiled.executable.call("sample", {"a": np.array(a)}, {}, noise=noise, rows=rows)["x"]
        for compiled in (one, two)
    )
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)
    assert abs(np.square(first).mean() - variance) < 4 * variance * math.sqrt(2.0 / first.size)


def test_a_chain_that_does_not_fit_a_ladder_stays_at_the_models_own_level() -> None:
    source = compile_spec(laddered(", sampler=mala(steps=3)")).source
    assert "samplers.mala(" in source
    assert "annealed_langevin" not in source


def stick_broken(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a simplex of three, and the logarithm of |d (x_1, x_2) / d u| in closed form."""
    z = 1.0 / (1.0 + np.exp(-(u - np.log([2.0, 1.0]))))
    x = np.stack([z[:, 0], z[:, 1] * (1.0 - z[:, 0]), (1.0 - z[:, 0]) * (1.0 - z[:, 1])], 1)
    return x, np.log(z * (1.0 - z)).sum(1) + np.log1p(-z[:, 0])


def between(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of (-1, 3)^2, and the logarithm of |dx / du|."""
    s = 1.0 / (1.0 + np.exp(-u))
    return -1.0 + 4.0 * s, np.log(4.0 * s * (1.0 - s)).sum(1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("model", "data", "way"),
    [
        ("Energy(a * sum(square(x)), base=Uniform(-1, 3))", {"shape": [2]}, between),
        ("Energy(a * sum(square(x)))", {"shape": [3], "support": "simplex(3)"}, stick_broken),
    ],
    ids=["interval", "simplex"],
)
def test_scores_on_intervals_and_simplices_are_those_of_free_coordinates(
    backend: str, model: str, data: dict[str, object], way: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> None:
    """d/du [log p~(x(u)) + log |dx/du|] by central differences, against the loss of denoising score matching."""
    generator = np.random.default_rng(1)
    compiled = compile_spec(
        spec({"x": model}, data={"x": data}, parameters={"a": "learned(positive())"},
             objective="denoising_score_matching(sigma=0.3)"),
        backend=backend,
    )  # fmt: skip
    u, eps = generator.normal(size=(30, 2)), generator.normal(size=(30, 2))

    def log_p(point: np.ndarray) -> np.ndarray:
        x, log_slope = way(point)
        return -1.4 * np.square(x).sum(1) + log_slope

    step, noisy = 1e-5, u + 0.3 * eps
    score = np.stack(
        [(log_p(noisy + step * unit) - log_p(noisy - step * unit)) / (2.0 * step) for unit in np.eye(2)], 1
    )
    expected = 0.5 * np.square(score + eps / 0.3).sum(1).mean()
    values = {"a": np.array(1.4)}
    found = compiled.executable.loss("model", values, {"x": way(u)[0]}, noise={"x.smoothing": eps})[0]
    assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_noise_of_a_ladder_has_the_precision_of_its_own_smoothed_data(level: int) -> None:
    """E(x, s) = x^T P x / 2 with one matrix for all levels: at level k alone, weighted sigma_k^2, it is sigma_k's."""
    x, eps = design(25)
    compiled = quadratic("denoising_score_matching(sigma=1, smallest=0.25, levels=3)")
    sigma = 0.5**level
    gumbel = np.full((len(x), 3), -50.0)
    gumbel[:, level] = 50.0
    noise = {"x.smoothing": eps, "x.level": gumbel}
    precision = np.linalg.inv(second_moment(x) + sigma**2 * np.eye(2))
    np.testing.assert_allclose(slope(compiled, precision, x, noise), 0.0, atol=1e-12)
    other = np.array([[1.3, 0.2], [0.4, 0.7]])
    one = slope(quadratic(f"denoising_score_matching(sigma={sigma})"), other, x, {"x.smoothing": eps})
    np.testing.assert_allclose(slope(compiled, other, x, noise), sigma**2 * one, rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_energy_reads_the_level_of_its_noise(backend: str) -> None:
    """E(x, s) = x^2 / (2 (v + s^2)) is exact at every level for data N(0, v): the loss is that of the true scores."""
    objective = "denoising_score_matching(sigma=2, smallest=0.5, levels=2, level=s)"
    compiled = compile_spec(
        spec(
            {"s": "0.5", "x": "Energy(0.5 * sum(square(x)) / (v + square(s)))"},
            data={"x": {"shape": [1], "support": "real"}},
            parameters={"v": "learned(positive())"},
            objective=objective,
        ),
        backend=backend,
    )
    generator = np.random.default_rng(0)
    x, eps, level = generator.standard_normal((40, 1)), generator.standard_normal((40, 1)), generator.uniform(size=40)
    # Of two levels the second is drawn where the uniform lies below one half.
    sigma = np.where(level < 0.5, 0.5, 2.0)[:, None]
    expected = 0.5 * (-sigma * (x + sigma * eps) / (1.3 + sigma**2) + eps) ** 2
    noise = {"x.smoothing": eps, "x.level": level}
    values = {"v": np.array(1.3)}
    assert compiled.executable.loss("model", values, {"x": x}, noise=noise)[0] == pytest.approx(expected.mean())
    own = compiled.executable.call("log_unnormalized", values, {"x": x})["value"]
    np.testing.assert_allclose(own, -0.5 * x[:, 0] ** 2 / (1.3 + 0.25), rtol=1e-12)


def test_noise_contrast_recovers_the_log_normalizer_of_a_gaussian() -> None:
    compiled = compile_spec(
        spec(
            {"noise": "Normal(0, 1.5, shape=1)", "x": "Energy(0.5 * a * sum(square(x)))"},
            data={"x": {"shape": [1], "support": "real"}},
            parameters={"a": "learned(positive())"},
            objective="noise_contrastive(noise=noise)",
        )
    )
    found = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        x, noise = generator.standard_normal((1500, 1)), {"noise@noise": generator.standard_normal((1500, 1))}

        def loss(
            point: np.ndarray, x: np.ndarray = x, noise: dict[str, np.ndarray] = noise
        ) -> tuple[float, np.ndarray]:
            raw, constant = point
            values = {"a": np.array(np.log1p(np.exp(raw))), "log_normalizer.x": np.array(constant)}
            value, slopes, _ = compiled.executable.loss("model", values, {"x": x}, noise=noise, gradient=True)
            # The gradient is by the unconstrained array; a numerical one is taken for a, so that no bijection matters.
            shift = 1e-6
            moved = {**values, "a": np.array(np.log1p(np.exp(raw + shift)))}
            higher = compiled.executable.loss("model", moved, {"x": x}, noise=noise)[0]
            return value, np.array([(higher - value) / shift, slopes["log_normalizer.x"]])

        found.append(optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x[1])
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - 0.5 * math.log(2.0 * math.pi)) < 3 * error
    assert error < 0.05


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ratio", [1, 4])
def test_conditional_noise_contrast_needs_no_normalizer_of_each_row(backend: str, ratio: int) -> None:
    """E(y, c) = exp(b c) y^2 / 2, whose log Z falls with c: at the true b the gradient is zero on average."""
    compiled = compile_spec(
        spec(
            {"wide": "Normal(0, 2, shape=1)", "y": "Energy(0.5 * exp(b * c[0]) * sum(square(y)))"},
            data={"y": {"shape": [1], "support": "real"}, "c": {"shape": [1], "support": "real"}},
            parameters={"b": "learned(normal())"},
            objective=f"noise_contrastive(noise=wide, ratio={ratio})",
        ),
        backend=backend,
    )
    assert compiled.module.players[0][1] == ("b",)
    truth, rows = 0.8, 1500
    slopes: dict[float, list[float]] = {truth: [], truth + 0.4: []}
    for seed in range(16):
        generator = np.random.default_rng(seed)
        c = generator.standard_normal((rows, 1))
        y = np.exp(-0.5 * truth * c) * generator.standard_normal((rows, 1))
        (entry,) = compiled.module.function("loss_model").noise
        drawn = generator.standard_normal((rows, 1) if ratio == 1 else (ratio, rows, 1))
        for b, found in slopes.items():
            batch, noise = {"y": y, "c": c}, {entry.name: drawn}
            loss = compiled.executable.loss("model", {"b": np.array(b)}, batch, noise=noise, gradient=True)
            found.append(float(loss[1]["b"]))
    means = {b: np.mean(found) for b, found in slopes.items()}
    errors = {b: np.std(found, ddof=1) / math.sqrt(len(found)) for b, found in slopes.items()}
    assert abs(means[truth]) < 3 * errors[truth]
    assert means[truth + 0.4] > 5 * errors[truth + 0.4]

"""Small specs in the corners of exact likelihoods: discrete conditionals over images, flows in unusual positions.

Oracles are sums over every outcome and quadrature; and mistakes that a user would make there, each with its place.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dgmppl.compiler import compile_spec
from dgmppl.errors import SpecError
from tests.conformance.unseen import Spec, results, spec
from tests.support import both, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

# ---- factorizations and flows: mass one -----------------------------------------------------------------------------

LOGISTICS = "Mixture(DiscretizedLogistic, components=2, bins=4, **net(x[:i]))"
SUMS: dict[str, tuple[Spec, int]] = {
    "logistics-over-a-gru": (spec({"x": ([3], "integer(4)")}, {"x[i]": LOGISTICS}, networks={"net": "gru(5)"}), 4),
    "image-in-a-listed-order": (
        spec(
            {"x": ([2, 3], "binary")},
            {"x[i]": "Bernoulli(logits=2 * net(x[:i]) - 1)"},
            networks={"net": "made([12], order=[3, 1, 0, 5, 2, 4])"},
        ),
        2,
    ),
    "mixture-of-networks": (
        spec(
            {"x": ([3], "binary")},
            {"h": "Categorical(probs=a)", "x[j]": "Bernoulli(logits=net(x[:j], h))"},
            networks={"net": "made([9])"},
            parameters={"a": "learned(simplex(3))"},
        ),
        2,
    ),
}


@pytest.mark.parametrize("key", SUMS)
def test_discrete_models_sum_to_one(key: str) -> None:
    written, states = SUMS[key]
    compiled, shape = both(written), written["data"]["x"]["shape"]
    values = start(compiled["pyro"], jitter=0.6)
    outcomes = np.array(list(itertools.product(range(states), repeat=int(np.prod(shape))))).reshape(-1, *shape)
    pyro, numpyro = results(compiled, "log_prob", values, {"x": outcomes})
    np.testing.assert_allclose(pyro, numpyro, rtol=1e-10, atol=1e-10)
    assert np.exp(pyro).sum() == pytest.approx(1, abs=1e-10)


FLOWS: dict[str, Spec] = {
    "mixture-of-flows": spec(
        {"x": [2]},
        {"k": "Categorical(probs=a)", "z": "Normal(m[k], 1)", "x": "f(z, k)"},
        bijectors={"f": "coupling(mlp([6]), affine())"},
        parameters={"a": "learned(simplex(3))", "m": "learned(normal(3, 2))"},
    ),
    "flow-turned-around": spec(
        {"x": [2]},
        {"z": "Normal(0, 1, shape=2)", "x": "f(z)"},
        bijectors={"f": "inverse([coupling(mlp([6]), affine()), lu_linear(), spline(bins=4)])"},
    ),
    "flow-of-a-mixture": spec(
        {"x": [2]},
        {"z": "Mixture(Normal, weights=a, loc=m, scale=0.5, shape=2)", "x": "f(z)"},
        bijectors={"f": ["inverse(planar())", "coupling(mlp([6]), affine())"]},
        parameters={"a": "learned(simplex(3))", "m": "learned(normal(3))"},
    ),
}


@pytest.mark.parametrize("key", FLOWS)
def test_flows_integrate_to_one(key: str) -> None:
    """The trapezoidal rule on [-9, 9]^2, whose error is 1e-3 at the kinks of relu."""
    compiled = both(FLOWS[key])
    values, axis = start(compiled["pyro"], jitter=0.3), np.linspace(-9, 9, 241)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    pyro, numpyro = results(compiled, "log_prob", values, {"x": nodes})
    np.testing.assert_allclose(pyro, numpyro, rtol=1e-9, atol=1e-9)
    assert np.exp(pyro).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=2e-3)


# ---- mistakes -------------------------------------------------------------------------------------------------------

PAIR = {"z": "Normal(0, 1, shape=2)", "x": "f(z)"}
BITS = {"x": ([4], "binary")}
TABLE = {"a": "learned(simplex(3))", "m": "learned(normal(2))"}
READ = {"y[t]": "Normal(w[t], 1)"}
MISTAKES: dict[str, tuple[Spec, str, str]] = {
    "swapped": (spec({"x": [2]}, PAIR, bijectors={"f": "coupling(affine(), mlp([8]))"}), "bad-option", "network first"),
    "field-width": (
        spec({"x": [2]}, PAIR, bijectors={"f": "ode(v)"}, networks={"v": "mlp([8], out=3)"}),
        "conditioner-width",
        "out=3",
    ),
    "discrete-base": (
        spec({"x": [2]}, {**PAIR, "z": "Bernoulli(0.5, shape=2)"}, bijectors={"f": "lu_linear()"}),
        "unprovable-support",
        "continuous base",
    ),
    "whole-event": (
        spec(BITS, {"x[i]": "Bernoulli(logits=net(x))"}, networks={"net": "made([8])"}),
        "self-reference",
        "write `x[:i]`",
    ),
    "no-bins": (
        spec({"x": ([3], "integer(4)")}, {"x[i]": LOGISTICS.replace("bins=4, ", "")}, networks={"net": "gru(5)"}),
        "missing-argument",
        "bins",
    ),
    "table-too-small": (
        spec({"x": []}, {"k": "Categorical(probs=a)", "x": "Normal(m[k], 1)"}, parameters=TABLE),
        "shape-mismatch",
        "3 values into an axis of 2",
    ),
    "start-reads-itself": (
        spec({"y": [4]}, {"w[0]": "Normal(0, 1)", "w[1]": "Normal(w[1], 1)", "w[t]": "Normal(w[t-2], 1)", **READ}),
        "self-reference",
        "write `w[0]`",
    ),
    "start-beyond-the-end": (
        spec({"y": [1]}, {"w[0]": "Normal(0, 1)", "w[1]": "Normal(0, 1)", "w[t]": "Normal(0, 1)", **READ}),
        "lag-too-long",
        "beyond the end",
    ),
}


@pytest.mark.parametrize("key", MISTAKES)
def test_mistakes_are_explained_where_they_stand(key: str) -> None:
    written, code, words = MISTAKES[key]
    with pytest.raises(SpecError) as caught:
        compile_spec(written)
    assert code in {problem.code for problem in caught.value.diagnostics}
    assert words in str(caught.value)
    assert "^" in str(caught.value)

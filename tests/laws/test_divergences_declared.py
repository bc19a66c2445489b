"""Laws of generators that a spec declares: derivatives, conjugates, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmppl.errors import SpecError
from dgmppl.ir.calculus import SMOOTH, derivative, evaluate
from dgmppl.lowering.duals import Dual, dual_of
from dgmppl.objectives.divergences import FDivergence, f_divergence
from tests.generators import GENERATORS, divergence_of, parsed

RATIOS = st.floats(min_value=0.02, max_value=50.0)
RAW = st.floats(min_value=-6.0, max_value=6.0)
ENTRIES = {text: divergence_of(text) for text in GENERATORS}


def entry(text: str) -> FDivergence:
    return ENTRIES[text][0]


def dual(text: str) -> Dual:
    return dual_of("f", {"generator": ENTRIES[text][1]})


def value(formula: str, v: float) -> float:
    return float(evaluate(parsed(formula), {"v": np.asarray(v)}))


def test_a_declared_generator_is_the_divergence_of_the_table() -> None:
    generator = np.random.default_rng(0)
    for text, known in GENERATORS.items():
        for _ in range(5):
            p, q = generator.dirichlet(np.ones(6), 2)
            assert known is None or f_divergence(entry(text), p, q) == pytest.approx(
                f_divergence(known, p, q), rel=1e-9
            )


# The limits of f' at 0 and at infinity.
ENDS = {
    "u * log(u)": (-np.inf, np.inf),
    "-log(u)": (-np.inf, 0.0),
    "0.5 * u * log(u) - 0.5 * (u + 1) * log((1 + u) / 2)": (-np.inf, 0.5 * np.log(2.0)),
    "square(u - 1)": (-2.0, np.inf),
    "(sqrt(u) - 1) ** 2": (-np.inf, 1.0),
    "square(1 - u) / u": (-np.inf, 1.0),
    "square(u - 1) / (u + 1)": (-3.0, 1.0),
    "(u - 1) * log(u)": (-np.inf, np.inf),
}


@pytest.mark.parametrize("text", ENDS)
def test_the_critic_of_a_declared_generator_lies_between_the_ends_of_its_slope(text: str) -> None:
    assert entry(text).domain == pytest.approx(ENDS[text], abs=1e-9)


@pytest.mark.parametrize("text", GENERATORS)
@given(u=RATIOS, v=RAW)
def test_fenchel_young_of_a_declared_dual(text: str, u: float, v: float) -> None:
    """f(u) + f*(T) >= u T at every output v, with equality at v = log u."""
    halves, f = dual(text), float(entry(text).generator(np.asarray(u)))
    critic, conjugate = value(halves.positive, v), value(halves.negative, v)
    slack = 1e-12 * (1.0 + abs(f) + abs(u * critic) + abs(conjugate)) * np.exp(abs(v))
    assert f + conjugate >= u * critic - slack
    critic, conjugate = (value(half, float(np.log(u))) for half in (halves.positive, halves.negative))
    assert f + conjugate == pytest.approx(u * critic, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("text", GENERATORS)
@given(v=st.floats(min_value=-3.0, max_value=3.0))
def test_a_declared_dual_is_the_conjugate_at_the_slope(text: str, v: float) -> None:
    """The conjugate by a search for the maximum is what the dual gives without one."""
    critic = entry(text).activation(np.asarray(v))
    assert value(dual(text).positive, v) == pytest.approx(float(critic), rel=1e-9, abs=1e-12)
    conjugate = float(entry(text).conjugate(critic))
    assert value(dual(text).negative, v) == pytest.approx(conjugate, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("text", GENERATORS)
def test_no_critic_exceeds_a_declared_divergence(text: str) -> None:
    generator, halves = np.random.default_rng(1), dual(text)
    for _ in range(10):
        p, q, v = *generator.dirichlet(np.ones(5), 2), generator.normal(size=5)
        positive, negative = ([value(half, one) for one in v] for half in (halves.positive, halves.negative))
        found = float(p @ np.array(positive) - q @ np.array(negative))
        assert found <= f_divergence(entry(text), p, q) + 1e-10


# ---- derivatives ----------------------------------------------------------------------------------------------------

COMPOUND = (
    "x ** 3 - 2 * x", "2 ** x", "x ** x", "(1 - x) / (1 + x * x)", "-log(1 + exp(-x)) * x",
    "where(x > 0.4, x * x, 3 * x)", "maximum(x * x, x)", "minimum(sin(x), cos(x))", "sqrt(x) / log1p(x)",
    "-(x / -x ** 2)", "x / (3 / x)",
)  # fmt: skip


@pytest.mark.parametrize("text", [*(f"{name}(0.9 * x)" for name in SMOOTH), *COMPOUND])
def test_derivatives_are_those_of_differences(text: str) -> None:
    formula, x, step = parsed(text), np.array([0.11, 0.37, 0.53, 0.86]), 1e-5

    def at(points: Any) -> Any:
        return evaluate(formula, {"x": points})

    slope = np.broadcast_to(evaluate(derivative(formula, "x"), {"x": x}), x.shape)
    np.testing.assert_allclose(slope, (at(x + step) - at(x - step)) / (2.0 * step), rtol=1e-8, atol=1e-8)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("u * log(u) + 0.25", r"f\(1\) is 0.25"),
        ("log(u)", "not convex: its derivative falls"),
        ("square(u - 1) * square(u - 3)", "not convex"),
        ("log(u - 1)", "not finite at u = 0.01"),
        ("3 * (u - 1)", "straight lines"),
        ("abs(u - 1) / 2", "straight lines"),
    ],
)
def test_no_generator(text: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        divergence_of(text)


def test_what_a_refused_generator_is_told_to_be_is_one() -> None:
    with pytest.raises(SpecError) as caught:
        divergence_of("exp(u - 1)")
    (problem,) = caught.value.diagnostics
    fixed = str(getattr(problem, "fix", "")).split("`f(")[1].removesuffix(")`")
    assert divergence_of(fixed)[0].generator(np.ones(())) == pytest.approx(0.0, abs=1e-12)

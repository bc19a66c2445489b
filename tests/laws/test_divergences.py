"""Laws of divergences and of their duals as kernels evaluate them: conjugacy, Fenchel-Young, suprema."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from dgmppl.ir.expressions import Literal
from dgmppl.ir.options import DIVERGENCES
from dgmppl.lowering.duals import Dual, dual_of
from dgmppl.objectives.divergences import F_DIVERGENCES, METRICS, FDivergence, alpha_divergence

F = {**F_DIVERGENCES, **{f"alpha-{order:g}": alpha_divergence(order) for order in (0.3, 0.5, 2.0, 3.5)}}
GAMES = {name: entry for name, entry in METRICS.items() if entry.critic and not entry.lipschitz}
RATIOS = st.floats(min_value=0.02, max_value=50.0)
RAW = st.floats(min_value=-6.0, max_value=6.0)

_FUNCTIONS = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "square": np.square, "maximum": np.maximum, "minimum": np.minimum,
    "softplus": lambda v: np.logaddexp(0.0, v),
}  # fmt: skip


def lowered(name: str) -> Dual:
    """A dual as the lowering has it."""
    word, _, order = name.partition("-")
    return dual_of(word, {"alpha": Literal(float(order))} if order else {})


def value(formula: str, v: Any, w: Any = None) -> Any:
    """A formula of the language, which is also one of Python, at raw outputs."""
    return eval(formula, {"__builtins__": {}}, {**_FUNCTIONS, "v": v, "w": w})


def pairs(count: int, size: int = 6) -> list[tuple[Any, Any]]:
    generator = np.random.default_rng(0)
    return [tuple(generator.dirichlet(np.ones(size), 2)) for _ in range(count)]


def test_every_divergence_of_the_table_has_a_dual() -> None:
    playable = {*F_DIVERGENCES, "alpha", *(name for name, entry in METRICS.items() if entry.critic)}
    assert {*playable, "f"} == set(DIVERGENCES)
    for name in playable:
        assert dual_of(name, {}).positive


@pytest.mark.parametrize("name", [name for name in {**F, **GAMES} if lowered(name).whole])
@given(v=RAW, w=RAW)
def test_a_dual_in_one_piece_is_the_difference_of_its_halves(name: str, v: float, w: float) -> None:
    dual = lowered(name)
    expected = value(dual.positive, np.asarray(v)) - value(dual.negative, np.asarray(w))
    assert value(dual.whole, np.asarray(v), np.asarray(w)) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", F)
@given(v=RAW)
def test_a_dual_is_the_critic_s_activation_and_the_conjugate_at_it(name: str, v: float) -> None:
    entry, dual = F[name], lowered(name)
    point = np.asarray(v)
    critic = entry.activation(point)
    assert value(dual.positive, point) == pytest.approx(float(critic), rel=1e-12, abs=1e-12)
    # f* loses digits where T is close to the end of its domain; the dual's own form does not.
    slack = 1e-9 * (1.0 + abs(float(entry.conjugate(critic)))) * math.exp(max(abs(v) - 3.0, 0.0) * 2.0)
    assert value(dual.negative, point) == pytest.approx(float(entry.conjugate(critic)), rel=1e-9, abs=slack)


@pytest.mark.parametrize("name", F)
@given(u=RATIOS)
def test_the_conjugate_of_the_conjugate_is_the_generator(name: str, u: float) -> None:
    """f**(u) = sup_v u g(v) - f*(g(v)) = f(u), since every f is convex and closed."""
    dual, entry = lowered(name), F[name]
    grid = np.linspace(-45.0, 45.0, 3001) if name != "pearson" else np.linspace(-3.0, 100.0, 3001)
    if name.startswith("alpha") and entry.domain[1] == math.inf:
        grid = np.linspace(-2.0, 5e4, 400_001)
    objective = u * value(dual.positive, grid) - value(dual.negative, grid)
    best = grid[int(np.argmax(np.where(np.isfinite(objective), objective, -np.inf)))]
    width = 2.0 * (grid[1] - grid[0])
    found = minimize_scalar(
        lambda v: float(value(dual.negative, v) - u * value(dual.positive, v)),
        bounds=(best - width, best + width),
        method="bounded",
        options={"xatol": 1e-10},
    )
    expected = float(entry.generator(np.asarray(u)))
    assert -found.fun == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", F)
@given(u=RATIOS, v=RAW)
def test_fenchel_young_of_the_dual(name: str, u: float, v: float) -> None:
    dual, entry = lowered(name), F[name]
    left = float(entry.generator(np.asarray(u))) + float(value(dual.negative, v))
    right = u * float(value(dual.positive, v))
    assert left >= right - 1e-9 * (1.0 + abs(left) + abs(right))


@pytest.mark.parametrize("name", [*F, *GAMES])
def test_no_critic_exceeds_the_divergence(name: str) -> None:
    generator, dual = np.random.default_rng(1), lowered(name)
    for p, q in pairs(20):
        truth = _truth(name, p, q)
        for scale in (0.3, 1.0, 3.0):
            v = scale * generator.normal(size=len(p))
            assert float(p @ value(dual.positive, v) - q @ value(dual.negative, v)) <= truth + 1e-12


@pytest.mark.parametrize("name", GAMES)
def test_games_reach_their_stated_divergence(name: str) -> None:
    dual = lowered(name)
    for p, q in pairs(5):
        best = {"least_squares": p / (p + q), "hinge": np.sign(p - q)}[name]
        found = float(p @ value(dual.positive, best) - q @ value(dual.negative, best))
        assert found == pytest.approx(_truth(name, p, q), rel=1e-12)


@pytest.mark.parametrize("name", [*F, *GAMES])
def test_divergences_vanish_on_equal_distributions_alone(name: str) -> None:
    for p, q in pairs(5):
        assert _truth(name, p, p) == pytest.approx(0.0, abs=1e-14)
        assert _truth(name, p, q) > 1e-6


@given(v=RAW)
def test_the_js_game_exchanged_is_the_original_one(v: float) -> None:
    """-T(v) is -log sigmoid(v) / 2 up to a constant, and exchanging the sides reflects v (Goodfellow et al. 2014)."""
    dual = lowered("js")
    raised, lowered_part = dual.non_saturating
    logistic = -0.5 * np.logaddexp(0.0, -v) + 0.5 * math.log(2.0)
    assert value(raised, v) == pytest.approx(logistic, rel=1e-12)
    assert value(lowered_part, -v) == pytest.approx(-logistic, rel=1e-12, abs=1e-15)


def _truth(name: str, p: Any, q: Any) -> float:
    if name == "least_squares":
        return float(0.5 * np.sum((p - q) ** 2 / (p + q)))
    if name == "hinge":
        return float(np.abs(p - q).sum())
    entry: FDivergence = F[name]
    return float(np.sum(q * entry.generator(p / q)))

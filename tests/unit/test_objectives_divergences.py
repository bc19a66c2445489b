"""The table of divergences: Fenchel-Young, normalization, and the dual against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgmppl.objectives.divergences import (
    F_DIVERGENCES,
    METRICS,
    FDivergence,
    alpha_divergence,
    dual_value,
    f_divergence,
)

TABLE = [*F_DIVERGENCES.values(), *(alpha_divergence(order) for order in (0.5, 1.5, 2.0, 3.0))]
IDS = [f"{entry.name}-{entry.limit[4:8]}" if entry.name == "alpha" else entry.name for entry in TABLE]
RATIOS = st.floats(min_value=0.02, max_value=50.0)


def scalar(function: object, value: float) -> float:
    return float(function(np.asarray(value, dtype=np.float64)))  # type: ignore[operator]


@pytest.mark.parametrize("entry", TABLE, ids=IDS)
def test_generator_vanishes_at_one(entry: FDivergence) -> None:
    assert scalar(entry.generator, 1.0) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("entry", TABLE, ids=IDS)
@given(u=RATIOS, v=st.floats(min_value=-4.0, max_value=4.0))
def test_fenchel_young_inequality(entry: FDivergence, u: float, v: float) -> None:
    t = scalar(entry.activation, v)
    assert entry.domain[0] <= t <= entry.domain[1]
    left = scalar(entry.generator, u) + scalar(entry.conjugate, t)
    assert left >= u * t - 1e-9 * (1.0 + abs(u * t) + abs(left))


@pytest.mark.parametrize("entry", TABLE, ids=IDS)
@given(u=RATIOS)
def test_fenchel_young_equality_at_the_optimal_critic(entry: FDivergence, u: float) -> None:
    t = scalar(entry.optimal, u)
    both = scalar(entry.generator, u) + scalar(entry.conjugate, t)
    assert both == pytest.approx(u * t, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("entry", TABLE, ids=IDS)
def test_dual_is_a_lower_bound_attained_at_the_optimum(entry: FDivergence) -> None:
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(6), 2)
    value = f_divergence(entry, p, q)
    optimal = entry.optimal(p / q)
    assert float(np.sum(p * optimal) - np.sum(q * entry.conjugate(optimal))) == pytest.approx(value)
    for _ in range(20):
        assert dual_value(entry, p, q, generator.normal(size=6)) <= value + 1e-12


def test_gan_value_is_twice_js_minus_log_four() -> None:
    generator = np.random.default_rng(1)
    p, q = generator.dirichlet(np.ones(8), 2)
    discriminator = p / (p + q)
    value = np.sum(p * np.log(discriminator)) + np.sum(q * np.log(1.0 - discriminator))
    assert value == pytest.approx(2.0 * f_divergence(F_DIVERGENCES["js"], p, q) - np.log(4.0))


def test_js_critic_output_is_the_log_ratio() -> None:
    u = np.array([0.3, 1.0, 4.0])
    entry = F_DIVERGENCES["js"]
    np.testing.assert_allclose(entry.activation(np.log(u)), entry.optimal(u))


def test_alpha_two_is_half_pearson_and_one_half_is_twice_hellinger() -> None:
    u = np.linspace(0.1, 5.0, 20)
    np.testing.assert_allclose(alpha_divergence(2.0).generator(u), F_DIVERGENCES["pearson"].generator(u) / 2.0)
    np.testing.assert_allclose(alpha_divergence(0.5).generator(u), 2.0 * F_DIVERGENCES["hellinger"].generator(u))


@pytest.mark.parametrize("order", [0.0, 1.0, -1.0])
def test_limits_of_alpha_are_refused(order: float) -> None:
    with pytest.raises(ValueError, match="positive order"):
        alpha_divergence(order)


def test_only_the_kantorovich_dual_needs_a_lipschitz_critic() -> None:
    assert [name for name, entry in METRICS.items() if entry.lipschitz] == ["wasserstein"]

"""Stochastic-gradient chains against the density that they have, and which engines a backend is said to have.

With a normal posterior of precision A and steps h, the stationary covariance of a chain is that of a linear recursion;
rows drawn with replacement add h^2 V, V = N^2 Var(d log p(y_i) / d mu) / B, to the noise of a step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import beta

import dgmppl as dg
from dgmppl.compiler import backend_support, check, compile_spec
from dgmppl.errors import RunError, UnsupportedError

pytestmark = pytest.mark.usefixtures("quick_compilation")

# mu ~ N(0, 4^2), y_i ~ N(mu, 1): the posterior is N(MEAN, 1 / PRECISION).
Y = np.random.default_rng(0).normal(1.5, 1.0, 40)
PRECISION = 1 / 16 + len(Y)
MEAN = Y.sum() / PRECISION
NORMAL = {
    "dgmppl": 1,
    "data": {"y": Y.tolist()},
    "parameters": {"mu": "Normal(0, 4)"},
    "model": {"y": "Normal(mu, 1)"},
}


def drawn(engine: str, batch_size: int | str = "all", spec: dict[str, Any] = NORMAL) -> Any:
    fit = dg.compile({**spec, "infer": engine, "train": {"batch_size": batch_size}}).fit(seed=0)
    assert fit.draws is not None
    return fit.draws


def stationary(h: float, friction: float, noise: float) -> float:
    """The variance of mu under v' = (1 - a) v - h A mu + e, mu' = mu + v', Var e = 2 a h + h^2 V."""
    move = np.array([[1 - h * PRECISION, 1 - friction], [-h * PRECISION, 1 - friction]])
    return float(solve_discrete_lyapunov(move, (2 * friction * h + h * h * noise) * np.ones((2, 2)))[0, 0])


def within(values: np.ndarray, exact: float, bias: float = 0.0) -> bool:
    """Whether a mean over [chain, draw] is within four standard errors, from 20 batches a chain."""
    batches = values.reshape(len(values) * 20, -1).mean(1)
    return bool(abs(batches.mean() - exact) < 4 * batches.std() / math.sqrt(len(batches)) + bias)


@pytest.mark.parametrize("rows", ["all", 10])
@pytest.mark.parametrize(
    ("engine", "step_size", "friction"),
    [("sgld(", 0.5, 1.0), ("sghmc(friction=0.5, ", 0.8, 0.5)],
    ids=["sgld", "sghmc"],
)
def test_draws_have_the_density_of_uncorrected_steps(
    engine: str, step_size: float, friction: float, rows: int | str
) -> None:
    """Steps so long that it is told from the posterior, whose variance is smaller by a quarter or more."""
    draws = drawn(f"{engine}step_size={step_size}, warmup=200, draws=4000)", rows)
    mu = draws.posterior["mu"]
    assert mu.shape == (4, 4000)
    noise = 0.0 if isinstance(rows, str) else len(Y) ** 2 / rows * Y.var()
    expected = stationary(step_size / len(Y), friction, noise)
    assert within(mu, MEAN)
    assert within((mu - MEAN) ** 2, expected)
    assert not within((mu - MEAN) ** 2, 1 / PRECISION)
    assert draws.notes[0] == f"4 chains, vectorized, {'all' if rows == 'all' else '10 of 40'} rows " + (
        "in each step" if rows == "all" else "a step"
    )
    assert "accepts every step" in draws.notes[1]


def test_a_constrained_parameter_is_moved_where_it_is_unconstrained() -> None:
    """Model: p ~ Beta(2, 3), y_i ~ Bernoulli(p). The bias of the variance is about h A / 4 of it, A that of logit p."""
    y = np.random.default_rng(1).binomial(1, 0.3, 60)
    posterior = beta(2 + y.sum(), 3 + len(y) - y.sum())
    spec = {"dgmppl": 1, "data": {"y": y.tolist()}, "parameters": {"p": "Beta(2, 3)"}, "model": {"y": "Bernoulli(p)"}}
    p = drawn("sghmc(step_size=0.05, friction=0.3, warmup=200, draws=4000)", spec=spec).posterior["p"]
    assert ((p > 0) & (p < 1)).all()
    share = 0.05 * (5 + len(y)) / len(y) / 4
    assert within(p, posterior.mean(), share * posterior.std())
    assert within((p - posterior.mean()) ** 2, posterior.var(), 2 * share * posterior.var())


def test_a_step_that_is_too_long_is_refused() -> None:
    with pytest.raises(RunError, match=r"a chain ran away within .* take a smaller step_size"):
        drawn("sgld(step_size=5, warmup=1000, draws=1000)")


# ---- which backend has which engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["smc", "sgld", "sghmc"])
def test_a_backend_without_an_engine_refuses_it_before_data_are_read(engine: str) -> None:
    """The file of the data does not exist: whatever would be said of it comes second."""
    text = f"dgmppl: 1\ndata:\n  y: {{file: nowhere.csv}}\nmodel:\n  y: Normal(0, 1)\ninfer: {engine}()\n"
    (found,) = check(text, backend="pyro")
    assert (found.code, found.fix, found.span and found.span.line) == ("not-lowered", "--backend numpyro", 6)
    assert found.message == f"{engine}() is not on the pyro backend, which has nuts, hmc, svi, laplace, map"
    with pytest.raises(UnsupportedError, match=r"is not on the pyro backend"):
        dg.compile(text, backend="pyro")
    assert all("backend" not in one.message for one in check(text))


@pytest.mark.parametrize("engine", ["smc", "sgld", "sghmc"])
def test_the_support_that_explain_reports_is_the_engine_s(engine: str) -> None:
    support = dg.compile({**NORMAL, "infer": f"{engine}()"}).explain()["backend_support"]
    assert support["numpyro"] is True
    assert f"{engine}() is not on the pyro backend" in support["pyro"]
    assert backend_support(compile_spec({**NORMAL, "infer": "nuts()"})) == {"numpyro": True, "pyro": True}


def test_mini_batches_need_every_unknown_to_be_of_all_rows() -> None:
    """A latent of each row that a step does not read would stand still: refused by explain and fit alike."""
    spec = {**NORMAL, "model": {"z": "StudentT(4, mu, 1)", "y": "Normal(z, 1)"}, "infer": "sgld(warmup=5, draws=5)"}
    small, whole = ({**spec, "train": {"batch_size": size}} for size in (10, "all"))
    assert "sgld() on mini-batches needs z summed" in dg.compile(small).explain()["backend_support"]["numpyro"]
    assert dg.compile(whole).explain()["backend_support"]["numpyro"] is True
    with pytest.raises(UnsupportedError, match=r"sgld\(\) on mini-batches needs z summed or integrated out") as error:
        dg.compile(small).fit(seed=0)
    assert error.value.diagnostics[0].fix == "write `train: {batch_size: all}`"


def test_explain_says_that_the_draws_are_approximate() -> None:
    facts = dg.compile({**NORMAL, "infer": "sgld()"}).explain()
    assert any("the draws are approximate" in note for note in facts["notes"])
    assert "Welling and Teh 2011" in facts["references"]

"""Posteriors against published reference draws (posteriordb) and against conjugate posteriors in closed form."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest

import dgmppl as dg
from dgmppl.api.fitted import Fit
from tests.support import BACKENDS, REFERENCE, SPECS

with warnings.catch_warnings():
    # 0.23 announces 1.0 once a day.
    warnings.simplefilter("ignore")
    import arviz as az

pytestmark = pytest.mark.filterwarnings("ignore")

SCHOOLS = "eight_schools-eight_schools_noncentered"
NUTS = "nuts(warmup=1000, draws=1000, chains=4)"


def reference(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((REFERENCE / f"{name}.json").read_text())
    return loaded


def check(fit: Fit, columns: dict[str, np.ndarray], name: str) -> None:
    """Means within four standard errors of both Monte Carlo runs, R-hat below 1.01.

    The reference means are over 10,000 independent draws: their standard error is a hundredth of the sd.
    """
    published = reference(name)["reference_mean_sd"]
    for quantity, (mean, sd) in published.items():
        draws = columns[quantity].astype(np.float64)
        error = 4 * math.hypot(float(az.mcse(draws)), sd / 100)
        assert abs(draws.mean() - mean) < error, (quantity, draws.mean(), mean, error)
        assert float(az.rhat(draws)) < 1.01, quantity
    assert fit.draws is not None
    assert not fit.draws.sample_stats["diverging"].any()


def numbered(**parameters: np.ndarray) -> dict[str, np.ndarray]:
    """Elements of vectors under the database's names, `beta[1]`."""
    columns: dict[str, np.ndarray] = {}
    for name, draws in parameters.items():
        if draws.ndim == 2:
            columns[name] = draws
        else:
            columns |= {f"{name}[{place + 1}]": draws[..., place] for place in range(draws.shape[-1])}
    return columns


# ---- reference posteriors -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_schools(backend: str) -> None:
    fit = dg.compile(SPECS / "eight_schools.yaml", backend=backend).fit(seed=0)
    assert fit.draws is not None
    columns = numbered(**fit.draws.posterior)
    check(fit, columns, SCHOOLS)
    summary = az.summary(fit.to_arviz())
    assert {f"theta[{school}]" for school in "ABCDEFGH"} < set(summary.index)


def regression(outcome: np.ndarray, design: np.ndarray, prior: str, scale: str) -> dict[str, Any]:
    return {
        "dgmppl": 1,
        "data": {"y": outcome.tolist(), "X": design.tolist()},
        "parameters": {"beta": prior, "sigma": scale},
        "model": {"y": "Normal(X @ beta, sigma)"},
        "infer": NUTS,
    }


def columns_of(name: str, *names: str) -> list[np.ndarray]:
    data = reference(name)["data"]
    return [np.asarray(data[column], dtype=np.float64) for column in names]


def blr() -> dict[str, Any]:
    y, X = columns_of("sblri-blr", "y", "X")
    return regression(y, X, "Normal(zeros(5), 10)", "HalfNormal(10)")


def kidiq() -> dict[str, Any]:
    y, school, iq = columns_of("kidiq-kidscore_interaction", "kid_score", "mom_hs", "mom_iq")
    X = np.stack([np.ones_like(y), school, iq, school * iq], 1)
    return regression(y, X, "Flat(real, shape=4)", "HalfCauchy(2.5)")


def earnings() -> dict[str, Any]:
    earn, height, male = columns_of("earnings-logearn_interaction", "earn", "height", "male")
    X = np.stack([np.ones_like(earn), height, male, height * male], 1)
    return regression(np.log(earn), X, "Flat(real, shape=4)", "Flat(positive)")


def mesquite() -> dict[str, Any]:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    weight, group, *sizes = columns_of("mesquite-logmesquite", "weight", "group", *names)
    X = np.stack([np.ones_like(weight), *(np.log(size) for size in sizes), group], 1)
    return regression(np.log(weight), X, "Flat(real, shape=7)", "Flat(positive)")


def nes() -> dict[str, Any]:
    names = ("real_ideo", "race_adj", "age_discrete", "educ1", "gender", "income")
    party, ideology, race, age, education, gender, income = columns_of("nes1972-nes", "partyid7", *names)
    ages = [(age == level).astype(float) for level in (2, 3, 4)]
    X = np.stack([np.ones_like(party), ideology, race, *ages, education, gender, income], 1)
    return regression(party, X, "Flat(real, shape=9)", "Flat(positive)")


def mixture() -> dict[str, Any]:
    (y,) = columns_of("low_dim_gauss_mix-low_dim_gauss_mix", "y")
    return {
        "dgmppl": 1,
        "data": {"y": y.tolist()},
        "parameters": {
            "theta": "Beta(5, 5)",
            "mu": "Ordered(Normal(zeros(2), 2))",
            "sigma": "HalfNormal(2 * ones(2))",
        },
        "model": {"k": "Bernoulli(1 - theta)", "y": "Normal(mu[k], sigma[k])"},
        "infer": NUTS,
    }


# Regressors that are nearly collinear with the intercept: a dense mass matrix follows them.
LINEAR = {
    "sblri-blr": blr,
    "kidiq-kidscore_interaction": kidiq,
    "earnings-logearn_interaction": earnings,
    "mesquite-logmesquite": mesquite,
    "nes1972-nes": nes,
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_published_posteriors(name: str) -> None:
    spec = LINEAR[name]()
    fit = dg.compile(spec, overrides=[]).fit(seed=0, precision="float64")
    assert fit.draws is not None
    check(fit, numbered(**fit.draws.posterior), name)

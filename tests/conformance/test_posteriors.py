"""Posteriors against published reference draws (posteriordb) and against conjugate posteriors in closed form."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import beta, multivariate_normal, norm

import dgmppl as dg
from dgmppl.backend import Draws
from tests.support import REFERENCE, SPECS

with warnings.catch_warnings():
    # 0.23 announces 1.0 once a day.
    warnings.simplefilter("ignore")
    import arviz as az

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quick_compilation")]

# Without torch, NumPyro alone.
BACKENDS = tuple(name for name, library in (("numpyro", "jax"), ("pyro", "torch")) if find_spec(library))
SCHOOLS = "eight_schools-eight_schools_noncentered"
NUTS = "nuts(warmup=1000, draws=1000, chains=4)"


def reference(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((REFERENCE / f"{name}.json").read_text())
    return loaded


def check(columns: dict[str, np.ndarray], name: str) -> None:
    """Means within four standard errors of both Monte Carlo runs, R-hat below 1.01.

    The reference means are over 10,000 independent draws: their standard error is a hundredth of the sd.
    """
    published = reference(name)["reference_mean_sd"]
    for quantity, (mean, sd) in published.items():
        draws = columns[quantity].astype(np.float64)
        error = 4 * math.hypot(float(az.mcse(draws)), sd / 100)
        assert abs(draws.mean() - mean) < error, (quantity, draws.mean(), mean, error)
        assert float(az.rhat(draws)) < 1.01, quantity


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
    """With half the spec's draws: their standard error is the chains' own."""
    shorter = "infer=nuts(warmup=500, draws=500, chains=4, reparameterize=[theta])"
    fit = dg.compile(SPECS / "eight_schools.yaml", backend=backend, overrides=[shorter]).fit(seed=0)
    assert fit.draws is not None
    columns = numbered(**fit.draws.posterior)
    check(columns, SCHOOLS)
    summary = az.summary(fit.to_arviz())
    assert {f"theta[{school}]" for school in "ABCDEFGH"} < set(summary.index)


def mechanistic(backend: str, engine: str) -> dict[str, np.ndarray]:
    """Draws of the canonical model of lynxes and hares."""
    compiled = dg.compile(SPECS / "lotka_volterra.yaml", backend=backend, overrides=[f"infer={engine}"])
    fit = compiled.fit(seed=0, precision="float64")
    assert fit.draws is not None
    posterior = fit.draws.posterior
    return numbered(theta=posterior["theta"], sigma=posterior["sigma"], z_init=posterior["start"])


@pytest.mark.slow
@pytest.mark.usefixtures("thorough_compilation")
def test_lynxes_and_hares() -> None:
    check(mechanistic("numpyro", "nuts(warmup=500, draws=500, chains=4)"), "hudson_lynx_hare-lotka_volterra")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_few_lynxes_and_hares(backend: str) -> None:
    """Whether it runs at all: a solution of torchdiffeq takes a thousand times as long as a compiled one."""
    columns = mechanistic(backend, "nuts(warmup=4, draws=4, chains=1, max_depth=3)")
    assert all(np.isfinite(draws).all() for draws in columns.values())
    assert (columns["theta[1]"] > 0).all()


@dataclass(frozen=True)
class Regression:
    """A linear model y ~ N(X beta, sigma).

    A flat prior on beta is flat on R beta too, so that the sampler may be given the orthogonal design Q of X = Q R.
    """

    outcome: np.ndarray
    design: np.ndarray
    prior: str
    scale: str

    @property
    def root(self) -> np.ndarray:
        """R, scaled so that the columns of Q have unit mean square; the identity under a proper prior."""
        if not self.prior.startswith("Flat"):
            return np.eye(self.design.shape[1])
        return np.asarray(np.linalg.qr(self.design, mode="r")) / math.sqrt(len(self.design))

    def draws(self) -> dict[str, np.ndarray]:
        spec = {
            "dgmppl": 1,
            "data": {"y": self.outcome.tolist(), "X": np.linalg.solve(self.root.T, self.design.T).T.tolist()},
            "parameters": {"beta": self.prior, "sigma": self.scale},
            "model": {"y": "Normal(X @ beta, sigma)"},
            "infer": NUTS,
        }
        fit = dg.compile(spec).fit(seed=0, precision="float64")
        assert fit.draws is not None
        posterior = fit.draws.posterior
        return {**posterior, "beta": np.linalg.solve(self.root, posterior["beta"][..., None])[..., 0]}


def columns_of(name: str, *names: str) -> list[np.ndarray]:
    data = reference(name)["data"]
    return [np.asarray(data[column], dtype=np.float64) for column in names]


def blr() -> Regression:
    y, X = columns_of("sblri-blr", "y", "X")
    return Regression(y, X, "Normal(zeros(5), 10)", "HalfNormal(10)")


def kidiq() -> Regression:
    y, school, iq = columns_of("kidiq-kidscore_interaction", "kid_score", "mom_hs", "mom_iq")
    X = np.stack([np.ones_like(y), school, iq, school * iq], 1)
    return Regression(y, X, "Flat(real, shape=4)", "HalfCauchy(2.5)")


def earnings() -> Regression:
    earn, height, male = columns_of("earnings-logearn_interaction", "earn", "height", "male")
    X = np.stack([np.ones_like(earn), height, male, height * male], 1)
    return Regression(np.log(earn), X, "Flat(real, shape=4)", "Flat(positive)")


def mesquite() -> Regression:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    weight, group, *sizes = columns_of("mesquite-logmesquite", "weight", "group", *names)
    X = np.stack([np.ones_like(weight), *(np.log(size) for size in sizes), group], 1)
    return Regression(np.log(weight), X, "Flat(real, shape=7)", "Flat(positive)")


def nes() -> Regression:
    names = ("real_ideo", "race_adj", "age_discrete", "educ1", "gender", "income")
    party, ideology, race, age, education, gender, income = columns_of("nes1972-nes", "partyid7", *names)
    ages = [(age == level).astype(float) for level in (2, 3, 4)]
    X = np.stack([np.ones_like(party), ideology, race, *ages, education, gender, income], 1)
    return Regression(party, X, "Flat(real, shape=9)", "Flat(positive)")


LINEAR = {
    "sblri-blr": blr,
    "kidiq-kidscore_interaction": kidiq,
    "earnings-logearn_interaction": earnings,
    "mesquite-logmesquite": mesquite,
    "nes1972-nes": nes,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_published_posteriors(name: str) -> None:
    check(numbered(**LINEAR[name]().draws()), name)


def whole(spec: str, **data: np.ndarray | float) -> dict[str, np.ndarray]:
    """Draws of a canonical spec on other data, each column one event, by parameter: [chain, draw]."""
    events = {name: np.asarray(values, dtype=np.float64) for name, values in data.items()}
    columns = {
        name: {"shape": list(event.shape), "whole": True, **({"support": "positive"} if not event.shape else {})}
        for name, event in events.items()
    }
    program = dg.compile({"dgmppl": 1, "extends": str(SPECS / f"{spec}.yaml"), "data": columns})
    fit = program.fit(data=events, seed=0, precision="float64")
    assert fit.draws is not None
    return dict(fit.draws.posterior)


@pytest.mark.slow
def test_garch() -> None:
    """A recursion inside a chain, and b1 < 1 - a1."""
    data = reference("garch-garch11")["data"]
    draws = whole("garch", y=data["y"], sigma0=data["sigma1"])
    names = {"mu": "mu", "a0": "alpha0", "a1": "alpha1", "b1": "beta1"}
    check({names[name]: values for name, values in draws.items()}, "garch-garch11")
    assert (draws["a1"] + draws["b1"] < 1).all()


@pytest.mark.slow
def test_a_gaussian_process() -> None:
    data = reference("gp_pois_regr-gp_regr")["data"]
    check(whole("gp", x=data["x"], y=data["y"]), "gp_pois_regr-gp_regr")


# ---- conjugate posteriors in closed form ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Conjugate:
    """A model of one parameter whose posterior and evidence (nats) are known."""

    spec: dict[str, Any]
    name: str
    mean: float
    variance: float
    evidence: float


def normal_normal() -> Conjugate:
    """Model: mu ~ N(0, 4^2), y_i ~ N(mu, 1)."""
    y = np.random.default_rng(0).normal(1.5, 1.0, 40)
    spec = {
        "dgmppl": 1,
        "data": {"y": y.tolist()},
        "parameters": {"mu": "Normal(0, 4)"},
        "model": {"y": "Normal(mu, 1)"},
    }
    variance = 1 / (1 / 16 + len(y))
    marginal = multivariate_normal(np.zeros(len(y)), np.eye(len(y)) + 16.0)
    return Conjugate(spec, "mu", variance * y.sum(), variance, float(marginal.logpdf(y)))


def beta_binomial() -> Conjugate:
    """Model: p ~ Beta(2, 3), y_i ~ Bernoulli(p)."""
    y = np.random.default_rng(1).binomial(1, 0.3, 60)
    spec = {"dgmppl": 1, "data": {"y": y.tolist()}, "parameters": {"p": "Beta(2, 3)"}, "model": {"y": "Bernoulli(p)"}}
    posterior = beta(2 + y.sum(), 3 + len(y) - y.sum())
    evidence = betaln(2 + y.sum(), 3 + len(y) - y.sum()) - betaln(2, 3)
    return Conjugate(spec, "p", float(posterior.mean()), float(posterior.var()), float(evidence))


CONJUGATE = {"normal": normal_normal, "beta_binomial": beta_binomial}


def inferred(case: Conjugate, backend: str, engine: str) -> Draws:
    fit = dg.compile(
        {**case.spec, "infer": engine, "train": {"schedule": "cosine()", "optimizer": "adam(rate=0.05)"}},
        backend=backend,
    ).fit(seed=0, precision="float64")
    assert fit.draws is not None
    return fit.draws


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", CONJUGATE)
def test_nuts_finds_a_conjugate_posterior(model: str, backend: str) -> None:
    case = CONJUGATE[model]()
    draws = inferred(case, backend, "nuts(warmup=300, draws=500, chains=2)").posterior[case.name]
    assert abs(draws.mean() - case.mean) < 4 * float(az.mcse(draws))
    squares = (draws - case.mean) ** 2
    assert abs(squares.mean() - case.variance) < 4 * float(az.mcse(squares))


@pytest.mark.parametrize("engine", ["svi(guide=auto(mean_field), steps=1500, draws=1000)", "laplace(draws=1000)"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", CONJUGATE)
def test_approximations_know_their_error(model: str, backend: str, engine: str) -> None:
    """Weights p / q turn draws of q into the exact posterior and the exact evidence, within their Monte Carlo error.

    A mean field of normals holds the normal posterior itself: there the divergence, estimated by log Z minus the mean
    of log p - log q, is what the optimizer leaves, and the mean is off by at most sqrt(2 KL) standard deviations.
    """
    case = CONJUGATE[model]()
    draws = inferred(case, backend, engine)
    assert draws.log_p is not None
    assert draws.log_q is not None
    ratios, values = (draws.log_p - draws.log_q)[0], draws.posterior[case.name][0]
    weights = np.exp(ratios - case.evidence)
    count, rounding = len(ratios), 1e-6
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(count) + rounding
    for function, exact in ((values, case.mean), ((values - case.mean) ** 2, case.variance)):
        estimate = (weights * function).sum() / weights.sum()
        error = np.sqrt((weights**2 * (function - estimate) ** 2).sum()) / weights.sum()
        assert abs(estimate - exact) < 4 * error
    if model == "normal":
        divergence = case.evidence - ratios.mean()
        noise = 4 * ratios.std() / math.sqrt(count) + rounding
        assert -noise < divergence < 0.01 + noise
        sd = math.sqrt(case.variance)
        assert abs(values.mean() - case.mean) < sd * (math.sqrt(2 * (divergence + noise)) + 4 / math.sqrt(count))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_declared_guide_stands_beside_an_automatic_one(backend: str) -> None:
    """Model: mu ~ N(0, 4^2), z_i ~ N(mu, 1), y_i ~ N(z_i, 1); q(mu) q(z_i | y_i) has its optimum in closed form.

    There q(z_i) = N((y_i + m) / 2, 1 / 2), m the exact posterior mean of mu. With a gap in the ELBO, which along m has
    the curvature 1 / 16 + n / 2 once the guide has followed, m is off by at most sqrt(2 gap / curvature).
    """
    y = np.random.default_rng(0).normal(1.5, 1.4, 40)
    spec = {
        "dgmppl": 1,
        "data": {"y": y.tolist()},
        "parameters": {"mu": "Normal(0, 4)", "a": "learned(0.0)", "b": "learned(0.0)", "s": "learned(positive())"},
        "model": {"z": "Normal(mu, 1)", "y": "Normal(z, 1)"},
        "guide": {"z": "Normal(a + b * y, s)"},
        "infer": "svi(steps=1000, particles=4, draws=500)",
        "train": {"schedule": "cosine()", "optimizer": "adam(rate=0.02)"},
    }
    draws = dg.compile(spec, backend=backend).fit(seed=0, precision="float64").draws
    assert draws is not None
    assert draws.log_p is not None
    assert set(draws.posterior) == {"mu", "a", "b", "s"}
    count, curvature = len(y), 1 / 16 + len(y) / 2
    mean, variance = y.sum() / 2 / curvature, 1 / (1 / 16 + count)
    z = (y + mean) / 2
    entropy = norm(0, math.sqrt(variance)).entropy() + count * norm(0, math.sqrt(0.5)).entropy()
    prior = norm(0, 4).logpdf(mean) - variance / 32 + norm.logpdf(z, mean).sum() - count * (0.5 + variance) / 2
    best = prior + norm.logpdf(y, z).sum() - count / 4 + entropy
    bounds = (draws.log_p - draws.log_q)[0]
    noise = 4 * bounds.std() / math.sqrt(len(bounds))
    gap = best - bounds.mean()
    assert -noise < gap < 0.05 + noise
    error = math.sqrt(2 * (gap + noise) / curvature) + 4 * math.sqrt(variance / len(bounds))
    assert abs(draws.posterior["mu"].mean() - mean) < error
    assert float(draws.posterior["s"][0, 0]) == pytest.approx(math.sqrt(0.5), rel=2 * math.sqrt((gap + noise) / count))

"""Densities and bounds against closed forms, scikit-learn, brute force: both backends, float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from tests.support import BACKENDS, both, noise_for, start

RNG = np.random.default_rng(7)
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def _evaluate(spec, function, values, batch, **options):
    """A function's result on both backends, which must agree."""
    results = [one.executable.call(function, values, batch, **options) for one in both(spec).values()]
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], **TIGHT)
    return results[0]


def test_gaussian_mixture_equals_scikit_learn() -> None:
    x = RNG.normal(size=(40, 4))
    spec = {
        "dgmppl": 1,
        "name": "clusters",
        "data": {"obs": {"values": x.tolist()}},
        "parameters": {
            "share": "learned(simplex(3))",
            "centre": "learned(normal(3, 4))",
            "width": "learned(positive(3, 4))",
        },
        "model": {"which": "Categorical(probs=share)", "obs": "Normal(centre[which], width[which])"},
    }
    share, centre, width = np.array([0.2, 0.5, 0.3]), RNG.normal(size=(3, 4)), RNG.uniform(0.5, 2, (3, 4))
    reference = GaussianMixture(3, covariance_type="diag").fit(x)
    reference.weights_, reference.means_, reference.covariances_ = share, centre, width**2
    reference.precisions_cholesky_ = 1 / width
    values = {"share": share, "centre": centre, "width": width}
    np.testing.assert_allclose(
        _evaluate(spec, "log_prob", values, {"obs": x})["value"], reference.score_samples(x), rtol=1e-6, atol=1e-6
    )
    posterior = _evaluate(spec, "posterior", values, {"obs": x})
    np.testing.assert_allclose(posterior["which.probs"], reference.predict_proba(x), **TIGHT)


def test_two_discrete_latents_equal_brute_force() -> None:
    y = RNG.normal(size=(6, 2))
    table, root, child = RNG.normal(size=(3, 4, 2)), RNG.dirichlet(np.ones(3)), RNG.dirichlet(np.ones(4), size=3)
    spec = {
        "dgmppl": 1,
        "name": "tree",
        "data": {"leaf": {"values": y.tolist()}},
        "parameters": {
            "root": "learned(simplex(3))",
            "child": "learned(simplex(3, 4))",
            "table": "learned(normal(3, 4, 2))",
        },
        "model": {
            "top": "Categorical(probs=root)",
            "mid": "Categorical(probs=child[top])",
            "leaf": "Normal(table[top][mid], 0.6)",
        },
    }
    values = {"root": root, "child": child, "table": table}
    terms = [
        np.log(root[a]) + np.log(child[a, b]) + stats.norm(table[a, b], 0.6).logpdf(y).sum(-1)
        for a, b in itertools.product(range(3), range(4))
    ]
    result = _evaluate(spec, "log_prob", values, {"leaf": y})["value"]
    np.testing.assert_allclose(result, logsumexp(terms, axis=0), **TIGHT)
    joint = np.exp(np.array(terms) - logsumexp(terms, axis=0)).reshape(3, 4, 6)
    posterior = _evaluate(spec, "posterior", values, {"leaf": y})
    np.testing.assert_allclose(posterior["top.probs"], joint.sum(1).T, **TIGHT)
    np.testing.assert_allclose(posterior["mid.probs"], joint.sum(0).T, **TIGHT)


def test_indicator_vectors_are_summed_over_their_classes() -> None:
    """Two vectors of three entries have 3^2 values, not 2^6: by hand."""
    y, table, share = RNG.normal(size=6), RNG.normal(size=(2, 3)), RNG.dirichlet(np.ones(3), size=2)
    spec = {
        "dgmppl": 1,
        "name": "indicators",
        "data": {"leaf": {"values": y.tolist()}},
        "parameters": {"share": "learned(simplex(2, 3))", "table": "learned(normal(2, 3))"},
        "model": {"which": "OneHotCategorical(probs=share)", "leaf": "Normal(sum(which * table), 0.6)"},
    }
    terms = [
        np.log(share[0, a] * share[1, b]) + stats.norm(table[0, a] + table[1, b], 0.6).logpdf(y)
        for a, b in itertools.product(range(3), range(3))
    ]
    values = {"share": share, "table": table}
    result = _evaluate(spec, "log_prob", values, {"leaf": y})["value"]
    np.testing.assert_allclose(result, logsumexp(terms, axis=0), **TIGHT)
    posterior = _evaluate(spec, "posterior", values, {"leaf": y})["which.probs"]
    np.testing.assert_allclose(posterior, np.exp(np.array(terms) - logsumexp(terms, axis=0)).T, **TIGHT)


def test_a_chain_of_indicator_vectors_is_summed_over_its_classes() -> None:
    """p(x) by the forward recursion in NumPy; the rule of that name takes classes as numbers, and says so."""
    x, share, loc = RNG.normal(size=(3, 4)), np.array([0.2, 0.3, 0.5]), RNG.normal(size=3)
    move = RNG.dirichlet(np.ones(3), 3)
    spec = {
        "dgmppl": 1,
        "name": "chain",
        "data": {"x": {"shape": [4], "support": "real"}},
        "parameters": {"p": "learned(simplex(3))", "A": "learned(simplex(3, 3))", "m": "learned(normal(3))"},
        "model": {
            "z[0]": "OneHotCategorical(probs=p)",
            "z[t]": "OneHotCategorical(logits=z[t-1] @ log(A))",
            "x[t]": "Normal(sum(z[t] * m), 1)",
        },
    }
    alpha = share * stats.norm(loc, 1).pdf(x[:, :1])
    for t in range(1, 4):
        alpha = (alpha @ move) * stats.norm(loc, 1).pdf(x[:, t, None])
    found = _evaluate(spec, "log_prob", {"p": share, "A": move, "m": loc}, {"x": x})["value"]
    np.testing.assert_allclose(found, np.log(alpha.sum(1)), **TIGHT)


LINEAR = {
    "dgmppl": 1,
    "name": "factor",
    "parameters": {"load": "learned(normal(5, 2))", "shift": "learned(zeros(5))", "noise": "learned(positive(5))"},
    "model": {"code": "Normal(0.3, 1.4, shape=2)", "obs": "Normal(shift + load @ code, noise)"},
}
LINEAR_VALUES = {"load": RNG.normal(size=(5, 2)), "shift": RNG.normal(size=5), "noise": RNG.uniform(0.4, 1.2, 5)}
LINEAR_DATA = RNG.normal(size=(9, 5))


def _linear(**changes):
    return {**LINEAR, "data": {"obs": {"values": LINEAR_DATA.tolist()}}, **changes}


def _marginal():
    load, shift, noise = (LINEAR_VALUES[name] for name in ("load", "shift", "noise"))
    mean = shift + load @ np.full(2, 0.3)
    return mean, load @ load.T * 1.4**2 + np.diag(noise**2)


def _exact_posterior():
    mean, covariance = _marginal()
    gain = 1.4**2 * LINEAR_VALUES["load"].T @ np.linalg.inv(covariance)
    location = 0.3 + (LINEAR_DATA - mean) @ gain.T
    return gain, mean, location, 1.4**2 * (np.eye(2) - gain @ LINEAR_VALUES["load"])


def test_linear_gaussian_marginal_and_posterior() -> None:
    mean, covariance = _marginal()
    batch = {"obs": LINEAR_DATA}
    expected = stats.multivariate_normal(mean, covariance).logpdf(LINEAR_DATA)
    np.testing.assert_allclose(_evaluate(_linear(), "log_prob", LINEAR_VALUES, batch)["value"], expected, **TIGHT)
    _, _, location, spread = _exact_posterior()
    posterior = _evaluate(_linear(), "posterior", LINEAR_VALUES, batch)
    np.testing.assert_allclose(posterior["code.loc"], location, **TIGHT)
    np.testing.assert_allclose(
        np.broadcast_to(posterior["code.covariance"], (9, 2, 2)), np.broadcast_to(spread, (9, 2, 2)), **TIGHT
    )


def _guided(**changes):
    parameters = {**LINEAR["parameters"]}
    guide = {
        "code": "MultivariateNormal(learned(zeros(2)) + learned(normal(2, 5)) @ obs, scale_tril=learned(cholesky(2)))"
    }
    return _linear(parameters=parameters, guide=guide, **changes)


def _guide_values(compiled, gain, intercept, root):
    """The inline guide parameters by their shapes, whatever names the compiler gave them."""
    by_shape = {(2,): intercept, (2, 5): gain, (2, 2): root}
    return {spec.name: by_shape[spec.shape] for spec in compiled.module.parameters if spec.name not in LINEAR_VALUES}


def test_elbo_meets_the_marginal_at_the_exact_posterior_and_stays_below_elsewhere() -> None:
    gain, mean, _, spread = _exact_posterior()
    exact = stats.multivariate_normal(*_marginal()).logpdf(LINEAR_DATA)
    compiled = both(_guided())["numpyro"]
    best = {**LINEAR_VALUES, **_guide_values(compiled, gain, 0.3 - gain @ mean, np.linalg.cholesky(spread))}
    particles = 7
    noise = noise_for(compiled.module.function("log_weights"), 9, particles)
    weights = _evaluate(_guided(), "log_weights", best, {"obs": LINEAR_DATA}, noise=noise, particles=particles)["value"]
    np.testing.assert_allclose(weights, np.broadcast_to(exact, (particles, 9)), rtol=1e-9, atol=1e-8)
    worse = {**best, **_guide_values(compiled, 0.8 * gain, 0.3 - gain @ mean, 1.2 * np.linalg.cholesky(spread))}
    many = 4000
    values = compiled.executable.call("log_weights", worse, {"obs": LINEAR_DATA}, seed=3, particles=many)["value"]
    gap = exact - values.mean(0)
    error = values.std(0) / np.sqrt(many)
    assert (gap > -3 * error).all()
    assert gap.sum() > 0.05


def test_importance_weighted_bounds_rise_with_particles_and_stay_below_the_exact_value() -> None:
    gain, mean, _, spread = _exact_posterior()
    exact = stats.multivariate_normal(*_marginal()).logpdf(LINEAR_DATA)
    compiled = both(_guided())["numpyro"]
    values = {
        **LINEAR_VALUES,
        **_guide_values(compiled, 0.5 * gain, 0.3 - gain @ mean, 0.9 * np.linalg.cholesky(spread)),
    }
    draws = compiled.executable.call("log_weights", values, {"obs": LINEAR_DATA}, seed=1, particles=6400)["value"]
    bounds, errors = [], []
    for particles in (1, 2, 8, 64):
        groups = logsumexp(draws.reshape(-1, particles, 9), axis=1) - np.log(particles)
        per_group = groups.sum(-1)
        bounds.append(per_group.mean())
        errors.append(per_group.std() / np.sqrt(len(per_group)))
    for lower, upper, error in zip(bounds, bounds[1:], errors[1:], strict=False):
        assert lower < upper + 3 * error
    assert bounds[-1] - bounds[0] > 3 * errors[0]
    assert bounds[-1] < exact.sum() + 3 * errors[-1]


def test_mixture_of_factor_analysers_is_exact() -> None:
    x = RNG.normal(size=(8, 4))
    loads, means, share = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(3, 4)), RNG.dirichlet(np.ones(3))
    spec = {
        "dgmppl": 1,
        "name": "mfa",
        "data": {"obs": {"values": x.tolist()}},
        "parameters": {
            "loads": "learned(normal(3, 4, 2))",
            "means": "learned(normal(3, 4))",
            "share": "learned(simplex(3))",
        },
        "model": {
            "which": "Categorical(probs=share)",
            "code": "Normal(0, 1, shape=2)",
            "obs": "Normal(means[which] + loads[which] @ code, 0.5)",
        },
    }
    terms = [
        np.log(share[k]) + stats.multivariate_normal(means[k], loads[k] @ loads[k].T + 0.25 * np.eye(4)).logpdf(x)
        for k in range(3)
    ]
    result = _evaluate(spec, "log_prob", {"loads": loads, "means": means, "share": share}, {"obs": x})["value"]
    np.testing.assert_allclose(result, logsumexp(terms, axis=0), **TIGHT)


def test_a_chain_of_gaussian_latents_is_integrated_jointly() -> None:
    x = RNG.normal(size=(5, 3))
    first, second = RNG.normal(size=(2, 2)), RNG.normal(size=(3, 2))
    spec = {
        "dgmppl": 1,
        "name": "layers",
        "data": {"obs": {"values": x.tolist()}},
        "parameters": {"first": "learned(normal(2, 2))", "second": "learned(normal(3, 2))"},
        "model": {
            "top": "Normal(0.2, 1.1, shape=2)",
            "mid": "Normal(first @ top + 0.1, 0.7)",
            "obs": "Normal(second @ mid, 0.5)",
        },
    }
    spread = first @ first.T * 1.21 + 0.49 * np.eye(2)
    mean = second @ (first @ np.full(2, 0.2) + 0.1)
    expected = stats.multivariate_normal(mean, second @ spread @ second.T + 0.25 * np.eye(3)).logpdf(x)
    result = _evaluate(spec, "log_prob", {"first": first, "second": second}, {"obs": x})["value"]
    np.testing.assert_allclose(result, expected, **TIGHT)


HIERARCHY = {
    "dgmppl": 1,
    "name": "two-layers",
    "networks": {"up": "mlp([5], activation=tanh)", "out": "mlp([5], activation=tanh)"},
    "model": {
        "deep": "Normal(0, 1, shape=2)",
        "near": "Normal(**up(deep), shape=3)",
        "obs": "Normal(out(near), 0.6)",
    },
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_form_divergences_leave_the_expected_elbo_unchanged(backend: str) -> None:
    """With the inverted guide q(near|obs) q(deep|near) the analytic bound equals the sampled one in expectation."""
    spec = {**HIERARCHY, "data": {"obs": {"values": RNG.normal(size=(4, 3)).tolist()}}}
    compiled = both(spec)[backend]
    values = start(compiled, 3, jitter=0.15)
    batch = {"obs": np.asarray(spec["data"]["obs"]["values"])}
    count = 20000
    analytic = compiled.executable.call("elbo", values, batch, seed=1, particles=count)["value"]
    weights = compiled.executable.call("log_weights", values, batch, seed=2, particles=count)["value"]
    error = weights.std(0) / np.sqrt(count) * np.sqrt(2)
    assert (np.abs(analytic - weights.mean(0)) < 4 * error).all()
    assert error.max() < 0.05, "the comparison would not see a wrong substitution of 0.3 nats"


# The spec as it is, and the same maximum in a third of the steps.
QUICKLY = ["train.steps=1000", "train.optimizer=adam(3e-2)", "train.schedule=cosine()"]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "overrides"), [("numpyro", []), ("pyro", QUICKLY)], ids=["numpyro", "pyro"])
def test_ppca_reaches_the_eigen_solution(backend: str, overrides: list[str]) -> None:
    import dgmppl as dg

    fit = dg.compile("specs/ppca.yaml", backend=backend, overrides=overrides).fit(seed=0)
    from sklearn.datasets import load_digits

    x = load_digits().images.reshape(-1, 64)
    scaled = (x - x.mean()) / x.std()
    sample = np.cov(scaled.T, bias=True)
    eigenvalues = np.sort(np.linalg.eigvalsh(sample))[::-1]
    noise = eigenvalues[8:].mean()
    best = -0.5 * (64 * np.log(2 * np.pi) + np.log(eigenvalues[:8]).sum() + 56 * np.log(noise) + 64)
    reached = fit.log_prob(x.reshape(-1, 8, 8)).mean() + 64 * np.log(x.std())
    assert best - 1e-3 <= reached <= best + 1e-4

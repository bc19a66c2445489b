"""The two runtimes' densities, divergences, bijections and primitives: equal to each other and to the libraries."""

from __future__ import annotations

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
import torch
import torch.distributions as td

from dgmppl.ir.types import Support
from dgmppl_numpyro import constraints as jax_constraints
from dgmppl_numpyro import densities as jax_densities
from dgmppl_numpyro import draws as jax_draws
from dgmppl_numpyro import operations as jax_operations
from dgmppl_pyro import constraints as torch_constraints
from dgmppl_pyro import densities as torch_densities
from dgmppl_pyro import draws as torch_draws
from dgmppl_pyro import operations as torch_operations

pytestmark = pytest.mark.usefixtures("quick_compilation")

TOLERANCE = 1e-9


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def real(*shape: int) -> np.ndarray:
    return rng().normal(size=shape)


def positive(*shape: int) -> np.ndarray:
    return np.exp(rng().normal(size=shape) * 0.5)


def unit(*shape: int) -> np.ndarray:
    return rng().uniform(0.05, 0.95, size=shape)


def count(*shape: int, high: int = 6) -> np.ndarray:
    return rng().integers(0, high, size=shape)


def simplex(*shape: int) -> np.ndarray:
    return rng().dirichlet(np.ones(shape[-1]), size=shape[:-1])


def root(*shape: int) -> np.ndarray:
    lower = np.tril(rng().normal(size=(*shape, shape[-1])) * 0.4)
    return lower + np.eye(shape[-1]) * (1.5 - lower)


def both(name: str, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
    def to_torch(value: object) -> object:
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    def to_jax(value: object) -> object:
        return jnp.asarray(value) if isinstance(value, np.ndarray) else value

    first = getattr(torch_densities, name)(*map(to_torch, arguments))
    second = getattr(jax_densities, name)(*map(to_jax, arguments))
    return first, second


def onehot(index: np.ndarray, size: int) -> np.ndarray:
    return np.eye(size)[index]


D = 4
COV = root(D) @ root(D).T
FACTOR, DIAGONAL = real(5, D, 2), positive(5, D)
LOW_RANK = FACTOR @ FACTOR.mT + DIAGONAL[..., None] * np.eye(D)
X, LOC = real(5, D), real(D) + 0.3

# name -> arguments, and the same log-density by scipy or torch.distributions.
CASES: dict[str, tuple[tuple[object, ...], object]] = {
    "normal": ((X, LOC, positive(D)), lambda x, m, s: st.norm.logpdf(x, m, s)),
    "standard_normal": ((X,), st.norm.logpdf),
    "log_normal": ((positive(5), 0.3, 0.7), lambda x, m, s: st.lognorm.logpdf(x, s, scale=math.exp(m))),
    "laplace": ((X, LOC, positive(D)), lambda x, m, s: st.laplace.logpdf(x, m, s)),
    "logistic": ((X, LOC, positive(D)), lambda x, m, s: st.logistic.logpdf(x, m, s)),
    "cauchy": ((X, LOC, positive(D)), lambda x, m, s: st.cauchy.logpdf(x, m, s)),
    "gumbel": ((X, LOC, positive(D)), lambda x, m, s: st.gumbel_r.logpdf(x, m, s)),
    "student_t": ((X, 3.5, LOC, positive(D)), lambda x, v, m, s: st.t.logpdf(x, v, m, s)),
    "von_mises": ((X, LOC, positive(D)), lambda x, m, k: st.vonmises.logpdf(x, k, m)),
    "uniform": ((unit(5), -0.5, 2.0), lambda x, a, b: st.uniform.logpdf(x, a, b - a)),
    "at_least": ((X, 0.1), lambda x, low: np.where(x >= low, 0.0, -np.inf)),
    "at_most": ((X, 0.1), lambda x, high: np.where(x <= high, 0.0, -np.inf)),
    "half_normal": ((positive(5), 1.3), lambda x, s: st.halfnorm.logpdf(x, scale=s)),
    "half_cauchy": ((positive(5), 1.3), lambda x, s: st.halfcauchy.logpdf(x, scale=s)),
    "exponential": ((positive(5), 1.3), lambda x, r: st.expon.logpdf(x, scale=1 / r)),
    "gamma": ((positive(5), positive(5) + 1, 1.3), lambda x, a, r: st.gamma.logpdf(x, a, scale=1 / r)),
    "inverse_gamma": ((positive(5), 2.5, positive(5)), lambda x, a, r: st.invgamma.logpdf(x, a, scale=r)),
    "beta": ((unit(5), positive(5), 2.5), st.beta.logpdf),
    "dirichlet": ((simplex(D), positive(D)), st.dirichlet.logpdf),
    "bernoulli_logits": ((count(5, D, high=2), X), lambda x, a: st.bernoulli.logpmf(x, 1 / (1 + np.exp(-a)))),
    "bernoulli_probs": ((count(5, high=2), unit(5)), st.bernoulli.logpmf),
    "categorical_logits": (
        (count(5, high=D), X),
        lambda x, a: td.Categorical(logits=torch.tensor(a)).log_prob(torch.tensor(x)),
    ),
    "categorical_probs": ((count(5, high=D), simplex(5, D)), lambda x, p: np.log(p[np.arange(5), x])),
    "one_hot_categorical_logits": (
        (onehot(count(5, high=D), D), X),
        lambda x, a: (x * (a - np.log(np.exp(a).sum(-1, keepdims=True)))).sum(-1),
    ),
    "one_hot_categorical_probs": ((onehot(count(5, high=D), D), simplex(5, D)), lambda x, p: np.log((x * p).sum(-1))),
    "binomial_logits": ((count(5), 7, real(5)), lambda x, n, a: st.binom.logpmf(x, n, 1 / (1 + np.exp(-a)))),
    "binomial_probs": ((count(5), 7, unit(5)), lambda x, n, p: st.binom.logpmf(x, n, p)),
    "geometric_logits": ((count(5), real(5)), lambda x, a: st.geom.logpmf(x + 1, 1 / (1 + np.exp(-a)))),
    "geometric_probs": ((count(5), unit(5)), lambda x, p: st.geom.logpmf(x + 1, p)),
    "poisson": ((count(5), positive(5)), st.poisson.logpmf),
    "negative_binomial": ((count(5), positive(5) * 3, 1.7), lambda x, m, r: st.nbinom.logpmf(x, r, r / (r + m))),
    "beta_binomial": ((count(5), positive(5) * 3, 1.7, 6), lambda x, a, b, n: st.betabinom.logpmf(x, n, a, b)),
    "discretized_logistic": ((count(5, high=8), real(5) * 0.3, 0.2, 8), None),
    "multivariate_normal": ((X, LOC, root(D)), lambda x, m, _: st.multivariate_normal.logpdf(x, m, COV)),
    "low_rank_normal": (
        (X, LOC, FACTOR, DIAGONAL),
        lambda x, m, *_: [st.multivariate_normal.logpdf(a, m, C) for a, C in zip(x, LOW_RANK, strict=True)],
    ),
    "low_rank_multivariate_normal": (
        (X, LOC, FACTOR, DIAGONAL),
        lambda x, m, W, d: td.LowRankMultivariateNormal(
            *map(torch.tensor, (np.broadcast_to(m, x.shape).copy(), W, d))
        ).log_prob(torch.tensor(x)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_log_density(name: str) -> None:
    arguments, reference = CASES[name]
    first, second = both(name, *arguments)
    np.testing.assert_allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE)
    if reference is not None:
        np.testing.assert_allclose(first, reference(*arguments), rtol=TOLERANCE, atol=TOLERANCE)


def test_every_log_density_and_divergence_is_tested() -> None:
    def public(module: object) -> set[str]:
        functions = inspect.getmembers(module, inspect.isfunction)
        return {name for name, value in functions if value.__module__ == module.__name__ and not name.startswith("_")}

    assert public(torch_densities) == public(jax_densities)
    assert public(torch_densities) - {"gaussian_posterior"} == {*CASES, *DIVERGENCES}


def test_discretized_logistic_sums_to_one_and_is_a_difference_of_sigmoids() -> None:
    x = np.arange(8)
    edges = np.concatenate([[-np.inf], np.linspace(-1, 1, 9)[1:-1], [np.inf]])
    reference = np.log(np.diff(st.logistic.cdf(edges, 0.1, 0.4)))
    first, second = both("discretized_logistic", x, np.full(8, 0.1), 0.4, 8)
    np.testing.assert_allclose(first, reference, rtol=TOLERANCE)
    np.testing.assert_allclose(second, reference, rtol=TOLERANCE)


def normal(m: object, s: object) -> td.Distribution:
    return td.Normal(torch.as_tensor(m), torch.as_tensor(s))


def tensors(*values: object) -> list[torch.Tensor]:
    return [torch.as_tensor(value, dtype=torch.float64) for value in values]


DIVERGENCES: dict[str, tuple[tuple[object, ...], object]] = {
    "kl_normal": ((X, positive(5, D), LOC, 1.3), lambda a, b, c, d: (td.Normal(a, b), td.Normal(c, d))),
    "kl_standard_normal": ((X, positive(5, D)), lambda a, b: (td.Normal(a, b), td.Normal(0 * a, 1 + 0 * a))),
    "kl_laplace": ((X, positive(5, D), LOC, 1.3), lambda a, b, c, d: (td.Laplace(a, b), td.Laplace(c, d))),
    "kl_exponential": ((positive(5), 1.3), lambda a, b: (td.Exponential(a), td.Exponential(b))),
    "kl_gamma": ((positive(5), 0.7, 1.9, 1.3), lambda a, b, c, d: (td.Gamma(a, b), td.Gamma(c, d))),
    "kl_beta": ((positive(5), positive(5) + 0.4, 1.9, 1.3), lambda a, b, c, d: (td.Beta(a, b), td.Beta(c, d))),
    "kl_dirichlet": ((positive(5, D), positive(D) + 0.4), lambda a, b: (td.Dirichlet(a), td.Dirichlet(b))),
    "kl_bernoulli": ((X, 0.4), lambda a, b: (td.Bernoulli(logits=a), td.Bernoulli(logits=b))),
    "kl_categorical": (
        (np.log(simplex(5, D)), np.log(np.full(D, 1 / D))),
        lambda a, b: (td.Categorical(logits=a), td.Categorical(logits=b)),
    ),
    "kl_multivariate_normal": (
        (X, root(D), LOC, 1.4 * np.eye(D)),
        lambda a, b, c, d: (td.MultivariateNormal(a, scale_tril=b), td.MultivariateNormal(c, scale_tril=d)),
    ),
    "kl_multivariate_diagonal": (
        (X, root(D), 0.3, positive(D)),
        lambda a, b, c, d: (
            td.MultivariateNormal(a, scale_tril=b),
            td.MultivariateNormal(c + 0 * a, scale_tril=torch.diag(d)),
        ),
    ),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence(name: str) -> None:
    arguments, reference = DIVERGENCES[name]
    first, second = both(name, *arguments)
    np.testing.assert_allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE)
    expected = td.kl_divergence(*reference(*tensors(*arguments)))
    np.testing.assert_allclose(first, expected, rtol=1e-7, atol=1e-7)


def test_gaussian_posterior_is_the_conjugate_one() -> None:
    precision = np.eye(2) + FACTOR.mT @ (FACTOR / DIAGONAL[..., None])
    covariance = np.linalg.inv(precision)
    mean = np.einsum("bij,bdj,bd->bi", covariance, FACTOR, (X - LOC) / DIAGONAL)
    for location, lower in both("gaussian_posterior", X, LOC, FACTOR, DIAGONAL):
        lower = np.asarray(lower)
        np.testing.assert_allclose(location, mean, rtol=1e-9)
        np.testing.assert_allclose(lower @ lower.mT, covariance, rtol=1e-9)


SUPPORTS: dict[str, tuple[Support, tuple[int, ...]]] = {
    "real": (Support("real"), (3,)),
    "positive": (Support("positive"), (3,)),
    "nonnegative": (Support("nonnegative"), (3,)),
    "unit": (Support("unit"), (3,)),
    "interval": (Support("interval", low=-1.0, high=3.0), (3,)),
    "above": (Support("interval", low=2.0), (3,)),
    "below": (Support("interval", high=2.0), (3,)),
    "circular": (Support("circular"), (3,)),
    "simplex": (Support("simplex", size=4), (4,)),
    "ordered": (Support("ordered"), (4,)),
    "positive_ordered": (Support("positive_ordered"), (4,)),
    "cholesky": (Support("cholesky"), (3, 3)),
    "correlation_cholesky": (Support("correlation_cholesky"), (4, 4)),
    "positive_definite": (Support("positive_definite"), (3, 3)),
    "orthogonal": (Support("orthogonal"), (4, 4)),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_bijection(name: str) -> None:
    support, shape = SUPPORTS[name]
    bijection = torch_constraints.of(support)
    raw = real(*bijection.raw_shape((2, *shape)))
    values = torch_constraints.forward(support, torch.tensor(raw)), jax_constraints.forward(support, jnp.asarray(raw))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9, atol=1e-12)
    assert tuple(values[0].shape) == (2, *shape)
    np.testing.assert_allclose(torch_constraints.inverse(support, values[0]), raw, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(jax_constraints.inverse(support, values[1]), raw, rtol=1e-7, atol=1e-9)
    logs = (
        torch_constraints.log_abs_det(support, torch.tensor(raw)),
        jax_constraints.log_abs_det(support, jnp.asarray(raw)),
    )
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        np.asarray(logs[0]).reshape(2, -1).sum(-1), [log_det(name, support, row) for row in raw], rtol=1e-8, atol=1e-8
    )


def log_det(name: str, support: Support, raw: np.ndarray) -> float:
    """log |det| of the derivative, by autodiff, in coordinates of the support's own dimension."""
    raw_array = jnp.asarray(raw)

    def coordinates(y: jax.Array) -> jax.Array:
        x = jax_constraints.forward(support, y)
        match name:
            case "simplex":
                return x[..., :-1]
            case "cholesky" | "positive_definite":
                return x[jnp.tril_indices(x.shape[-1])]
            case "correlation_cholesky":
                return x[jnp.tril_indices(x.shape[-1], -1)]
            case "orthogonal":
                fixed = jax.lax.stop_gradient(x)
                return (fixed.T @ x)[jnp.tril_indices(x.shape[-1], -1)]
            case _:
                return x

    jacobian = jax.jacobian(coordinates)(raw_array)
    size = math.prod(raw.shape)
    return float(jnp.linalg.slogdet(jacobian.reshape(size, size))[1])


OPERATIONS: dict[str, tuple[object, ...]] = {
    "matvec": (real(5, 3, D), real(5, D)), "vecmat": (real(5, 3), real(3, D)), "dot": (X, LOC), "diag": (X,),
    "broadcast": (real(5, 3, 1), (3, 4)), "flatten": (real(5, 2, 3), 2), "take": (real(5, 3, 2), count(5, high=3), 2),
    "one_hot": (count(5, high=3), 3, X), "arange": (4, 2, X), "states": (2, (3,), 1, X), "simplex_points": (3, 2, X),
    "logmeanexp": (X,), "leave_one_out": (X,), "vimco": (X,), "linear_schedule": (3, 0.5, 1.0, 10),
    "clip": (X, 0.1, LOC), "maximum": (X, 0.1), "minimum": (0.2, X), "softplus": (X * 30,),
    "precision_root": (COV,), "checked": (X, "positive"), "scale_gradient": (X, 2.0 * np.ones((5, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str) -> None:
    arguments = OPERATIONS[name]
    first = getattr(torch_operations, name)(*(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments))
    second = getattr(jax_operations, name)(*(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
    assert np.shape(first) == np.shape(second)
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


def test_joining_broadcasts_what_stands_on_the_left() -> None:
    parts = real(1, 5, 2), real(3, 1, 4)
    first = torch_operations.concatenate(list(map(torch.tensor, parts)), -1)
    second = jax_operations.concatenate(list(map(jnp.asarray, parts)), -1)
    assert tuple(first.shape) == (3, 5, 6)
    np.testing.assert_array_equal(first, second)
    stacked = torch_operations.stack([torch.tensor(X), 2.0], -1), jax_operations.stack([jnp.asarray(X), 2.0], -1)
    np.testing.assert_array_equal(*stacked)


def test_scale_gradient_multiplies_the_cotangent_alone() -> None:
    x, scale = torch.tensor(X, requires_grad=True), torch.full((3, 1, 1), 2.0, dtype=torch.float64)
    torch_operations.scale_gradient(x, scale).square().sum().backward()
    np.testing.assert_allclose(x.grad, 3 * 2.0 * 2.0 * X)
    gradient = jax.grad(lambda y: jnp.square(jax_operations.scale_gradient(y, jnp.full((3, 1, 1), 2.0))).sum())(
        jnp.asarray(X)
    )
    np.testing.assert_allclose(gradient, 3 * 2.0 * 2.0 * X)


def test_vimco_is_written_out_for_two_particles() -> None:
    x = np.array([0.3, -1.2])
    expected = [np.log(np.mean(np.exp([x[1], x[1]]))), np.log(np.mean(np.exp([x[0], x[0]])))]
    np.testing.assert_allclose(jax_operations.vimco(jnp.asarray(x)), expected)


def test_draws_from_the_same_noise_are_equal() -> None:
    uniform, gumbel = unit(5, D), real(5, D)
    for name, parameter, noise in (
        ("bernoulli_logits", X, uniform), ("bernoulli_probs", unit(D), uniform), ("categorical_logits", X, gumbel),
        ("categorical_probs", simplex(D), gumbel), ("one_hot_categorical_logits", X, gumbel),
        ("one_hot_categorical_probs", simplex(D), gumbel),
    ):  # fmt: skip
        first = getattr(torch_draws, name)(torch.tensor(parameter), torch.tensor(noise))
        second = getattr(jax_draws, name)(jnp.asarray(parameter), jnp.asarray(noise))
        np.testing.assert_array_equal(first, second)


def test_library_draws_take_their_sizes_from_the_noise() -> None:
    import numpyro.distributions as numpyro_dist
    import pyro.distributions as pyro_dist

    entries = {"g": ("library", ("particles", "data"))}
    sizes = {"particles": 2, "data": 300}
    source = torch_draws.standard(entries, torch.Generator().manual_seed(0), sizes)["g"]
    state = torch.get_rng_state()
    sample = torch_draws.library(pyro_dist.Gamma(torch.tensor(3.0), 2.0), source, (4,))
    assert sample.shape == (2, 300, 4)
    assert torch.equal(state, torch.get_rng_state())
    assert abs(sample.mean().item() - 1.5) < 4 * math.sqrt(0.75 / 2400)
    keys = jax_draws.standard(entries, jax.random.key(0), sizes)["g"]
    sample = jax_draws.library(numpyro_dist.Gamma(3.0, 2.0), keys, (4,))
    assert sample.shape == (2, 300, 4)
    assert abs(float(sample.mean()) - 1.5) < 4 * math.sqrt(0.75 / 2400)

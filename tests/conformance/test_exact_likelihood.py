"""Exact densities of whole specs: they sum or integrate to one, and their samplers draw from them.

The laws of single bijectors and networks are in `tests/laws`; here a spec goes through the pipeline to both backends.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

import dgmppl as dg
from dgmppl.api.export import write_samples
from dgmppl.cli.options import values as parsed
from dgmppl.compiler import Compilation
from dgmppl.errors import NoObjectiveError, RunError
from dgmppl.ir.networks.causal import visiting_order
from tests.networks import jax_network, torch_network
from tests.support import BACKENDS, Values, both, noise_for, start

pytestmark = pytest.mark.usefixtures("quick_compilation")

Array = NDArray[Any]
Spec = dict[str, Any]
backends = pytest.mark.parametrize("backend", BACKENDS)


def factorization(conditional: str, network: str, support: str, shape: tuple[int, ...]) -> Spec:
    """`x[i]: conditional`, where `net` is the network."""
    return {
        "dgmppl": 1,
        "name": "factorized",
        "data": {"x": {"shape": list(shape), "support": support}},
        "networks": {"net": network},
        "model": {"x[i]": conditional},
    }


def image(flow: str, size: int = 2, network: str | None = None) -> Spec:
    """A standard normal under `flow`; `field` is the network, where there is one."""
    return {
        "dgmppl": 1,
        "name": "image",
        "data": {"x": {"shape": [size], "support": "real"}},
        "networks": {"field": network} if network else {},
        "bijectors": {"flow": flow},
        "model": {"z": f"Normal(0, 1, shape={size})", "x": "flow(z)"},
    }


@cache
def _compiled(key: str) -> dict[str, Compilation]:
    return both(CASES[key])


def log_prob(backend: str, key: str, values: Values, **columns: Array) -> Array:
    """log p of every row in float64."""
    return _compiled(key)[backend].executable.call("log_prob", values, columns)["value"]


def moved(key: str, jitter: float = 0.5) -> Values:
    """Parameters of a case, far enough from their start that its conditionals differ."""
    return start(_compiled(key)["pyro"], jitter=jitter)


def grid(low: float, high: float, points: int, size: int) -> Array:
    """Points of a square lattice, [points ** size, size]."""
    axes = np.meshgrid(*[np.linspace(low, high, points)] * size, indexing="ij")
    return np.stack(axes, -1).reshape(-1, size)


# ---- sums ------------------------------------------------------------------------------------------------------------

BERNOULLI, CATEGORICAL = "Bernoulli(logits=net(x[:i]))", "Categorical(logits=net(x[:i]))"
SMALL = "causal_transformer(layers=2, heads=2, width=8)"
DISCRETE: dict[str, tuple[Spec, int]] = {
    "made-bits": (factorization(BERNOULLI, "made([12], order=reverse)", "binary", (10,)), 2),
    "gru-bits": (factorization(BERNOULLI, "gru(6)", "binary", (10,)), 2),
    "transformer-bits": (factorization(BERNOULLI, SMALL, "binary", (10,)), 2),
    "windows-bits": (factorization(BERNOULLI, "causal_conv(layers=3, width=6, kernel=3)", "binary", (10,)), 2),
    "pixels-bits": (factorization(BERNOULLI, "causal_conv(layers=3, width=6, kernel=3)", "binary", (2, 5)), 2),
    "made-classes": (factorization(CATEGORICAL, "made([12])", "integer(4)", (5,)), 4),
    "gru-classes": (factorization(CATEGORICAL, "gru(6)", "integer(4)", (5,)), 4),
    "transformer-classes": (factorization(CATEGORICAL, SMALL, "integer(4)", (5,)), 4),
    "windows-classes": (factorization(CATEGORICAL, "causal_conv(layers=2, width=6)", "integer(4)", (5,)), 4),
    "made-cells": (factorization("DiscretizedLogistic(**net(x[:i]), bins=4)", "made([12])", "integer(4)", (5,)), 4),
    "made-mixture-of-cells": (
        factorization("Mixture(Poisson, components=2, **net(x[:i]))", "made([12])", "count", (2,)),
        32,
    ),
}


@backends
@pytest.mark.parametrize("key", DISCRETE)
def test_autoregressive_probabilities_sum_to_one(key: str, backend: str) -> None:
    """Over all 1024 outcomes; counts are cut where less than 1e-6 is left."""
    spec, states = DISCRETE[key]
    shape = spec["data"]["x"]["shape"]
    outcomes = np.array(list(itertools.product(range(states), repeat=int(np.prod(shape))))).reshape(-1, *shape)
    assert len(outcomes) == 1024
    log_p = log_prob(backend, key, moved(key), x=outcomes)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-6)
    assert log_p.std() > 0.05


# ---- integrals -------------------------------------------------------------------------------------------------------

NORMAL = "Normal(**net(x[:i]))"
MIXTURE = "Mixture(Normal, components=3, **net(x[:i]))"
CONDITIONAL: Spec = {
    **image("[coupling(mlp([6]), spline(bins=4, bound=3)), autoregressive(made([6]), affine())]"),
    "data": {"x": {"shape": [2], "support": "real"}, "c": {"shape": [], "support": "integer(3)"}},
    "model": {"z": "Normal(0, 1, shape=2)", "x": "flow(z, one_hot(c, 3))"},
}
SMOOTH: dict[str, tuple[Spec, float, int]] = {
    "normal-1": (factorization(NORMAL, "made([8])", "real", (1,)), 12.0, 2001),
    "normal-2": (factorization(NORMAL, "made([8], activation=tanh)", "real", (2,)), 12.0, 601),
    "mixture-1": (factorization(MIXTURE, "made([8])", "real", (1,)), 14.0, 2001),
    "mixture-2": (factorization(MIXTURE, "gru(5)", "real", (2,)), 16.0, 601),
    "affine-1": (image("affine()", 1), 25.0, 2001),
    "spline-1": (image("[spline(bins=5, bound=3), affine()]", 1), 25.0, 4001),
    "coupling-2": (image("repeat(2, [coupling(mlp([6]), affine()), reverse()])"), 25.0, 801),
    "spline-2": (image("repeat(2, [coupling(mlp([6]), spline(bins=4, bound=3)), reverse()])"), 8.0, 801),
    "autoregressive-2": (image("[autoregressive(made([6]), affine()), lu_linear()]"), 25.0, 801),
    "inverse-2": (image("[autoregressive(made([6]), affine(), direction=inverse), reverse()]"), 25.0, 801),
    "ode-1": (image("ode(field, solver=rk4, steps=8)", 1, "mlp([6], activation=tanh)"), 16.0, 801),
    "ode-2": (image("ode(field, solver=rk4, steps=6)", 2, "mlp([6], activation=tanh)"), 12.0, 201),
    "conditional-2": (CONDITIONAL, 14.0, 801),
}
CASES: dict[str, Spec] = {key: case[0] for key, case in (DISCRETE | SMOOTH).items()}


def weighted(key: str, backend: str, values: Values, **given: int) -> tuple[Array, Array, Array, float]:
    """Nodes of the trapezoidal rule, log p and the mass at each, and the rule's error.

    The estimate is the change from every fourth node to every second one and on to all: the coarser rules' errors,
    which exceed that of the finest at the kinks of relu and at the knots of splines too.
    """
    spec, edge, points = SMOOTH[key]
    size = spec["data"]["x"]["shape"][0]
    nodes = grid(-edge, edge, points, size)
    log_p = log_prob(backend, key, values, x=nodes, **tiled(given, len(nodes)))
    mass = np.exp(log_p) * (2 * edge / (points - 1)) ** size
    cube = mass.reshape([points] * size)
    fine, middle, coarse = (cube[(slice(None, None, step),) * size].sum() * step**size for step in (1, 2, 4))
    return nodes, log_p, mass, abs(fine - middle) + abs(middle - coarse)


def tiled(given: dict[str, int], n: int) -> dict[str, Array]:
    """Covariates that are the same in every row."""
    return {name: np.full(n, value) for name, value in given.items()}


@backends
@pytest.mark.parametrize("key", SMOOTH)
def test_densities_integrate_to_one(key: str, backend: str) -> None:
    for given in [{"c": 0}, {"c": 2}] if "c" in CASES[key]["data"] else [{}]:
        *_, mass, error = weighted(key, backend, moved(key, 0.3), **given)
        assert error < 5e-3
        assert abs(mass.sum() - 1) <= error + 1e-6


def test_a_one_way_flow_has_samples_and_no_density() -> None:
    """The planar map's inverse has no formula: as a density it is refused, with the way to get one."""
    with pytest.raises(NoObjectiveError, match="give flow steps that can be inverted"):
        both(image("planar()"))
    compiled = both(image("inverse(planar())"))["pyro"]
    assert compiled.executable.has("log_prob")
    assert not compiled.executable.has("sample")


# ---- samples ---------------------------------------------------------------------------------------------------------


def drawn(key: str, backend: str, values: Values, n: int, **given: int) -> Array:
    """Draws of x by the backend's own random numbers."""
    return _compiled(key)[backend].executable.call("sample", values, tiled(given, n), seed=1, rows=n)["x"]


def moments(points: Array, log_p: Array) -> Array:
    """First and second moments and log p of each point, [n, statistics]."""
    products = [points[:, i] * points[:, j] for i in range(points.shape[1]) for j in range(i + 1)]
    return np.stack([*points.T, *products, log_p], -1)


@backends
@pytest.mark.parametrize("key", SMOOTH)
def test_continuous_samples_have_the_densitys_moments(key: str, backend: str) -> None:
    """Moments and entropy against quadrature, within 4.5 standard errors (p = 7e-6 each) and the quadrature's error."""
    values, n = moved(key, 0.3), 4000
    given = {"c": 1} if "c" in CASES[key]["data"] else {}
    nodes, log_mass, mass, error = weighted(key, backend, values, **given)
    x = drawn(key, backend, values, n, **given)
    found = moments(x, log_prob(backend, key, values, x=x, **tiled(given, n)))
    exact = mass @ moments(nodes, np.where(mass > 0, log_mass, 0.0))
    slack = 4.5 * found.std(0) / np.sqrt(n)
    assert (np.abs(found.mean(0) - exact) <= slack + error * (1 + np.abs(exact))).all()


@backends
@pytest.mark.parametrize("key", ["made-bits", "pixels-bits", "transformer-classes", "gru-classes", "made-cells"])
def test_discrete_samples_have_the_models_pair_probabilities(key: str, backend: str) -> None:
    """Every pair of elements against its probability by enumeration: chi-squared, 1e-4 for all pairs together."""
    spec, states = DISCRETE[key]
    shape, values, n = spec["data"]["x"]["shape"], moved(key), 4000
    size = int(np.prod(shape))
    outcomes = np.array(list(itertools.product(range(states), repeat=size)))
    mass = np.exp(log_prob(backend, key, values, x=outcomes.reshape(-1, *shape)))
    x = drawn(key, backend, values, n).reshape(n, size).astype(int)
    pairs = list(itertools.combinations(range(size), 2))
    smallest = 1.0
    for i, j in pairs:
        expected = np.bincount(outcomes[:, i] * states + outcomes[:, j], mass, states**2) * n
        counted = np.bincount(x[:, i] * states + x[:, j], minlength=states**2)
        kept = expected > 5
        observed = np.append(counted[kept], counted[~kept].sum())
        likely = np.append(expected[kept], expected[~kept].sum() + 1e-9)
        statistic = ((observed - likely) ** 2 / np.maximum(likely, 1.0)).sum()
        smallest = min(smallest, stats.chi2(max(kept.sum(), 2) - 1 + (not kept.all())).sf(statistic))
    assert smallest > 1e-4 / len(pairs)


# ---- caches ----------------------------------------------------------------------------------------------------------


def draw_normal(heads: list[Array], noise: Array) -> Array:
    """loc + scale * noise, the scale under its constraint."""
    return heads[0] + heads[1] * noise


def draw_bernoulli(heads: list[Array], noise: Array) -> Array:
    """1 where the uniform number lies below the probability."""
    return (noise < 1 / (1 + np.exp(-heads[0]))).astype(float)


def draw_categorical(heads: list[Array], noise: Array) -> Array:
    """The largest logit after Gumbel noise."""
    return (heads[0] + noise).argmax(-1).astype(float)


ELEMENTS = {
    "Bernoulli": ("binary", BERNOULLI, draw_bernoulli),
    "Categorical": ("integer(3)", CATEGORICAL, draw_categorical),
    "Normal": ("real", NORMAL, draw_normal),
}
CAUSAL = {
    "made": ("made([16, 16], order=[3, 1, 4, 0, 7, 2, 6, 5])", (8,)),
    "gru": ("gru(6)", (8,)),
    "transformer": (SMALL, (8,)),
    "windows": ("causal_conv(layers=3, width=6, kernel=3)", (8,)),
    "pixels": ("causal_conv(layers=3, width=6, kernel=3)", (3, 3)),
}


def heads_of(net: Any, backend: str, x: Array) -> list[Array]:
    """Every head for every element in one pass."""
    found = net(torch.as_tensor(x)) if backend == "pyro" else _whole(net, jax.numpy.asarray(x))
    parts = found if isinstance(found, tuple) else (found,)
    return [np.asarray(part.detach() if backend == "pyro" else part) for part in parts]


_whole = jax.jit(lambda net, x: net(x))


@backends
@pytest.mark.parametrize("conditional", ELEMENTS)
@pytest.mark.parametrize("kind", CAUSAL)
def test_cached_samples_are_those_of_one_full_pass_per_element(kind: str, conditional: str, backend: str) -> None:
    """From the same noise: element k is drawn from a whole pass over what was drawn before it."""
    written, shape = CAUSAL[kind]
    support, text, drawing = ELEMENTS[conditional]
    compiled = both(factorization(text, written, support, shape))[backend]
    values, n = start(compiled, jitter=0.4), 5
    function = compiled.module.function("sample")
    assert function is not None
    noise = noise_for(function, n)
    network = compiled.program.networks["net"]
    own = {name: value for name, value in values.items() if name.startswith("net.")}
    size = int(np.prod(shape))
    with jax.enable_x64(True):
        net = (torch_network if backend == "pyro" else jax_network)(network, own)
        x = np.zeros((n, size))
        standard = noise["x"].reshape(n, size, *noise["x"].shape[1 + len(shape) :])
        for element in visiting_order(network) or range(size):
            kept = x.astype(int) if support != "real" else x
            heads = heads_of(net, backend, kept.reshape(n, *shape))
            flat = [head.reshape(n, size, *head.shape[1 + len(shape) :])[:, element] for head in heads]
            x[:, element] = drawing(flat, standard[:, element])
    cached = compiled.executable.call("sample", values, {}, rows=n, noise=noise)["x"]
    if support == "real":
        np.testing.assert_allclose(cached, x.reshape(n, *shape), rtol=1e-11, atol=1e-11)
    else:
        np.testing.assert_array_equal(cached, x.reshape(n, *shape))


# ---- beginnings ------------------------------------------------------------------------------------------------------


@backends
def test_a_beginning_is_kept_and_what_follows_is_conditioned_on_it(backend: str) -> None:
    """The rest of the draws has the conditional probabilities that the joint gives, by enumeration."""
    spec = factorization(BERNOULLI, "made([12])", "binary", (5,))
    compiled = dg.compile(spec, backend=backend)
    fit = dg.Fit(compiled, start(compiled.compiled, jitter=0.8))
    x = fit.sample(4000, given={"x": [1, 0, 1]}, seed=3)
    assert (x[:, :3] == [1, 0, 1]).all()
    rest = np.array(list(itertools.product((0, 1), repeat=2)))
    joint = np.exp(fit.log_prob(np.concatenate([np.tile([1, 0, 1], (4, 1)), rest], -1)))
    expected = 4000 * joint / joint.sum()
    counted = np.bincount((2 * x[:, 3] + x[:, 4]).astype(int), minlength=4)
    assert stats.chisquare(counted, expected).pvalue > 1e-4
    several = fit.sample(2, given={"x": [[1, 1], [0, 0]]})
    np.testing.assert_array_equal(several[:, :2], [[1, 1], [0, 0]])
    with pytest.raises(RunError, match="expected at most 5 elements"):
        fit.sample(1, given={"x": [0] * 6})
    with pytest.raises(RunError, match="without a gap"):
        fit.sample(1, given={"x": [0.0, np.nan, 1.0, np.nan, np.nan]})


def test_a_beginning_on_the_command_line_is_that_of_every_draw(tmp_path: Path) -> None:
    """What `dgmppl sample RUN --given "x=[1, 0, 1]"` reads and writes."""
    compiled = dg.compile(factorization(BERNOULLI, "made([12])", "binary", (5,)), backend="pyro")
    write_samples(compiled.initial(), tmp_path / "drawn.npz", 6, parsed(["x=[1, 0, 1]"]), 0)
    found = np.load(tmp_path / "drawn.npz")["x"]
    assert found.shape == (6, 5)
    np.testing.assert_array_equal(found[:, :3], np.tile([1, 0, 1], (6, 1)))

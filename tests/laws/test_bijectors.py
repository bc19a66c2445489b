"""Laws of every bijector, and of every pair of compatible ones, on both backends in float64.

The inverse of f at x = f(z) is z up to rounding: evaluating f moves x by a few units in its last place, and f^-1
carries that back by the factor |J^-1|: the error is at most C eps (|J^-1| |x| + cond(J) |z|), C the operations' number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pyro.distributions as pyro_dist
import pytest
import torch

import dgmppl_numpyro.bijectors as jax_bijectors
import dgmppl_pyro.bijectors as torch_bijectors
from dgmppl.ir.bijectors import BIJECTORS
from tests.bijector_laws import (
    INSTANCES,
    NAMES,
    PAIRS,
    ROWS,
    SIZE,
    Compiled,
    Real,
    built,
    cheap,
    check_laws,
    compiled,
    domain_of,
    drawn,
    jacobian,
    mapped,
)
from tests.flows import Flow, flow
from tests.support import BACKENDS


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_laws_of_each(name: str, backend: str) -> None:
    made, instance = built(name).on(backend), INSTANCES[name]
    z = drawn(instance.domain)
    x, log_det = mapped(made, z, backend)
    assert x.shape == z.shape
    assert log_det.shape == (ROWS,)
    back = mapped(made, x, backend, "inverse_and_log_det") if instance.two_way else None
    jacobians = jacobian(made, z, x, backend)
    check_laws(z, x, log_det, jacobians, back)
    if instance.elementwise:
        assert (np.diagonal(jacobians, axis1=1, axis2=2) > 0).all()
        assert np.abs(jacobians * (1 - np.eye(SIZE))).max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_backends_agree(name: str) -> None:
    z = drawn(INSTANCES[name].domain, seed=3)
    (x, log_det), (y, other) = (mapped(built(name).on(backend), z, backend) for backend in BACKENDS)
    assert np.abs(x - y).max() <= 1e-12
    assert np.abs(log_det - other).max() <= 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", NAMES)
def test_laws_of_every_pair(first: str, backend: str) -> None:
    for second in (pair[1] for pair in PAIRS if pair[0] == first):
        steps = [built(first).on(backend), built(second, seed=1).on(backend)]
        z = drawn(domain_of(first, second))
        if backend == "pyro":
            chain: Any = torch_bijectors.Chain(steps)
            x, log_det = mapped(chain, z, backend)
            jacobians = jacobian(chain, z, x, backend)
        else:
            chain = jax_bijectors.Chain(list(map(Compiled, steps)))
            image, total = chain.forward_and_log_det(jnp.asarray(z))
            x, log_det = np.asarray(image), np.asarray(total)
            middle, _ = mapped(steps[0], z, backend)
            jacobians = jacobian(steps[1], middle, x, backend) @ jacobian(steps[0], z, middle, backend)
        two_way = INSTANCES[first].two_way and INSTANCES[second].two_way
        back = None
        if two_way:
            value = torch.tensor(x) if backend == "pyro" else jnp.asarray(x)
            image, total = chain.inverse_and_log_det(value)
            back = (np.asarray(getattr(image, "detach", lambda image=image: image)()), np.asarray(total.tolist()))
        check_laws(z, x, log_det, jacobians, back)


@pytest.mark.parametrize("name", NAMES)
def test_domain_and_codomain(name: str) -> None:
    instance, made = INSTANCES[name], built(name)
    x, _ = mapped(made.torch, drawn(instance.domain), "pyro")
    assert made.torch.domain.check(torch.tensor(drawn(instance.domain))).all()
    assert made.torch.codomain.check(torch.tensor(x)).all()
    assert made.jax.domain(jnp.asarray(drawn(instance.domain))).all()
    assert made.jax.codomain(jnp.asarray(x)).all()
    assert made.torch.domain.event_dim == made.jax.domain.event_dim == 1
    outside = {"unit": 2.0, "positive": -1.0, "interval": 2.0}.get(instance.codomain)
    if outside is not None:
        assert not made.torch.codomain.check(torch.full((SIZE,), outside))
        assert not made.jax.codomain(jnp.full((SIZE,), outside))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    made, value = built(name), drawn(INSTANCES[name].domain)
    direction = f"{cheap(made.torch)}_and_log_det"
    if direction.startswith("inverse"):
        value, _ = mapped(made.torch, value, "pyro")
    weights = np.random.default_rng(1).standard_normal((ROWS, SIZE))

    def score(bijector: Any, value: Any, weights: Any) -> Any:
        image, log_det = getattr(bijector, direction)(value)
        return (image * weights).sum() + (log_det * weights[:, 0]).sum()

    leaves = dict(made.torch.named_parameters())
    made.torch.zero_grad()
    if leaves:
        score(made.torch, torch.tensor(value), torch.tensor(weights)).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in leaves.values())
    gradients = jax.tree_util.tree_leaves_with_path(compiled(jax.grad(score))(made.jax, value, weights))
    assert len(gradients) == len(leaves)
    for path, gradient in gradients:
        expected = leaves[jax.tree_util.keystr(path, simple=True, separator=".")].grad.numpy()
        assert np.abs(gradient - expected).max() <= 1e-11 * (1 + np.abs(expected).max())


def test_every_kind_has_an_instance() -> None:
    kinds = {step.kind for name in NAMES for step in built(name).declared.walk()}
    assert kinds | {"squeeze", "multiscale", "ode", "repeat", "inverse"} == set(BIJECTORS)


# ---- densities ------------------------------------------------------------------------------------------------------


def mass(made: Flow, low: Real, high: Real, points: int) -> tuple[float, float]:
    """The integral of the pushforward of a standard normal over a box by the trapezoidal rule, and its error estimate.

    The estimate is the change from every fourth point to every second one and on to all: the coarser rules' errors,
    which exceed that of the finest, at the knots of splines too.
    """
    axes = [np.linspace(a, b, points) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    with torch.no_grad():
        z, log_det = made.torch.inverse_and_log_det(torch.tensor(grid))
        log_p = (-0.5 * z.square() - 0.5 * math.log(2 * math.pi)).sum(-1) + log_det
    density = np.nan_to_num(np.exp(log_p.numpy()))

    def integral(step: int) -> float:
        value: Any = density[(slice(None, None, step),) * len(axes)]
        for axis in reversed(axes):
            value = np.trapezoid(value, axis[::step], axis=-1)
        return float(value)

    return integral(1), abs(integral(1) - integral(2)) + abs(integral(2) - integral(4))


@pytest.mark.parametrize(
    "written",
    ["affine()", "spline(bins=4, bound=2)", "[affine(), tanh()]", "[spline(bins=4, bound=2), softplus()]",
     "[affine(), sigmoid()]", "[spline(bins=3, bound=2), affine(), exp()]"],
)  # fmt: skip
def test_densities_on_the_line_integrate_to_one(written: str) -> None:
    made = flow(written, (1,), jitter=0.3)
    ends, _ = mapped(made.torch, np.array([[-8.0], [8.0]]), "pyro")
    inside = ends + np.array([[1.0], [-1.0]]) * 1e-12 * (ends[1] - ends[0])
    total, error = mass(made, inside[0], inside[1], 40001)
    assert error < 1e-3
    assert abs(total - 1) <= error + 1e-9


@pytest.mark.parametrize(
    "written",
    ["[coupling(mlp([4]), affine()), reverse(), coupling(mlp([4]), spline(bins=3, bound=3))]",
     "[autoregressive(made([6]), affine()), lu_linear()]", "[lu_linear(), inverse(planar())]",
     "[coupling(mlp([4]), spline(bins=3, bound=3)), actnorm(), sigmoid()]"],
)  # fmt: skip
def test_densities_on_the_plane_integrate_to_one(written: str) -> None:
    made = flow(written, (2,), jitter=0.3)
    circle = np.stack([f(np.linspace(0, 2 * math.pi, 721)) for f in (np.cos, np.sin)], -1)
    radii = np.linspace(0, 6.5, 40)[:, None, None]
    if "planar" in written:
        low, high = np.full(2, -14.0), np.full(2, 14.0)
    else:
        image, _ = mapped(made.torch, radii * circle, "pyro")
        low, high = image.min((0, 1)), image.max((0, 1))
    total, error = mass(made, low, high, 1201)
    assert error < 2e-3
    assert abs(total - 1) <= error + math.exp(-(6.5**2) / 2)


# ---- libraries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if INSTANCES[name].two_way])
def test_as_the_libraries_transform(name: str) -> None:
    made, instance = built(name), INSTANCES[name]
    z = drawn(instance.domain)
    x, log_det = mapped(made.torch, z, "pyro")
    zeros = torch.zeros(SIZE, dtype=torch.float64)
    torch_base, jax_base = {
        "unit": (pyro_dist.Uniform(zeros, 1.0), numpyro_dist.Uniform(np.zeros(SIZE), 1.0)),
        "positive": (pyro_dist.Gamma(zeros + 2, 1.0), numpyro_dist.Gamma(np.zeros(SIZE) + 2, 1.0)),
    }.get(instance.domain, (pyro_dist.Normal(zeros, 1.0), numpyro_dist.Normal(np.zeros(SIZE), 1.0)))
    expected = torch_base.log_prob(torch.tensor(z)).sum(-1).numpy() - log_det
    ours = pyro_dist.TransformedDistribution(torch_base.to_event(1), [made.torch])
    theirs = numpyro_dist.TransformedDistribution(jax_base.to_event(1), jax_bijectors.Chain([Compiled(made.jax)]))
    assert ours.event_shape == theirs.event_shape == (SIZE,)
    assert np.abs(ours.log_prob(torch.tensor(x)).detach().numpy() - expected).max() <= 1e-9
    assert np.abs(np.asarray(theirs.log_prob(jnp.asarray(x))) - expected).max() <= 1e-9
    draw = ours.sample((ROWS,))
    assert draw.shape == (ROWS, SIZE)
    assert torch.isfinite(ours.log_prob(draw)).all()


def test_a_remembered_draw_is_not_inverted_and_not_kept_too_long() -> None:
    made = flow("planar()", (2,)).torch
    base = pyro_dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)
    density = pyro_dist.TransformedDistribution(base, [made])
    x = density.rsample()
    z = made.inv(x)
    expected = base.log_prob(z) - made.forward_and_log_det(z)[1]
    assert torch.equal(density.log_prob(x), expected)
    with torch.no_grad():
        made.steps[0].bias += 1.0
    with pytest.raises(NotImplementedError, match="from base to data only"):
        density.log_prob(x)

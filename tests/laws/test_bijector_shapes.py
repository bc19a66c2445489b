"""Bijectors and their context, events of any shape, precisions and devices, and where they start."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dgmppl_numpyro.bijectors as jax_bijectors
import dgmppl_pyro.bijectors as torch_bijectors
from dgmppl.ir.bijectors import ordering
from dgmppl_pyro.bijectors import splines
from tests.bijector_laws import (
    EPS,
    INSTANCES,
    NAMES,
    ROWS,
    SIZE,
    anew,
    built,
    check_laws,
    compiled,
    drawn,
    jacobian,
    mapped,
)
from tests.flows import flow
from tests.support import BACKENDS


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


# ---- context, shapes, dtypes ----------------------------------------------------------------------------------------

CONDITIONED = {
    "coupling": "coupling(mlp([4], activation=tanh), affine())",
    "spline": "[reverse(), coupling(mlp([4], activation=tanh), spline(bins=3))]",
    "density": "autoregressive(made([6], activation=tanh), affine())",
    "inverse": "[autoregressive(made([6], activation=tanh), affine(), direction=inverse), actnorm()]",
}


@pytest.mark.parametrize("name", CONDITIONED)
def test_context_conditions_and_broadcasts(name: str) -> None:
    made = flow(CONDITIONED[name], (SIZE,), context=2)
    generator = np.random.default_rng(0)
    z, c = generator.standard_normal((5, 1, SIZE)), generator.standard_normal((4, 2))
    x, log_det = (value.detach() for value in made.torch.forward_and_log_det(torch.tensor(z), torch.tensor(c)))
    y, other = compiled(lambda made, z, c: made.forward_and_log_det(z, c))(made.jax, z, c)
    assert x.shape == y.shape == (5, 4, SIZE)
    assert log_det.shape == other.shape == (5, 4)
    assert np.abs(x.numpy() - y).max() <= 1e-12
    assert np.abs(log_det.numpy() - other).max() <= 1e-12
    single, _ = made.torch.forward_and_log_det(torch.tensor(z[2, 0]), torch.tensor(c[1]))
    assert torch.allclose(single, x[2, 1], rtol=0, atol=1e-13)
    assert (x[:, 0] - x[:, 1]).abs().max() > 1e-3
    back, _ = made.torch.inverse_and_log_det(x, torch.tensor(c))
    assert np.abs(back.detach().numpy() - z).max() <= 1e-11
    for transform in (made.torch.transform(torch.tensor(c)),):
        again = transform(torch.tensor(z))
        assert torch.equal(again, x)
        # A point of its own is mapped back, which adds up in another order.
        assert (transform.log_abs_det_jacobian(torch.tensor(z), again) - log_det).abs().max() <= 1e-13
    transform = made.jax.transform(jnp.asarray(c))
    assert np.abs(transform.log_abs_det_jacobian(z, y, transform.call_with_intermediates(z)[1]) - other).max() <= 1e-12


IMAGES = (
    "[squeeze(), actnorm(), coupling(mlp([4]), affine()), permute(), "
    "multiscale([lu_linear(), coupling(mlp([4]), affine())]), inverse(squeeze())]"
)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (2, 2, 4)])
def test_images(shape: tuple[int, ...]) -> None:
    made = flow(IMAGES, shape)
    z = np.random.default_rng(0).standard_normal((ROWS, *shape))
    x, log_det = mapped(made.torch, z, "pyro")
    y, other = mapped(made.jax, z, "numpyro")
    assert x.shape == z.shape
    assert np.abs(x - y).max() <= 1e-12
    assert np.abs(log_det - other).max() <= 1e-12
    size = math.prod(shape)
    jacobians = jacobian(made.torch, z, x, "pyro").reshape(ROWS, size, size)
    back, log_back = mapped(made.torch, x, "pyro", "inverse_and_log_det")
    check_laws(z.reshape(ROWS, -1), x.reshape(ROWS, -1), log_det, jacobians, (back.reshape(ROWS, -1), log_back))


def test_squeeze_and_multiscale_place_elements() -> None:
    z = np.arange(16.0).reshape(1, 4, 4)
    squeezed = torch_bijectors.Squeeze((4, 4)).forward(torch.tensor(z))[0]
    assert torch.equal(squeezed, torch.nn.functional.pixel_unshuffle(torch.tensor(z), 2))
    assert np.array_equal(jax_bijectors.Squeeze((4, 4)).forward(z)[0], squeezed)
    inner = [torch_bijectors.Exp((2, 2))]
    x, log_det = torch_bijectors.Multiscale(inner, (4, 2)).forward_and_log_det(torch.ones(3, 4, 2))
    assert torch.equal(x[:, 2:], torch.ones(3, 2, 2))
    assert torch.allclose(x[:, :2], torch.full((3, 2, 2), math.e))
    assert torch.equal(log_det, torch.full((3,), 4.0))


def test_orders_leave_nothing_in_place() -> None:
    assert ordering("f.0", 2) == (1, 0)
    assert ordering("f.0", 1) == (0,)
    for size in range(3, 12):
        order = ordering("f.0", size)
        assert sorted(order) == list(range(size))
        assert all(place != at for at, place in enumerate(order))
    assert ordering("f.0", 11) != ordering("f.1", 11)


@pytest.mark.parametrize("name", NAMES)
def test_precision_and_device(name: str) -> None:
    made, z = built(name), drawn(INSTANCES[name].domain).astype(np.float32)
    single = anew(name).torch.float()
    x, log_det = single.forward_and_log_det(torch.tensor(z))
    assert x.dtype == log_det.dtype == torch.float32
    reference, _ = mapped(made.torch, z.astype(np.float64), "pyro")
    assert np.abs(x.detach().numpy() - reference).max() <= 1e-4 * (1 + np.abs(reference).max())
    abstract = single.to("meta").forward_and_log_det(torch.empty(ROWS, SIZE, device="meta"))
    assert [part.device.type for part in abstract] == ["meta", "meta"]
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), made.jax)
    shapes = jax.eval_shape(lambda made, z: made.forward_and_log_det(z), low, jnp.asarray(z))
    assert [part.dtype for part in shapes] == [jnp.float32, jnp.float32]


# ---- starts and ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["affine", "spline", "actnorm", "planar", "coupling_affine", "coupling_spline", "maf"])
def test_identity_at_the_start(name: str) -> None:
    made = anew(name, jitter=0.0)
    x, log_det = mapped(made.torch, drawn("real"), "pyro")
    assert np.abs(x - drawn("real")).max() <= 20 * EPS
    assert np.abs(log_det).max() <= 20 * EPS


def test_tails_of_a_spline_are_the_identity() -> None:
    made = flow("spline(bins=5, bound=2)", (SIZE,), jitter=1.0)
    far = np.array([[-9.0, 2.0, 3.0], [1e6, -2.0, -2.5]])
    for backend in BACKENDS:
        x, log_det = mapped(made.on(backend), far, backend)
        assert np.abs(x - far).max() <= 10 * EPS
        back, _ = mapped(made.on(backend), far, backend, "inverse_and_log_det")
        assert np.abs(back - far).max() <= 10 * EPS
    near, _ = mapped(made.torch, np.full((1, SIZE), 0.5), "pyro")
    assert np.abs(near - 0.5).max() > 1e-2
    assert np.isfinite(log_det).all()


@pytest.mark.parametrize("written", [splines.spline, splines.inverse_spline])
@pytest.mark.parametrize("shapes", [((5, 2), (5, 2)), ((5, 2), (2,)), ((2,), (5, 2))])
def test_the_written_derivatives_of_splines(written: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """First ones written out, second ones recorded; values inside and outside of the square, parameters shared."""
    generator = torch.Generator().manual_seed(3)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    leaves = (3 * normal(*shapes[0]), *(normal(*shapes[1], count) for count in (4, 4, 3)))
    mapped = lambda *leaves: written(*leaves, 3.0)  # noqa: E731
    assert torch.autograd.gradcheck(mapped, [leaf.requires_grad_() for leaf in leaves])
    assert torch.autograd.gradgradcheck(mapped, leaves)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_warm_start_normalizes(backend: str) -> None:
    written = "[actnorm(), coupling(mlp([4]), affine()), inverse([actnorm(), lu_linear()]), reverse(), actnorm()]"
    made = flow(written, (SIZE,)).on(backend)
    x = 3.0 + np.random.default_rng(0).standard_normal((50, SIZE)) @ np.array([[2.0, 1, 0], [0, 1, 0.5], [0, 0, 4]])
    array = torch.tensor if backend == "pyro" else jnp.asarray
    found = made.warm_start(array(x))
    assert set(found) == {f"{place}.{name}" for place in ("0", "2.0", "4") for name in ("shift", "log_scale")}
    if backend == "pyro":
        made.load_state_dict({**made.state_dict(), **found})
    else:
        paths, structure = jax.tree_util.tree_flatten_with_path(made)
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
        leaves = [found.get(name, leaf) for name, (_, leaf) in zip(names, paths, strict=True)]
        made = jax.tree.unflatten(structure, leaves)
    value = array(x)
    for step in reversed(made.steps):
        value = step.inverse(value)
        seen = np.asarray(value.tolist())
        if type(step).__name__ == "ActNorm":
            assert np.abs(seen.mean(0)).max() <= 1e-12
            assert np.abs(seen.var(0) - 1).max() <= 1e-12


def test_a_shared_network_stands_in_its_place() -> None:
    made = flow("coupling(mlp([4], activation=tanh), affine())", (SIZE,))
    z = torch.tensor(drawn("real"))
    inner = next(iter(made.torch.steps))
    shared = torch_bijectors.Chain(
        [torch_bijectors.Coupling(torch_bijectors.Shared("net"), torch_bijectors.Affine(), SIZE)]
    )
    assert not list(shared.parameters())
    bound = shared.bind({"net": inner.conditioner})
    assert torch.equal(bound.forward(z), made.torch.forward(z))
    assert bound is not shared
    other = jax_bijectors.Chain([jax_bijectors.Coupling(jax_bijectors.Shared("net"), jax_bijectors.Affine(), SIZE)])
    assert not jax.tree.leaves(other)
    again = other.bind({"net": made.jax.steps[0].conditioner})
    assert np.abs(again.forward(z.numpy()) - made.torch.forward(z).detach().numpy()).max() <= 1e-14
    assert made.torch.bind({}) is made.torch
    assert made.jax.bind({}) is made.jax

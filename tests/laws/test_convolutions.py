"""Convolutions are products of matrices on a processor: the same functions as XLA's, and the same derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgmppl_numpyro.networks import convolved

# Sides, window, zeros around each axis, stride.
CASES = {
    "image": ((6, 5), (3, 3), ((1, 1), (1, 1)), 1),
    "image, halved": ((6, 5), (4, 2), ((1, 1), (0, 1)), 2),
    "pixels": ((4, 3), (1, 1), ((0, 0), (0, 0)), 1),
    "rows above, from the left": ((4, 5), (2, 3), ((1, 0), (1, 1)), 1),
    "line, halved": ((7,), (3,), ((2, 0),), 2),
}

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def arguments(case: tuple[Any, ...]) -> tuple[Any, Any, Callable[..., Any], Callable[..., Any]]:
    """Maps and weights, and the function of both, laid out and by XLA's convolution with torch's layout."""
    sides, window, pads, stride = case
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.standard_normal((2, *sides, 3)))
    weight = jnp.asarray(generator.standard_normal((4, 3, *window)))

    def by_xla(x: Any, weight: Any) -> Any:
        h = jax.lax.conv_general_dilated(jnp.moveaxis(x, -1, 1), weight, (stride,) * len(sides), pads)
        return jnp.moveaxis(h, 1, -1)

    return x, weight, partial(convolved, pads=pads, stride=stride), by_xla


@cases
def test_laid_out_windows_are_a_convolution_with_its_derivatives(case: tuple[Any, ...]) -> None:
    x, weight, ours, reference = arguments(case)

    def derivatives(function: Callable[..., Any]) -> Any:
        def scalar(x: Any, weight: Any) -> Any:
            return jnp.sin(function(x, weight)).sum()

        gradient = jax.grad(scalar, (0, 1))
        return function(x, weight), gradient(x, weight), jax.jvp(gradient, (x, weight), (x, weight))[1]

    for found, expected in zip(*(jax.tree.leaves(derivatives(one)) for one in (ours, reference)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_other_devices_keep_their_convolutions() -> None:
    x, weight, ours, _ = arguments(CASES["image"])
    traced = jax.jit(jax.grad(lambda x, weight: jnp.square(ours(x, weight)).sum(), (0, 1))).trace(x, weight)
    on_gpu, on_cpu = (traced.lower(lowering_platforms=(place,)).as_text() for place in ("cuda", "cpu"))
    operations = ["stablehlo.convolution", "stablehlo.dot_general"]
    assert [name in on_gpu for name in operations] == [True, False]
    assert [name in on_cpu for name in operations] == [False, True]

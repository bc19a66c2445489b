"""Parts of emitted networks; maps have their channels last here, whatever the layout of what a network is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from dgmppl_numpyro.operations import diag, softplus

Pads: TypeAlias = "Sequence[tuple[int, int]]"


class Linear(eqx.Module):  # type: ignore[misc]
    """x W^T + b over the last axis, for any batch axes on the left.

    Attributes:
        weight: W, [out, in], torch's layout.
        bias: b, [out]; None where there is none.
    """

    weight: Array
    bias: Array | None

    def __init__(self, inputs: int, outputs: int, key: Array, *, bias: bool = True) -> None:
        """Both uniform in +-1/sqrt(in), as torch draws them."""
        weight_key, bias_key = jax.random.split(key)
        bound = 1.0 / math.sqrt(max(inputs, 1))
        self.weight = jax.random.uniform(weight_key, (outputs, inputs), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound) if bias else None

    def __call__(self, x: Array) -> Array:
        """[.., in] -> [.., out]."""
        h = x @ self.weight.T
        return h if self.bias is None else h + self.bias


class LayerNorm(eqx.Module):  # type: ignore[misc]
    """(x - mean) / sqrt(var + 1e-5) over the last axis, scaled and shifted (Ba et al. 2016).

    Attributes:
        weight, bias: [width], one and zero at the start.
    """

    weight: Array
    bias: Array

    def __init__(self, width: int) -> None:
        self.weight = jnp.ones(width)
        self.bias = jnp.zeros(width)

    def __call__(self, x: Array) -> Array:
        """[.., width] -> [.., width]."""
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
        return centred * scale * self.weight + self.bias


class Conv(eqx.Module):  # type: ignore[misc]
    """A convolution of maps with their channels last: [N, *sides, in] -> [N, *sides', out].

    Attributes:
        weight: [out, in, *window], torch's layout.
        bias: [out].
    """

    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)
    weight: Array
    bias: Array

    def __init__(
        self, inputs: int, outputs: int, kernel: int, key: Array, *, stride: int = 1, padding: int = 0, axes: int = 2
    ) -> None:
        """Both uniform in +-1/sqrt(in kernel^axes), as torch draws them."""
        keys, bound = jax.random.split(key), 1.0 / math.sqrt(inputs * kernel**axes)
        shape = (outputs, inputs, *[kernel] * axes)
        self.stride, self.padding = stride, padding
        self.weight = jax.random.uniform(keys[0], shape, minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(keys[1], (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        """With `padding` zeros on every side."""
        pads = ((self.padding, self.padding),) * (x.ndim - 2)
        return convolved(x, self.weight, pads, self.stride) + self.bias


class ConvTranspose(eqx.Module):  # type: ignore[misc]
    """The transpose of a convolution of stride 2, channels last: [N, *sides, in] -> [N, *(2 (side - 1) + kernel), out].

    Attributes:
        weight: [in, out, kernel, kernel], torch's layout.
        bias: [out].
    """

    weight: Array
    bias: Array

    def __init__(self, inputs: int, outputs: int, kernel: int, key: Array) -> None:
        """Both uniform in +-1/sqrt(out kernel^2), as torch draws them."""
        keys, bound = jax.random.split(key), 1.0 / math.sqrt(outputs * kernel**2)
        shape = (inputs, outputs, kernel, kernel)
        self.weight = jax.random.uniform(keys[0], shape, minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(keys[1], (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        """y[2 i + r] = sum_j x[i - j] weight[2 j + r]: a convolution for the even places and one for the odd ones."""
        outputs, kernel = self.weight.shape[1:3]
        half = -(-kernel // 2)
        even = jnp.pad(self.weight, [(0, 0), (0, 0), *[(0, 2 * half - kernel)] * 2])
        turned = jnp.flip(even.reshape(-1, outputs, half, 2, half, 2), (2, 4))
        weight = turned.transpose(3, 5, 1, 0, 2, 4).reshape(4 * outputs, -1, half, half)
        phases = convolved(x, weight, ((half - 1, half - 1),) * 2)
        count, height, width = phases.shape[:3]
        spread = phases.reshape(count, height, width, 2, 2, outputs).transpose(0, 1, 3, 2, 4, 5)
        whole = spread.reshape(count, 2 * height, 2 * width, outputs)
        return whole[:, : 2 * x.shape[1] - 2 + kernel, : 2 * x.shape[2] - 2 + kernel] + self.bias


class GroupNorm(eqx.Module):  # type: ignore[misc]
    """(x - mean) / sqrt(var + 1e-5) in each group of channels, scaled and shifted by channel (Wu and He 2018).

    Attributes:
        weight, bias: [channels], one and zero at the start.
    """

    groups: int = eqx.field(static=True)
    weight: Array
    bias: Array

    def __init__(self, groups: int, channels: int) -> None:
        self.groups = groups
        self.weight = jnp.ones(channels)
        self.bias = jnp.zeros(channels)

    def __call__(self, x: Array) -> Array:
        """[N, *sides, channels] -> [N, *sides, channels]."""
        grouped = x.reshape(x.shape[0], -1, self.groups, x.shape[-1] // self.groups)
        centred = grouped - grouped.mean((1, 3), keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean((1, 3), keepdims=True) + 1e-5)
        return (centred * scale).reshape(x.shape) * self.weight + self.bias


def convolved(x: Array, weight: Array, pads: Pads, stride: int = 1) -> Array:
    """Windows of maps, channels last, times weights: [N, *sides, in] and [out, in, *window] -> [N, *sides', out].

    XLA has kernels for convolutions, but on processors not for the gradients of those inside a loop, such as training:
    there each window is laid out as one row of a matrix.

    Args:
        x: the maps.
        weight: the weights, torch's layout.
        pads: zeros in front of and behind each axis.
        stride: elements from one window to the next.
    """
    kernel = jnp.moveaxis(weight, (0, 1), (-1, -2))
    # What is laid out is not kept for the gradient: it has as many copies of x as a window has elements.
    laid_out = jax.checkpoint(partial(_by_windows, pads=pads, stride=stride))
    return jax.lax.platform_dependent(x, kernel, cpu=laid_out, default=partial(_by_xla, pads=pads, stride=stride))


def _by_xla(x: Array, kernel: Array, *, pads: Pads, stride: int) -> Array:
    axes = x.ndim - 2
    last = (0, axes + 1, *range(1, axes + 1))
    layouts = jax.lax.ConvDimensionNumbers(last, (axes + 1, axes, *range(axes)), last)
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * axes, pads, dimension_numbers=layouts)


def _by_windows(x: Array, kernel: Array, *, pads: Pads, stride: int) -> Array:
    """The axes from the last to the first, so that the elements of a window end up in raster order, channels last."""
    axes = x.ndim - 2
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    for axis in range(axes, 0, -1):
        last = x.shape[axis] - kernel.shape[axis - 1]
        places = (jax.lax.slice_in_dim(x, k, last + k + 1, stride, axis) for k in range(kernel.shape[axis - 1]))
        x = jnp.concatenate([*places], -1)
    return x @ kernel.reshape(-1, kernel.shape[-1])


def positive(x: Array) -> Array:
    """softplus(x) + 1e-6: a head on the positive reals, away from zero."""
    return softplus(x) + 1e-6


def scale_tril(x: Array) -> Array:
    """A lower triangular matrix with a positive diagonal from any square one [.., n, n]."""
    diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)
    return jnp.tril(x, -1) + diag(positive(diagonal))

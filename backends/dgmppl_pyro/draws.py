"""Random numbers, and samples as functions of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dgmppl_pyro.elementary import real_of
from dgmppl_pyro.operations import one_hot

Axes = tuple[int | str, ...]


def standard(
    entries: Mapping[str, tuple[str, Axes]],
    generator: torch.Generator | None,
    sizes: Mapping[str, int],
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> dict[str, Any]:
    """The random numbers of one call of a function.

    Args:
        entries: name -> kind (`normal`, `uniform`, `gumbel` or `library`) and axes, named ones by name.
        generator: a generator; torch's own where None.
        sizes: length of each named axis.
        dtype: of the tensors; torch's default where None.
        device: of the tensors; the generator's where None.

    Returns:
        Tensors by name; for `library` the generator with the sizes of the batch axes.
    """
    device = generator.device if device is None and generator is not None else device
    result: dict[str, Any] = {}
    for name, (kind, axes) in entries.items():
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)
        match kind:
            case "library":
                result[name] = (generator, shape)
            case "normal":
                result[name] = torch.randn(shape, generator=generator, dtype=dtype, device=device)
            case "uniform":
                result[name] = torch.rand(shape, generator=generator, dtype=dtype, device=device)
            case _:
                exponential = torch.empty(shape, dtype=dtype, device=device).exponential_(generator=generator)
                result[name] = -exponential.log()
    return result


Source = tuple[torch.Generator | None, tuple[int, ...]]


def steps(source: Source, count: int) -> list[Source]:
    """The source of random numbers of each step of a loop: a generator moves on by itself."""
    return [source] * count


def batch(noise: Tensor | Source, rank: int) -> tuple[int, ...]:
    """The batch axes of an entry of noise whose event has `rank` axes."""
    return tuple(noise.shape[: noise.ndim - rank]) if isinstance(noise, Tensor) else noise[1]


def library(distribution: Any, source: Source, event: tuple[int, ...]) -> Tensor:
    """A sample by the library's own sampler, batch axes those of `source`, then the independent axes `event`.

    The library's samplers read torch's own generator: it is seeded from the given one and put back afterwards.
    """
    generator, batch = source
    expanded = distribution.expand(torch.broadcast_shapes(distribution.batch_shape, batch + event))
    draw = expanded.rsample if expanded.has_rsample else expanded.sample
    if generator is None:
        return draw()
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[generator.device] if generator.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return draw()


def bernoulli_probs(probs: Tensor | float, uniform: Tensor) -> Tensor:
    """1 where the uniform lies below p, else 0."""
    return (uniform < probs).to(uniform.dtype)


def bernoulli_logits(logits: Tensor | float, uniform: Tensor) -> Tensor:
    """1 where the uniform lies below sigmoid(l), else 0."""
    return (uniform < torch.sigmoid(real_of(logits, uniform))).to(uniform.dtype)


def categorical_logits(logits: Tensor, gumbel: Tensor) -> Tensor:
    """argmax_k l_k + g_k over the last axis."""
    return (logits + gumbel).argmax(-1)


def categorical_probs(probs: Tensor, gumbel: Tensor) -> Tensor:
    """argmax_k log p_k + g_k over the last axis."""
    return (torch.log(probs) + gumbel).argmax(-1)


def one_hot_categorical_logits(logits: Tensor, gumbel: Tensor) -> Tensor:
    """The indicator vector of argmax_k l_k + g_k."""
    return one_hot(categorical_logits(logits, gumbel), gumbel.shape[-1], gumbel)


def one_hot_categorical_probs(probs: Tensor, gumbel: Tensor) -> Tensor:
    """The indicator vector of argmax_k log p_k + g_k."""
    return one_hot_categorical_logits(torch.log(probs), gumbel)

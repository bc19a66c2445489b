"""What several tests need: a compiled spec on both backends, shared noise, the libraries' own log densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgmppl.compiler import Compilation, compile_spec
from dgmppl.ir.kernel import Function
from dgmppl.ir.parameters import initial_values

BACKENDS = ("pyro", "numpyro")
SPECS = Path(__file__).resolve().parent.parent / "specs"
REFERENCE = Path(__file__).resolve().parent / "data" / "posteriordb"
# Rows of the mini-batches that canonical specs are compared on.
BATCH = 6

Values = dict[str, NDArray[Any]]


def both(spec: Any, **bindings: Any) -> dict[str, Compilation]:
    """The spec compiled for each backend."""
    return {name: compile_spec(spec, backend=name, bindings=bindings or None) for name in BACKENDS}


def start(compiled: Compilation, seed: int = 0, jitter: float = 0.1) -> Values:
    """Parameters in float64, moved off their start so that no zero hides a mistake."""
    values = initial_values(compiled.module.parameters, seed)
    generator = np.random.default_rng(seed + 1)
    moved = {}
    for spec in compiled.module.parameters:
        noise = jitter * generator.standard_normal(spec.shape)
        kind = spec.support.kind
        if kind == "real":
            moved[spec.name] = values[spec.name] + noise
        elif kind == "simplex":
            weights = values[spec.name] * np.exp(noise)
            moved[spec.name] = weights / weights.sum(-1, keepdims=True)
        elif kind in {"positive", "nonnegative"}:
            moved[spec.name] = values[spec.name] * np.exp(noise)
        else:
            moved[spec.name] = values[spec.name]
    return moved


def noise_for(function: Function, rows: int, particles: int | None = None, seed: int = 0) -> Values:
    """The random numbers of a function, drawn by NumPy so that both backends can be given the same."""
    generator = np.random.default_rng(seed)
    count = function.particles if function.particles else particles
    result = {}
    for entry in function.noise:
        batch = ((count,) if entry.particles and count else ()) + ((rows,) if entry.plate == "data" else ())
        shape = (*batch, *entry.shape)
        match entry.kind:
            case "normal":
                result[entry.name] = generator.standard_normal(shape)
            case "uniform":
                result[entry.name] = generator.uniform(size=shape)
            case "gumbel":
                result[entry.name] = generator.gumbel(size=shape)
            case kind:
                raise AssertionError(f"noise of kind {kind} cannot be shared between backends")
    return result


def library_log_density(
    backend: str, program: Any, batch: Mapping[str, NDArray[Any]], latents: Mapping[str, NDArray[Any]]
) -> float:
    """log density of a library program with its latents held at given values, summed over the batch; float64, nats."""
    return (_pyro if backend == "pyro" else _numpyro)(program, batch, latents)


def _pyro(program: Any, batch: Mapping[str, NDArray[Any]], latents: Mapping[str, NDArray[Any]]) -> float:
    import pyro
    import torch

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array))

    rows = len(next(iter(batch.values())))
    held = pyro.condition(program, data={name: tensor(value) for name, value in latents.items()})
    trace = pyro.poutine.trace(held).get_trace(**{name: tensor(value) for name, value in batch.items()}, rows=rows)
    return float(trace.log_prob_sum().detach())


def _numpyro(program: Any, batch: Mapping[str, NDArray[Any]], latents: Mapping[str, NDArray[Any]]) -> float:
    import jax

    with jax.enable_x64(True):
        arrays, held = ({name: jax.numpy.asarray(value) for name, value in part.items()} for part in (batch, latents))
        return float(_compiled_density(program)(arrays, held))


@lru_cache(maxsize=16)
def _compiled_density(program: Any) -> Callable[..., Any]:
    """One program of XLA for each of NumPyro: eagerly, a composite's hundred operations are compiled one by one."""
    import jax
    from numpyro import handlers
    from numpyro.infer.util import log_density

    def total(arrays: dict[str, Any], held: dict[str, Any]) -> Any:
        rows = len(next(iter(arrays.values())))
        value, _ = log_density(handlers.seed(program, jax.random.key(0)), (), {**arrays, "rows": rows}, held)
        return value

    return jax.jit(total)

"""Where and how precisely JAX computes: scoped to a block of code, never set for the process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from dgmppl.backend import Arrays, Device
from dgmppl.errors import RunError

# bfloat16 is mixed precision: factors of matrix products are rounded, products are summed and kept in float32. XLA
# does so where the hardware does; its processor backend computes such products in float32.
_MATMUL = {"float32": None, "float64": None, "bfloat16": "BF16_BF16_F32"}


def kinds() -> tuple[str, ...]:
    """The device kinds that are there, the fastest last."""
    try:
        return ("cpu", "cuda") if jax.devices("cuda") else ("cpu",)
    except RuntimeError:
        return ("cpu",)


def select(device: Device) -> jax.Device:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        RunError: there is no such device, or no such precision.
    """
    if device.precision not in _MATMUL:
        raise RunError(f"there is no precision {device.precision!r}; known: {', '.join(_MATMUL)}")
    limit_threads(device.threads)
    available = kinds()
    kind = available[-1] if device.kind == "auto" else device.kind
    if kind not in available:
        raise RunError(f"there is no device {kind!r}; available: {', '.join(available)}, or auto")
    return jax.devices(kind)[0]


def free_bytes(device: jax.Device) -> int | None:
    """What is free of the device's own memory; None for a processor, which computes in the host's."""
    statistics = None if device.platform == "cpu" else device.memory_stats()
    return None if statistics is None else int(statistics["bytes_limit"] - statistics["bytes_in_use"])


def limit_threads(threads: int | None) -> None:
    """Sets the size of XLA's thread pool, which is fixed when JAX first looks for devices.

    Warns:
        RuntimeWarning: it was fixed before, at another size.
    """
    if threads is None or os.environ.get("NPROC") == str(threads):
        return
    if jax._src.xla_bridge.backends_are_initialized():
        message = f"JAX has started before; threads={threads} has no effect (set NPROC={threads} before the start)"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        return
    os.environ["NPROC"] = str(threads)


@contextmanager
def scope(device: Device) -> Iterator[jax.Device]:
    """Computes on a device in a precision; the process's own settings are as before afterwards."""
    chosen = select(device)
    wide, matmul = (
        jax.enable_x64(device.precision == "float64"),
        jax.default_matmul_precision(_MATMUL[device.precision]),
    )
    with wide, matmul, jax.default_device(chosen):
        yield chosen


@contextmanager
def exact(values: Arrays, batch: Arrays, device: Device | None = None) -> Iterator[None]:
    """Computes in the parameters' own precision (the data's where there are none), matrix products in full precision.

    float64 if a floating array is float64, else float32. Factors are rounded where the device's precision is bfloat16.
    None for JAX's present device.
    """
    floating = [array for array in map(np.asarray, values.values()) if array.dtype.kind == "f"]
    floating = floating or [array for array in map(np.asarray, batch.values()) if array.dtype.kind == "f"]
    wide = any(array.dtype == np.float64 for array in floating)
    place, matmul = (None, None) if device is None else (select(device), _MATMUL[device.precision])
    with jax.enable_x64(wide), jax.default_matmul_precision(matmul or "highest"), jax.default_device(place):
        yield

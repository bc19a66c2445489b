"""Where and how precisely torch computes: scoped to a block of code, never set for the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dgmppl.backend import Arrays, Device
from dgmppl.errors import RunError

# bfloat16 is mixed precision: parameters and sums stay in float32, matrix products run under autocast.
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


def kinds() -> tuple[str, ...]:
    """The device kinds that are there, the fastest last."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def select(device: Device) -> tuple[torch.device, torch.dtype]:
    """The device that `auto`, `cpu` or `cuda` means here, and the type of parameters.

    Raises:
        RunError: there is no such device, or no such precision.
    """
    if device.precision not in _DTYPES:
        raise RunError(f"there is no precision {device.precision!r}; known: {', '.join(_DTYPES)}")
    available = kinds()
    kind = available[-1] if device.kind == "auto" else device.kind
    if kind not in available:
        raise RunError(f"there is no device {kind!r}; available: {', '.join(available)}, or auto")
    return torch.device(kind), _DTYPES[device.precision]


def free_bytes(place: torch.device) -> int | None:
    """What is free of the device's own memory; None for a processor, which computes in the host's."""
    return int(torch.cuda.mem_get_info(place)[0]) if place.type == "cuda" else None


@contextmanager
def limit_threads(threads: int | None) -> Iterator[None]:
    """Computes on so many threads; the process's own number is as before afterwards. None: leaves it as it is."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Treats numbers below the smallest normal one as zero; this thread's own setting is as before afterwards.

    Adam's averages of a gradient that has become zero decay into such numbers within a thousand steps, and processors
    compute with them many times slower.
    """
    flushed_before = bool(torch.tensor(1e-39) * 1.0 == 0.0)
    try:
        torch.set_flush_denormal(True)
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


@contextmanager
def scope(device: Device) -> Iterator[torch.device]:
    """Computes with a device's threads and precision; the process's own settings are as before afterwards."""
    chosen, _ = select(device)
    mixed = device.precision == "bfloat16"
    # Without the cache of rounded weights, which would keep those of the first of many steps until the scope ends.
    with limit_threads(device.threads), torch.autocast(chosen.type, torch.bfloat16, mixed, cache_enabled=False):
        yield chosen


def exact(values: Arrays, batch: Arrays) -> torch.dtype:
    """The parameters' own precision (the data's where there are none): float64 if an array is float64, else float32."""
    floating = [array for array in map(np.asarray, values.values()) if array.dtype.kind == "f"]
    floating = floating or [array for array in map(np.asarray, batch.values()) if array.dtype.kind == "f"]
    return torch.float64 if any(array.dtype == np.float64 for array in floating) else torch.float32

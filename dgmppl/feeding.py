"""How training rows reach a device: all of them once where they fit, else those of a few steps at a time.

Either way a step sees the same rows in the same order, so training is the same bit for bit: what differs is where a
batch is gathered, on the device from the whole split, or on the host from arrays that may be mapped files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dgmppl.backend import Array, Arrays

Rows: TypeAlias = NDArray[np.int64]
T = TypeVar("T")

# Data take at most this part of the memory that is free: parameters, gradients and activations need the rest.
_SHARE = 0.5


class Feed(Generic[T]):
    """The training data on their way to a device.

    Attributes:
        resident: whether all rows are kept on the device.
        steps: steps whose rows are on the device together, where not all rows are.
    """

    def __init__(
        self,
        data: Arrays,
        batch: int,
        *,
        varies: Callable[[str], bool],
        place: Callable[[Arrays], dict[str, T]],
        budget: int | None,
        real_bytes: int = 4,
    ) -> None:
        """Puts on the device what stays there.

        Args:
            data: the training data, rows first.
            batch: rows per step.
            varies: whether a column has one line per row, rather than one per level.
            place: copies arrays to the device.
            budget: bytes that the rows may take there; None for no limit.
            real_bytes: the size of a real number on the device.
        """
        self._rows = {name: column for name, column in data.items() if varies(name)}
        self._place = place
        step = batch * sum(_line_bytes(column, real_bytes) for column in self._rows.values())
        size = sum(len(column) * _line_bytes(column, real_bytes) for column in self._rows.values())
        self.resident = budget is None or size <= budget
        self.steps = 1 if budget is None else max(1, budget // max(step, 1))
        self._kept = place(data if self.resident else {name: data[name] for name in data if name not in self._rows})

    def pieces(self, rows: Rows) -> Iterator[tuple[dict[str, T], Rows]]:
        """A block of steps in parts that fit the device: data there, and the steps' row numbers in them.

        Args:
            rows: row numbers of the training data, `[steps, batch]`.
        """
        if self.resident:
            yield self._kept, rows
            return
        for start in range(0, len(rows), self.steps):
            lines = rows[start : start + self.steps]
            chosen = {name: column[lines.reshape(-1)] for name, column in self._rows.items()}
            yield {**self._kept, **self._place(chosen)}, np.arange(lines.size).reshape(lines.shape)


def _line_bytes(column: Array, real_bytes: int) -> int:
    """What one line of a column takes on the device."""
    per_element = real_bytes if column.dtype.kind == "f" else column.dtype.itemsize
    return per_element * (column[0].size if len(column) else 0)


def budget(asked: int | None, free: int | None) -> int | None:
    """Bytes that training rows may take on a device.

    Args:
        asked: what the user allows; None for half of what is free.
        free: what is free on the device; None where it computes in the host's memory, of which all counts.
    """
    if asked is not None:
        return asked
    free = _host_memory() if free is None else free
    return None if free is None else int(_SHARE * free)


def _host_memory() -> int | None:
    """Bytes of the host's memory; None where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

"""Rows of a mapped file that stay there: picked, and widened, when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from dgmppl.data.values import wide_type, widened

Array: TypeAlias = npt.NDArray[Any]
Rows: TypeAlias = npt.NDArray[np.int64]

# Bytes of an array that are read together.
_PIECE = 2**22


class MappedRows:
    """Rows of a mapped file as float64 or int64, which stands for an array: each access reads what it asks for.

    A batch costs its own rows, so a file larger than memory can be split and trained on. `np.asarray` reads them all.

    Attributes:
        shape: `[N, *event]`.
        dtype: float64 or int64.
    """

    def __init__(self, source: Array, rows: Rows | None = None) -> None:
        """Nothing is read.

        Args:
            source: mapped, `[M, *event]`.
            rows: which of its rows, `[N]`; None for all.
        """
        self._source, self._rows = source, rows
        self.shape: tuple[int, ...] = (len(source) if rows is None else len(rows), *source.shape[1:])
        self.dtype = wide_type(source)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """What all rows take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | Rows) -> Array:
        """Rows by number, in memory; nothing indexes further axes."""
        return widened(np.asarray(self._source[key if self._rows is None else self._rows[key]]))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All rows, converted piece by piece, so that no second copy is made on the way."""
        if copy is False:
            raise ValueError("rows of a mapped file become an array by being copied")
        whole: Array = np.empty(self.shape, self.dtype if dtype is None else dtype)
        start = 0
        for piece in pieces(cast("Array", self)):
            whole[start : start + len(piece)] = piece
            start += len(piece)
        return whole


def chosen(array: Array, rows: Rows | None) -> Array:
    """Rows of an array as float64 or int64; those of a mapped file are left there, see `MappedRows`.

    Args:
        array: rows first.
        rows: which; None for all.
    """
    if (rows is not None or array.dtype != wide_type(array)) and _in_file(array):
        return cast("Array", MappedRows(array, rows))
    return np.ascontiguousarray(widened(array if rows is None else array[rows]))


def _in_file(array: Array) -> bool:
    """Whether an array is a mapped file, or a view of one."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap) and base.filename is not None


def pieces(array: Array) -> Iterator[Array]:
    """Consecutive rows of an array, read a few at a time."""
    step = max(1, _PIECE // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        yield array[start : start + step]

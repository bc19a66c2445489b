"""Batches of row numbers: deterministic, resumable, all of one size.

An epoch visits the rows in an order that depends on (seed, epoch) alone. Batches have B rows each; the N mod B rows
left at an epoch's end open the next epoch's first batch, so every row is visited exactly once per pass and none is
dropped. Each batch is then a uniform sample of B rows, without replacement except in the few batches that span two
passes, and (N/B) sum over the batch is an unbiased estimate of the sum over all N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dgmppl.errors import RunError

Rows: TypeAlias = npt.NDArray[np.int64]


class Batches:
    """The endless stream of batches of a training run.

    Attributes:
        rows: N, of the training split.
        size: B; N in full-batch mode.
        seed: of the order of rows.
        position: rows that have been handed out since the start: the cursor.
    """

    def __init__(self, rows: int, size: int | None, seed: int) -> None:
        """A stream at its start.

        Args:
            rows: N, at least 1.
            size: B; None (or at least N) for all rows in each batch, in their own order.
            seed: of the order of rows.
        """
        if rows < 1 or (size is not None and size < 1):
            raise RunError(f"batches of {size} rows out of {rows}: both must be at least 1")
        self.rows, self.size, self.seed = rows, min(size or rows, rows), seed
        self.position = 0
        self._epoch_order: tuple[int, Rows] | None = None

    @property
    def scale(self) -> float:
        """N/B, by which a batch's sum estimates the sum over all rows."""
        return self.rows / self.size

    @property
    def epoch(self) -> int:
        """Completed passes over the rows."""
        return self.position // self.rows

    @property
    def step(self) -> int:
        """Batches handed out so far."""
        return self.position // self.size

    def steps_for(self, epochs: int) -> int:
        """The batches that hold `epochs` passes; the last may reach into the next pass."""
        return -(-epochs * self.rows // self.size)

    def order(self, epoch: int) -> Rows:
        """The order in which an epoch visits the rows, `[N]`."""
        if self.size == self.rows:
            return np.arange(self.rows)
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            generator = np.random.default_rng(np.random.SeedSequence((self.seed, epoch)))
            self._epoch_order = (epoch, generator.permutation(self.rows))
        return self._epoch_order[1]

    def __iter__(self) -> Iterator[Rows]:
        return self

    def __next__(self) -> Rows:
        """The next batch's row numbers within the split, `[B]`; the cursor moves."""
        epoch, start = divmod(self.position, self.rows)
        batch = self.order(epoch)[start : start + self.size]
        if len(batch) < self.size:
            batch = np.concatenate([batch, self.order(epoch + 1)[: self.size - len(batch)]])
        self.position += self.size
        return batch

    def state(self) -> dict[str, int]:
        """What a checkpoint stores: JSON data."""
        return {"rows": self.rows, "size": self.size, "seed": self.seed, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on where a stored stream stopped.

        Raises:
            RunError: where the state is of other data, another batch size or another seed.
        """
        for key, value in (("rows", self.rows), ("size", self.size), ("seed", self.seed)):
            if state.get(key) != value:
                raise RunError(f"the checkpoint's batches have {key} {state.get(key)}, this run has {value}")
        self.position = state["position"]

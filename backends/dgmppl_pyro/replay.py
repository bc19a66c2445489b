"""Transitions of Markov chains as straight lines of tensor operations, recorded while a run lasts.

A transition differentiates its density: eager automatic differentiation builds a graph for it every time, which for
small networks costs as much as their arithmetic. A run takes the same transition thousands of times; its operations
are recorded once and replayed, and are the same ones in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from dgmppl_pyro.gradients import straight_line
from dgmppl_pyro.operations import only_backward
from dgmppl_pyro.samplers import FASTER, Transition

# To record a transition takes about as long as so many of them save.
WORTH = 2000
# Transitions that a run tells apart; one that is new each time (a number in it changes) is never worth recording.
_MOST = 16

Key = tuple[Any, ...]


class Replay:
    """The recorded transitions of one run.

    A transition is known by its code and by all that it closes over: networks and parameters (updated in place), plain
    numbers, and other such functions. One that closes over anything else runs as it is, as does one on an accelerator
    or under mixed precision.
    """

    def __init__(self) -> None:
        self._taken: Counter[Key] = Counter()
        self._recorded: dict[Key, tuple[Transition, Transition]] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Chains take recorded transitions as long as this lasts."""
        token = FASTER.set(self.faster)
        try:
            yield
        finally:
            FASTER.reset(token)

    def faster(self, step: Transition, start: Tensor, steps: tuple[Tensor, ...]) -> Transition:
        """The transition of a chain that starts there and takes `len(steps[0])` of them: recorded where that pays."""
        identity = _identity(step)
        if identity is None or not _replayable(start):
            return step
        key = (identity, *((tensor.shape, tensor.dtype) for tensor in (start, *(noise[0] for noise in steps))))
        if key not in self._recorded and (key in self._taken or len(self._taken) < _MOST):
            self._taken[key] += len(steps[0])
            if self._taken[key] > WORTH:
                # The transition itself is kept, so that what its key names by address lives as long as the record.
                self._recorded[key] = step, _recorded(step, start, tuple(noise[0] for noise in steps))
        return self._recorded[key][1] if key in self._recorded else step


def _recorded(step: Transition, start: Tensor, entries: tuple[Tensor, ...]) -> Transition:
    """The transition's operations at an example of its arguments; itself where it cannot be recorded."""
    line = straight_line(lambda x, *noise: step(x, noise), start, *entries)
    return step if line is None else lambda x, noise: line(x, *noise)


def _replayable(start: Tensor) -> bool:
    return start.device.type == "cpu" and only_backward() and not torch.is_autocast_enabled("cpu")


def _identity(value: Any) -> Key | None:
    """What tells a transition, or a part of it, from others; None where that is not known for certain."""
    if value is None or isinstance(value, bool | int | float | str):
        return (type(value), value)
    if isinstance(value, nn.Module | nn.Parameter):
        return (type(value), id(value))
    if isinstance(value, FunctionType):
        return _all_known((value.__code__,), _contents(value))
    return _all_known((tuple,), value) if isinstance(value, tuple) else None


def _contents(function: FunctionType) -> list[Any]:
    """What a function's text leaves open: the cells that it closes over, its default values."""
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return [*(cell.cell_contents for cell in function.__closure__ or ()), *defaults]


def _all_known(head: Key, parts: Iterable[Any]) -> Key | None:
    """A key of several parts; None where one of them has none."""
    known = [_identity(part) for part in parts]
    return None if any(one is None for one in known) else (*head, *known)

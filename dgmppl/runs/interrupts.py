"""Ctrl-C and SIGTERM as a request that is honoured at the next block of steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Interrupt:
    """Whether the user, or the scheduler, wants the run to stop.

    Attributes:
        requested: set by the first signal; a second Ctrl-C stops at once.
    """

    requested: bool = False


class Interrupted(Exception):  # noqa: N818
    """A run that stopped on request, after it wrote a checkpoint.

    Attributes:
        step: the steps that it had taken.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after {step} steps")
        self.step = step


@contextmanager
def watched() -> Iterator[Interrupt]:
    """Turn signals into a request for the length of a block; in other threads than the main one nothing is turned."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        interrupt.requested = True

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

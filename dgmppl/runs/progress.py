"""What a person sees while a run works: steps per second, time left, and the loss in nats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told of every block of work."""

    def __call__(self, done: int, total: int, text: str) -> None:
        """`done` of `total` units are done; `text` is the state in words."""


def silent(done: int, total: int, text: str) -> None:
    """Show nothing."""
    del done, total, text


@contextmanager
def bar(label: str, *, unit: str = "steps", shown: bool = True) -> Iterator[Progress]:
    """A bar on the terminal's standard error; nothing is drawn where `shown` is false.

    Args:
        label: what is running.
        unit: what is counted, in the plural.
        shown: whether there is a bar at all.
    """
    if not shown:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Speed(ProgressColumn):
        """Units per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f} {unit}/s" if task.speed else f"- {unit}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as drawn:
        task = drawn.add_task(label, total=None, text="compiling")

        def advance(done: int, total: int, text: str) -> None:
            drawn.update(task, completed=done, total=total, text=text)

        yield advance

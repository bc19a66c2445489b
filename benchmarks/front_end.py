"""CPU seconds of `dgmppl check` and `dgmppl explain` for the zoo's largest specs, as whole processes.

What the interpreter and its libraries alone cost stands beside it: on a machine that others use too, CPU seconds grow
with their load, and the ratio tells the two apart.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

SPECS = Path(__file__).resolve().parent.parent / "specs"
RUNS = 11
# What no front end in Python with a command line and data on board goes below; without OpenBLAS's threads, as in the
# commands that only read.
FLOOR = ("-c", "import os; os.environ.setdefault('OPENBLAS_NUM_THREADS', '1'); import numpy, typer, yaml")


def cpu_seconds(*arguments: str) -> float:
    """User plus system seconds of a finished child process, byte code at hand as in an installed package."""
    cached = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=cached)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def measure(*commands: tuple[str, ...]) -> list[list[float]]:
    """The sorted seconds of each command over `RUNS` rounds, in turn, so that all share the machine's drift."""
    for command in commands:
        cpu_seconds(*command)
    rounds = [[cpu_seconds(*command) for command in commands] for _ in range(RUNS)]
    return [sorted(seconds) for seconds in zip(*rounds, strict=True)]


def main() -> None:
    largest = sorted(SPECS.glob("*.yaml"), key=lambda path: path.stat().st_size, reverse=True)[:3]
    asked = [(word, path) for word in ("check", "explain") for path in (*largest, SPECS / "vae.yaml")]
    floor, *found = measure(FLOOR, *(("-m", "dgmppl", word, str(path)) for word, path in asked))
    view = Table(title=f"CPU seconds of a whole process, {RUNS} runs in turn; imports alone {floor[RUNS // 2]:.2f}")
    for column in ("command", "spec", "median", "least", "over imports"):
        view.add_column(column, justify="left" if column in ("command", "spec") else "right")
    for (word, path), seconds in zip(asked, found, strict=True):
        median = statistics.median(seconds)
        view.add_row(word, path.stem, f"{median:.2f}", f"{seconds[0]:.2f}", f"{median / floor[RUNS // 2]:.2f}")
    Console(width=100).print(view)


if __name__ == "__main__":
    main()

"""CPU seconds of `dgmppl check` and `dgmppl explain` for the zoo's largest specs, as whole processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

SPECS = Path(__file__).resolve().parent.parent / "specs"
RUNS = 5


def cpu_seconds(*command: str) -> float:
    """User plus system seconds of a finished child process, byte code at hand as in an installed package."""
    cached = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "dgmppl", *command], check=True, stdout=subprocess.DEVNULL, env=cached)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main() -> None:
    largest = sorted(SPECS.glob("*.yaml"), key=lambda path: path.stat().st_size, reverse=True)[:3]
    view = Table(title="CPU seconds of a whole process, median of five")
    for column in ("command", "spec", "seconds"):
        view.add_column(column, justify="right" if column == "seconds" else "left")
    for command in ("check", "explain"):
        for path in (*largest, SPECS / "vae.yaml"):
            seconds = sorted(cpu_seconds(command, str(path)) for _ in range(RUNS))[RUNS // 2]
            view.add_row(command, path.stem, f"{seconds:.2f}")
    Console(width=100).print(view)


if __name__ == "__main__":
    main()

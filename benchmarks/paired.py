"""Paired timing: contenders take turns in one process, and the ratio of each pair is what counts.

A machine's speed drifts; two programs that run back to back share the drift. What is compared are CPU seconds of the
process, which on one thread and an idle machine are those of the clock; other processes that share the machine do not
count as ours. The interval is a percentile bootstrap of the median ratio over the pairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

# Below these, a smoke run.
PAIRS = 20


@dataclass(frozen=True)
class Ratio:
    """Speed of ours over theirs: above 1 ours is faster.

    Attributes:
        name: what was compared.
        median: of theirs' seconds / ours' seconds over the pairs.
        low, high: 95 % bootstrap interval of that median.
        ours, theirs: median CPU seconds of a block.
        target: what the issue asks for, or None.
    """

    name: str
    median: float
    low: float
    high: float
    ours: float
    theirs: float
    target: float | None = None


def command(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a benchmark of training steps."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--smoke", action="store_true", help="a few short blocks, to see that it runs")
    return parser


def begin(arguments: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given on the command line; from here on torch computes as it is timed."""
    given = arguments.parse_args()
    on_one_thread()
    return given


def on_one_thread() -> None:
    """Has torch compute as every contender is timed: on one thread, denormal numbers being zero."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def compare(
    name: str, ours: Callable[[], None], theirs: Callable[[], None], *, pairs: int = PAIRS,
    target: float | None = None, warm_up: int = 1,
) -> Ratio:  # fmt: skip
    """Times both in turn, the order alternating, after as many untimed blocks of each; after one in a smoke run."""
    for block in (ours, theirs):
        for _ in range(warm_up if pairs >= PAIRS else 1):
            block()
    seconds = np.empty((pairs, 2))
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for place in order:
            start = time.process_time()
            (ours, theirs)[place]()
            seconds[pair, place] = time.process_time() - start
    ratios = seconds[:, 1] / seconds[:, 0]
    generator = np.random.default_rng(0)
    resampled = np.median(generator.choice(ratios, (5000, pairs)), axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    mine, other = np.median(seconds, axis=0)
    return Ratio(name, float(np.median(ratios)), float(low), float(high), float(mine), float(other), target)


def table(title: str, ratios: list[Ratio], steps: int) -> None:
    """Prints the ratios with their intervals and the step rates."""
    view = Table(title=title)
    for column in ("against", "ratio", "95 % interval", "target", "ours steps/s", "theirs steps/s"):
        view.add_column(column, justify="left" if column == "against" else "right")
    for ratio in ratios:
        goal = "" if ratio.target is None else f"{ratio.target:.2f} {'met' if ratio.low >= ratio.target else 'MISSED'}"
        interval = f"{ratio.low:.3f} .. {ratio.high:.3f}"
        rates = (f"{steps / ratio.ours:.0f}", f"{steps / ratio.theirs:.0f}")
        view.add_row(ratio.name, f"{ratio.median:.3f}", interval, goal, *rates)
    Console(width=120).print(view)

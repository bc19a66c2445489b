"""Runs seeded cases of one kind and reports what they found: `python -m tests.fuzz.campaign spec --cases 500`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS, ZOO, Case, compile_fully
from tests.fuzz.watch import SECONDS, SECONDS_PER_BYTE, limit_memory, peak_memory, watched

# Beyond what the process holds once its libraries are imported.
MEBIBYTES = 1024


@dataclass(slots=True)
class Report:
    """What a campaign came to.

    Attributes:
        kind: a key of `TARGETS`.
        seed: of all random choices; case n of a seed is always the same.
        cases: how many ran.
        refused: how many were refused with diagnostics; the rest compiled or loaded.
        seconds: processor time of all cases.
        slowest: processor time of the slowest one, and its number.
        grown: resident memory at its peak, less what the process held before the first case, in MiB.
        findings: number, message and input of each case that ended otherwise.
    """

    kind: str
    seed: int
    cases: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    grown: float = 0.0
    findings: list[tuple[int, str, str]] = field(default_factory=list)


def campaign(kind: str, seed: int, first: int, count: int) -> Report:
    """Run cases `first` to `first + count - 1`, in a scratch folder of its own."""
    report = Report(kind, seed)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        target = TARGETS[kind](Path(scratch))
        _warm_up(kind)
        before = peak_memory()
        limit_memory(MEBIBYTES)
        for number in range(first, first + count):
            _one(target.case(Random(f"{kind}:{seed}:{number}")), number, report)
        report.grown = peak_memory() - before
        os.chdir("/")
    return report


def _one(case: tuple[str, Case], number: int, report: Report) -> None:
    text, trial = case
    outcome = watched(trial, SECONDS + SECONDS_PER_BYTE * len(text))
    report.cases += 1
    report.refused += outcome.refused
    report.seconds += outcome.seconds
    report.slowest = max(report.slowest, (outcome.seconds, number))
    if outcome.finding is not None:
        report.findings.append((number, outcome.finding, text))


def _warm_up(kind: str) -> None:
    """Import what the first case would: neither its time nor its memory is the case's."""
    for path in ZOO if kind != "run" else ():
        compile_fully(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(TARGETS))
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    report = campaign(chosen.kind, chosen.seed, chosen.first, chosen.cases)
    if chosen.json:
        json.dump(asdict(report), sys.stdout)
        return 0
    alike = Counter(message for _, message, _ in report.findings)
    for message, count in alike.most_common():
        number = next(number for number, other, _ in report.findings if other == message)
        print(f"{count} x (first: case {number}) {message}\n")
    print(f"{report.cases} cases, {report.refused} refused, {len(report.findings)} findings, {report.seconds:.1f} s, "
          f"slowest {report.slowest[0]:.2f} s (case {report.slowest[1]}), {report.grown:.0f} MiB")  # fmt: skip
    return bool(report.findings)


if __name__ == "__main__":
    sys.exit(main())

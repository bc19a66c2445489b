"""The long fuzzing run: 100,000 seeded cases in batches, each batch a process of its own with bounded memory.

`python -m benchmarks.fuzz [SHARE] [SEED]` runs that share of the cases (1 by default) and prints what they came to. A
finding is printed with the command that repeats it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

CASES = {"spec": 50_000, "expression": 30_000, "data": 14_000, "run": 6_000}
BATCH = 2_500
_COLUMNS = ("input", "cases", "refused", "findings", "CPU s", "slowest s", "peak growth MiB")


def batch(kind: str, seed: int, first: int, count: int) -> dict[str, Any]:
    """One batch's report; a process that died is a finding of its own."""
    command = [sys.executable, "-m", "tests.fuzz.campaign", kind, "--seed", str(seed), "--json"]
    done = subprocess.run([*command, "--first", str(first), "--cases", str(count)], capture_output=True, text=True)
    if done.returncode == 0:
        report: dict[str, Any] = json.loads(done.stdout)
        return report
    message = f"the process ended with {done.returncode}: {done.stderr[-500:]}"
    return {"cases": count, "refused": 0, "seconds": 0.0, "slowest": (0.0, -1), "grown": 0.0,
            "findings": [(first, message, "")]}  # fmt: skip


def run(kind: str, seed: int, cases: int, console: Console) -> list[str]:
    """All batches of a kind; the row of the table."""
    reports = []
    for first in range(0, cases, BATCH):
        report = batch(kind, seed, first, min(BATCH, cases - first))
        reports.append(report)
        for number, message, _ in report["findings"]:
            console.print(f"{message}\n  python -m tests.fuzz.campaign {kind} --seed {seed} --first {number} --cases 1")
        console.print(f"{kind}: {first + report['cases']:,} cases, {len(report['findings'])} findings in this batch")
    total = {key: sum(report[key] for report in reports) for key in ("cases", "refused", "seconds")}
    findings = sum(len(report["findings"]) for report in reports)
    slowest = max(report["slowest"][0] for report in reports)
    grown = max(report["grown"] for report in reports)
    return [kind, f"{total['cases']:,}", f"{total['refused']:,}", str(findings), f"{total['seconds']:.0f}",
            f"{slowest:.2f}", f"{grown:.0f}"]  # fmt: skip


def main() -> None:
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    console = Console(width=140, highlight=False, markup=False)
    view = Table(title=f"Fuzzing, seed {seed}")
    for column in _COLUMNS:
        view.add_column(column, justify="left" if column == "input" else "right")
    for kind, cases in CASES.items():
        view.add_row(*run(kind, seed, int(cases * share), console))
    console.print(view)


if __name__ == "__main__":
    main()

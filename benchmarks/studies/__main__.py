"""The command line of the studies; thread counts are fixed before the libraries load, which a study's module does."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

import benchmarks.studies
from benchmarks.studies.ledger import Ledger
from benchmarks.studies.study import Study, Verdict

NAMES = ("modes", "digits", "implicit_posterior", "aggregate", "scores")
BACKENDS = ("numpyro", "pyro")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=benchmarks.studies.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--contender", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of the study's own")
    parser.add_argument("--out", type=Path, help="instead of runs/studies/NAME.jsonl")
    asked = parser.parse_args()
    study: Study = importlib.import_module(f"benchmarks.studies.{asked.name}").STUDY
    keys = study.keys(asked.backend, asked.seeds or study.seeds, asked.contender)
    ledger, console = Ledger(asked.out or Path("runs/studies") / f"{asked.name}.jsonl"), Console(width=120)
    for key in ledger.missing(keys):
        facts = study.fit(key)
        ledger.append(key, facts)
        console.print(*key, facts, highlight=False)
    console.print(table(study, study.judge({key: facts for key, facts in ledger.lines() if key in keys})))


def table(study: Study, verdicts: list[Verdict]) -> Table:
    """The aims, what was found, and whether each is met."""
    view = Table(title=study.doc.splitlines()[0])
    for column in ("of", "aim", "found", "verdict"):
        view.add_column(column)
    for one in verdicts:
        view.add_row(one.subject, one.aim, one.found, "met" if one.met else "MISSED")
    return view


if __name__ == "__main__":
    os.environ["NPROC"] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

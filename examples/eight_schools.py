"""Eight schools: a hierarchical model by NUTS, read with ArviZ."""

from __future__ import annotations

import sys
from pathlib import Path

import arviz as az

import dgmppl as dg

SPEC = Path(__file__).resolve().parent.parent / "specs" / "eight_schools.yaml"


def main(draws: int = 1000) -> None:
    """Draws from the posterior and prints ArviZ's summary with the schools' names."""
    text = SPEC.read_text().replace("warmup=1000, draws=1000", f"warmup={draws}, draws={draws}")
    fit = dg.compile(text, backend="numpyro").fit(seed=0)
    print(az.summary(fit.to_arviz("posterior", "sample_stats"), var_names=["mu", "tau", "theta"]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

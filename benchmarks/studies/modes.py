"""Do the zoo's games find all of eight Gaussians? Radius 2, standard deviation 0.1, at the zoo's own settings.

A mode is covered by at least 1 % of 2,000 samples within three standard deviations of it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import dgmppl as dg
from benchmarks.studies.ledger import Facts, Key
from benchmarks.studies.study import Results, Study, Verdict, groups
from dgmppl.data.generators import MODES
from dgmppl.results.distances import mode_coverage

SPECS = Path(__file__).resolve().parents[2] / "specs"
SAMPLES = 2000

# Contender -> the share of the seeds that cover every mode, and the least mean share of samples near one.
AIMS = {"gan": (0.9, 0.75), "wgan_gp": (0.8, 0.5)}


def fit(key: Key) -> Facts:
    """Modes covered, the share of samples near one, and each mode's share."""
    began = time.process_time()
    fitted = dg.compile(SPECS / f"{key.contender}.yaml", backend=key.backend).fit(seed=key.seed)
    seconds = time.process_time() - began
    centres, scale = MODES["eight_gaussians"]
    found = mode_coverage(np.asarray(fitted.sample(SAMPLES, seed=0)), centres, 3.0 * scale)
    return {
        "covered": found.covered, "near": found.near.value, "shares": found.shares.round(4).tolist(),
        "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def judge(results: Results) -> list[Verdict]:
    """One verdict for each game and backend: in how many seeds both conditions hold."""
    return [_verdict(*name, facts) for name, facts in groups(results).items()]


def _verdict(contender: str, backend: str, facts: dict[int, Facts]) -> Verdict:
    seeds, near = AIMS[contender]
    count = len(MODES["eight_gaussians"].centres)
    good = sum(one["covered"] == count and one["near"] >= near for one in facts.values())
    shares = [one["near"] for one in facts.values()]
    return Verdict(
        f"{contender}, {backend}",
        f"{count} of {count} modes and {near:g} of the samples near one, in {seeds:.0%} of the seeds",
        f"{good} of {len(facts)} seeds; {min(shares):.2f} .. {max(shares):.2f} of the samples near a mode",
        good >= seeds * len(facts),
    )


STUDY = Study(__doc__ or "", tuple(AIMS), tuple(range(10)), fit, judge)

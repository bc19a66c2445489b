"""Does an adversarial autoencoder's aggregate posterior match its prior? A permutation test of the kernel distance.

The critic reads z alone, so it compares q(z) = E_data[q(z | x)] with p(z). An encoder that was not trained must fail.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import dgmppl as dg
from benchmarks.studies.ledger import Facts, Key
from benchmarks.studies.permutation import permutation_test
from benchmarks.studies.study import Results, Study, Verdict, groups

SPECS = Path(__file__).resolve().parents[2] / "specs"
DRAWS, LEVEL = 500, 0.01

# The zoo's spec with four latents, small networks, and a critic that keeps pace with the encoder.
OVERRIDES = (
    "model.z.shape=4", "networks.encoder=mlp([128])", "networks.decoder=mlp([128])", "networks.ratio=mlp([128, 128])",
    "train.epochs=null", "train.steps=4000", "train.optimizer=adam(1e-3, beta1=0.5)", "train.schedule=cosine()",
    "train.ema=0.999",
)  # fmt: skip


def fit(key: Key) -> Facts:
    """The test's p-value for the trained encoder and for the one that it started from."""
    program, began = dg.compile(SPECS / "aae.yaml", backend=key.backend, overrides=OVERRIDES), time.process_time()
    trained = program.fit(seed=key.seed)
    seconds = time.process_time() - began
    start = dg.compile(SPECS / "aae.yaml", backend=key.backend, overrides=OVERRIDES).initial(key.seed)
    return {
        "trained": match(trained, key.seed), "untrained": match(start, key.seed), "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def match(fitted: dg.Fit, seed: int) -> float:
    """The p-value of "draws of the aggregate posterior, one for each of some data, are draws of the prior"."""
    draw = np.random.default_rng(seed)
    train = fitted.loaded.train
    rows = draw.choice(train.rows, DRAWS, replace=False)
    codes = fitted.queries.encode(fitted.parameters, _batch(fitted, rows), 1, seed)["z"][0]
    return permutation_test(np.asarray(codes), draw.standard_normal(codes.shape), seed=seed)


def _batch(fitted: dg.Fit, rows: np.ndarray) -> object:
    from dgmppl.api.inputs import of_part

    program = fitted.program.compiled.program
    return of_part(program, fitted.loaded, fitted.loaded.train).take(program, rows)


def judge(results: Results) -> list[Verdict]:
    """On each backend, the seed that is worst: trained ones must not be told from the prior, untrained ones must."""
    verdicts = []
    for (_, backend), facts in groups(results).items():
        trained, untrained = ([one[what] for one in facts.values()] for what in ("trained", "untrained"))
        # The smallest of n p-values of a true hypothesis is below a level with probability 1 - (1 - level)^n.
        level = LEVEL / len(trained)
        verdicts += [
            Verdict(
                f"trained, {backend}", f"p >= {level:.3g}", f"p = {min(trained):.3g} at worst", min(trained) >= level
            ),
            Verdict(f"untrained, {backend}", f"p < {LEVEL}", f"p = {max(untrained):.3g}", max(untrained) < LEVEL),
        ]
    return verdicts


STUDY = Study(__doc__ or "", ("aae",), (0, 1, 2), fit, judge)

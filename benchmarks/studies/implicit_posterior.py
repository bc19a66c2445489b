"""Does adversarial variational Bayes find a known posterior? A linear-Gaussian model with an implicit guide.

z ~ N(0, I), x | z ~ N(W z, I): the posterior is N(S W'x, S) with S = (I + W'W)^-1, and x ~ N(0, I + W W'). The guide is
a network of x and noise; a critic of x and z estimates log q(z | x) - log p(z) (Mescheder, Nowozin and Geiger 2017).
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.special import digamma, gammaln

import dgmppl as dg
from benchmarks.studies.ledger import Facts, Key
from benchmarks.studies.study import Results, Study, Verdict, groups
from dgmppl.results.evaluation import standard_error

Array = NDArray[Any]

W = np.array([[1.0, 0.5], [0.0, 1.0]])
POSTERIOR = np.linalg.inv(np.eye(2) + W.T @ W)
MARGINAL = np.eye(2) + W @ W.T
AIM = 0.05

SPEC = {
    "dgmppl": 1,
    "name": "linear-gaussian",
    "data": {"x": {"shape": [2], "support": "real"}},
    "networks": {"encoder": "mlp([64, 64])", "ratio": "mlp([128, 128])"},
    "model": {"z": "Normal(0, 1, shape=2)", "x": f"Normal({W.tolist()} @ z, 1.0)"},
    "guide": {"e": "Normal(0, 1, shape=2)", "z": "encoder(x, e)"},
    "critics": {"z": "ratio(x, z)"},
    "train": {
        "optimizers": {"encoder": "adam(5e-4, beta1=0.5)", "ratio": "adam(2e-3, beta1=0.5)"},
        "batch_size": 256, "steps": 5000, "schedule": "cosine()", "ema": 0.999,
    },
}  # fmt: skip


def fit(key: Key) -> Facts:
    """KL(q || posterior) and the bound's gap on fresh data, nats, each with its standard error."""
    began = time.process_time()
    x = _data(8192, key.seed)
    fitted = dg.compile(SPEC, backend=key.backend, bindings={"x": x}).fit(seed=key.seed)
    seconds, fresh = time.process_time() - began, _data(8000, key.seed + 1000)
    kl, gap = divergence(fitted, fresh[:100]), bound_gap(fitted, fresh)
    return {
        "kl": kl[0], "kl_error": kl[1], "gap": gap[0], "gap_error": gap[1], "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def _data(rows: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, 2)) @ np.linalg.cholesky(MARGINAL).T


def divergence(fitted: dg.Fit, x: Array, draws: int = 2000) -> tuple[float, float]:
    """KL(q(z | x) || p(z | x)) = -H(q) - E_q[log p(z | x)], averaged over rows; H by nearest neighbours."""
    drawn = fitted.encode(x, draws=draws, seed=0)["z"].astype(np.float64)
    means = x @ W @ POSTERIOR
    values = np.array(
        [
            -entropy(z) - _log_normal(z - mean, POSTERIOR).mean()
            for z, mean in zip(drawn.swapaxes(0, 1), means, strict=True)
        ]
    )
    return float(values.mean()), standard_error(values)


def bound_gap(fitted: dg.Fit, x: Array, batches: int = 16) -> tuple[float, float]:
    """log p(x) less the bound, whose log q(z | x) - log p(z) is the critic's word for it."""
    executable = fitted.program.compiled.executable
    values = np.array(
        [
            _log_normal(part, MARGINAL).mean()
            + executable.loss("model", fitted.parameters, {"x": part}, seed=number)[0]
            for number, part in enumerate(np.array_split(x.astype(np.float32), batches))
        ]
    )
    return float(values.mean()), standard_error(values)


def entropy(points: Array, neighbours: int = 4) -> float:
    """Differential entropy, nats: psi(N) - psi(k) + log V_D + D E[log r_k] (Kozachenko and Leonenko 1987)."""
    count, size = points.shape
    reach = KDTree(points).query(points, neighbours + 1)[0][:, -1]
    volume = 0.5 * size * math.log(math.pi) - float(gammaln(0.5 * size + 1.0))
    return float(digamma(count) - digamma(neighbours) + volume + size * np.log(reach).mean())


def _log_normal(deviations: Array, covariance: Array) -> Array:
    solved = np.linalg.solve(covariance, deviations.T).T
    return np.asarray(-0.5 * ((deviations * solved).sum(-1) + np.linalg.slogdet(2.0 * math.pi * covariance)[1]))


def judge(results: Results) -> list[Verdict]:
    """On each backend the seed that is worst."""
    verdicts = []
    for (_, backend), facts in groups(results).items():
        for what, name in (("kl", "KL(q ‖ posterior)"), ("gap", "the bound's gap")):
            worst = max(facts.values(), key=lambda one: abs(one[what]))
            found = f"{worst[what]:.3f} ± {worst[f'{what}_error']:.3f} at worst over {len(facts)} seeds"
            verdicts.append(Verdict(f"{name}, {backend}", f"below {AIM} nats", found, abs(worst[what]) < AIM))
    return verdicts


STUDY = Study(__doc__ or "", ("avb",), (0, 1, 2), fit, judge)

"""What trained critics estimate: divergences of two unit normals a shift apart, on 100,000 fresh samples.

For an f-divergence the estimate of any critic is a lower bound: it must be at most the truth plus three standard
errors, and a critic of two layers must reach 0.95 of it. Truths are quadratures; shifts are such that they are 0.1 to 2
nats. A penalized critic's estimate of the Wasserstein distance bounds nothing; it must be within a tenth. In one
dimension the penalty is one-sided: under the two-sided one a critic that starts with the wrong sign keeps it, since its
slope would have to pass zero, where that penalty is largest.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from dgmppl.api.program import compile as compile_program
from dgmppl.ir.expressions import Call
from dgmppl.objectives.divergences import F_DIVERGENCES, FDivergence, alpha_divergence
from dgmppl.objectives.generators import declared
from dgmppl.results.evaluation import standard_error
from dgmppl.source import Source, Span
from dgmppl.spec.expression import parse

ROWS, CHUNKS = 100_000, 20
REACHED, OFF = 0.95, 0.1
OWN = "(u - 1) * log(u)"


class Pair(NamedTuple):
    """Two unit normals and the divergence between them.

    Attributes:
        divergence: as a spec writes it.
        shift: the distance of the means.
        shape: of a point.
    """

    divergence: str
    shift: float
    shape: tuple[int, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether the dual of any critic is a lower bound."""
        return not self.divergence.startswith("wasserstein")


PAIRS = (
    Pair("js", 1.5), Pair("kl", 1.0), Pair("reverse_kl", 1.0), Pair("total_variation", 1.0), Pair("pearson", 0.8),
    Pair("hellinger", 1.2), Pair("alpha(0.5)", 1.0), Pair(f"f({OWN})", 1.0),
    Pair("wasserstein, penalty=gradient(20, sided=one)", 1.5), Pair("wasserstein, penalty=gradient(20)", 1.5, (2,)),
)  # fmt: skip


def spec(pair: Pair, steps: int) -> dict[str, Any]:
    """A model without parameters, so that the critic alone learns."""
    shape = list(pair.shape)
    return {
        "dgmppl": 1,
        "name": "critic",
        "data": {"x": {"shape": shape, "support": "real"}},
        "networks": {"judge": "mlp([64, 64], activation=tanh)"},
        "model": {"x": f"Normal(0, 1, shape={shape})"},
        "critics": {"x": "judge(x)"},
        "objective": f"adversarial(x, divergence={pair.divergence})",
        "train": {"optimizer": "adam(3e-3)", "schedule": "cosine()", "batch_size": 1000, "steps": steps},
    }


def generator_of(divergence: str) -> FDivergence:
    if divergence == f"f({OWN})":
        written = parse(OWN, Span(Source("<generator>", OWN), 1, 1, 1, len(OWN) + 1))
        return declared(Call("f", (written,)))[0]
    return alpha_divergence(0.5) if divergence.startswith("alpha") else F_DIVERGENCES[divergence]


def truth(pair: Pair) -> float:
    """By the midpoint rule; the Wasserstein distance of two shifted densities is the shift."""
    if not pair.bounded:
        return pair.shift
    x = np.arange(-12.0, 14.0, 1e-3) + 5e-4
    p, q = stats.norm.pdf(x, pair.shift), stats.norm.pdf(x)
    return float((q * generator_of(pair.divergence).generator(p / q)).sum() * 1e-3)


def estimate(pair: Pair, backend: str, steps: int) -> tuple[float, float]:
    """A trained critic's value on fresh samples of both sides, with its standard error."""
    random, mean = np.random.default_rng(0), pair.shift / np.sqrt(np.prod(pair.shape))

    def data(rows: int) -> dict[str, np.ndarray]:
        return {"x": random.normal(mean, 1.0, (rows, *pair.shape))}

    program = compile_program(spec(pair, steps), backend=backend, bindings=data(ROWS))
    fit, found = program.fit(seed=0), []
    for chunk in range(CHUNKS):
        fresh = data(ROWS // CHUNKS)
        _, _, report = program.compiled.executable.loss("critic", fit.parameters, fresh, seed=1000 + chunk)
        found.append(report["divergence"])
    return float(np.mean(found)), standard_error(found)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--smoke", action="store_true", help="few steps, to see that it runs")
    arguments.add_argument("--backend", default="numpyro")
    given = arguments.parse_args()
    view = Table(title=f"Trained critics on {ROWS:,} fresh samples, {given.backend}")
    for column in ("divergence", "truth", "estimate", "standard error", "of the truth", ""):
        view.add_column(column, justify="left" if column in {"divergence", ""} else "right")
    for pair in PAIRS:
        exact, (found, error) = truth(pair), estimate(pair, given.backend, 100 if given.smoke else 3000)
        met = REACHED * exact <= found <= exact + 3.0 * error if pair.bounded else abs(found / exact - 1.0) <= OFF
        numbers = (f"{exact:.4f}", f"{found:.4f}", f"{error:.4f}", f"{found / exact:.3f}")
        view.add_row(f"{pair.divergence} {list(pair.shape) or ''}", *numbers, "met" if met else "MISSED")
        print(pair.divergence, *pair.shape, *numbers, flush=True)
    Console(width=120).print(view)


if __name__ == "__main__":
    main()

"""The emitted program as an ordinary NumPyro model and guide, trained by NumPyro's own SVI."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import numpyro
from numpyro.infer import SVI, TraceMeanField_ELBO
from sklearn.datasets import load_digits

import dgmppl as dg

SPEC = Path(__file__).resolve().parent.parent / "specs" / "vae.yaml"


def main(steps: int = 500) -> None:
    """Trains the model and guide that dgmppl wrote with the library's own estimator and optimizer."""
    program = dg.compile(SPEC, backend="numpyro")
    x = (load_digits().images.reshape(-1, 64) > 8).astype(np.float32)
    svi = SVI(program.model, program.guide, numpyro.optim.Adam(1e-3), TraceMeanField_ELBO())
    result = svi.run(jax.random.key(0), steps, x=x, rows=len(x), progress_bar=False)
    print(f"NumPyro's own SVI: {-float(result.losses[-1]) / len(x):.2f} nats per datum")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""A Gaussian mixture: the component is summed out, so the likelihood is exact; compared with scikit-learn."""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

import dgmppl as dg

SPEC = """
dgmppl: 1
name: clusters
data:
  x: {shape: [4], support: real}
parameters:
  weights: learned(simplex(3))
  loc: learned(normal(3, 4))
  scale: learned(positive(3, 4))
model:
  k: Categorical(probs=weights)
  x: Normal(loc[k], scale[k])
train: {optimizer: adam(3e-2), batch_size: all, steps: STEPS}
"""


def main(steps: int = 2000) -> None:
    """Fits both on iris and prints log-likelihoods per flower, then the classes of the first three."""
    x = StandardScaler().fit_transform(load_iris().data)
    fit = dg.compile(SPEC.replace("STEPS", str(steps)), backend="numpyro").fit(x, seed=0)
    reference = GaussianMixture(3, covariance_type="diag", n_init=5, random_state=0).fit(x)
    print(f"dgmppl       {fit.log_prob(x).mean():.3f} nats per datum, exact")
    print(f"scikit-learn {reference.score(x):.3f} nats per datum")
    print(np.round(fit.posterior(x[:3])["k.probs"], 3))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

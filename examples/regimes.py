"""A hidden Markov model: the chain of regimes is summed exactly, and read back by smoothing and Viterbi's path."""

from __future__ import annotations

import sys

import numpy as np

import dgmppl as dg

SPEC = """
dgmppl: 1
name: regimes
data:
  returns: {shape: [60], support: real}
parameters:
  start: learned(simplex(2))
  move: learned(simplex(2, 2))
  spread: learned(ordered(2))
model:
  regime[0]: Categorical(probs=start)
  regime[t]: Categorical(probs=move[regime[t-1]])
  returns[t]: Normal(0, exp(spread[regime[t]]))
train: {optimizer: adam(0.05), batch_size: all, steps: 300}
"""


def main(steps: int = 300) -> None:
    """Fits two volatility regimes to simulated returns and compares the found path with the true one."""
    generator = np.random.default_rng(0)
    regime = np.zeros((100, 60), int)
    for t in range(1, 60):
        change = generator.uniform(size=100) < 0.05
        regime[:, t] = np.where(change, 1 - regime[:, t - 1], regime[:, t - 1])
    returns = generator.standard_normal(regime.shape) * np.array([0.5, 3.0])[regime]

    program = dg.compile(SPEC, backend="numpyro", bindings={"returns": returns})
    print("maximize ", program.explain()["objective"]["text"])
    fit = program.fit(returns, seed=0, steps=steps)
    posterior = fit.posterior(returns)
    print(f"{fit.log_prob(returns).mean():.2f} nats per series, exact")
    print(f"standard deviations {np.exp(fit.parameters['spread']).round(2)}")
    print(f"Viterbi's path is right in {np.mean(posterior['regime.path'] == regime):.1%} of the steps")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

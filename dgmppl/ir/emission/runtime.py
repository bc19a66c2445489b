"""The modules of the runtime packages: one table for the names that texts import, reserve and, standalone, contain."""

from __future__ import annotations

# In an order in which a module comes after those that it takes definitions from. `elementary` and `activations` are
# read by other modules alone.
RUNTIME: tuple[str, ...] = (
    "operations", "elementary", "tails", "restrictions", "constraints", "densities", "derivatives", "critics", "draws",
    "loops", "recursions", "kalman", "samplers", "annealing", "schedules", "odes", "diffusion", "transport", "networks",
    "activations", "embedding", "attention", "convolutions", "unets", "recurrent", "registered", "residual", "causal",
    "bijectors", "distributions", "programs",
)  # fmt: skip

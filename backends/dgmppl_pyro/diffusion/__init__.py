"""Diffusions: bounds and regressions of a denoiser, the density of its probability-flow ODE, and samplers.

x_t = alpha_t x + sigma_t eps with log alpha_t^2 / sigma_t^2 = lambda(t) (`Schedule`). A denoiser is a function of x_t
[.., *event] and t, [] or [..]. The reverse chain has the variances of the posterior q(x_s | x_t, x), the decoder of the
last step is Normal(denoised x, exp(-lambda / 2)); neither is learned.
"""

from __future__ import annotations

from dgmppl_pyro.diffusion.bounds import bound, prior_divergence, regression, stratified
from dgmppl_pyro.diffusion.flows import log_prob, ode, velocity
from dgmppl_pyro.diffusion.process import Process, guided, levels, predicted
from dgmppl_pyro.diffusion.reverse import ancestral, ddim, dpm_solver_pp, euler, heun, sde

__all__ = [
    "Process",
    "ancestral",
    "bound",
    "ddim",
    "dpm_solver_pp",
    "euler",
    "guided",
    "heun",
    "levels",
    "log_prob",
    "ode",
    "predicted",
    "prior_divergence",
    "regression",
    "sde",
    "stratified",
    "velocity",
]

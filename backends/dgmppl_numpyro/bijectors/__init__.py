"""Bijectors with learnable parameters: chains of steps that are `Transform`s of NumPyro.

A bijector maps z to x = f(z; context). Event axes are the trailing ones, any number of batch axes stands on the left,
and context arrays broadcast against them. `forward_and_log_det` and `inverse_and_log_det` return the mapped value and
the log |det J| of the map in that direction, summed over the event, in nats.
"""

from __future__ import annotations

from dgmppl_numpyro.bijectors.base import Bijector, Conditioned, Shared
from dgmppl_numpyro.bijectors.chain import Chain, Multiscale
from dgmppl_numpyro.bijectors.conditional import Autoregressive, Coupling
from dgmppl_numpyro.bijectors.elements import ActNorm, Affine, Diagonal, Elementwise, Spline
from dgmppl_numpyro.bijectors.functions import Exp, Log, Logit, Sigmoid, Softplus, Tanh
from dgmppl_numpyro.bijectors.mixing import LULinear, Permute, Planar, Reverse, Squeeze

__all__ = [
    "ActNorm",
    "Affine",
    "Autoregressive",
    "Bijector",
    "Chain",
    "Conditioned",
    "Coupling",
    "Diagonal",
    "Elementwise",
    "Exp",
    "LULinear",
    "Log",
    "Logit",
    "Multiscale",
    "Permute",
    "Planar",
    "Reverse",
    "Shared",
    "Sigmoid",
    "Softplus",
    "Spline",
    "Squeeze",
    "Tanh",
]

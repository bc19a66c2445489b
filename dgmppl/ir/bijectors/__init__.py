"""Bijectors: invertible functions, as steps with options, conditioners and a cheap direction."""

from __future__ import annotations

from dgmppl.ir.bijectors.core import Bijector, BijectorKind, Step
from dgmppl.ir.bijectors.layouts import kept_and_moved, raw_parameters, step_parameters
from dgmppl.ir.bijectors.shapes import image, ordering, scaled
from dgmppl.ir.bijectors.table import BIJECTORS

__all__ = [
    "BIJECTORS",
    "Bijector",
    "BijectorKind",
    "Step",
    "image",
    "kept_and_moved",
    "ordering",
    "raw_parameters",
    "scaled",
    "step_parameters",
]

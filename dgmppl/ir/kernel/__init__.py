"""Straight-line programs: what the backends print.

`lowering` turns a derivation into functions of a few statement kinds over batched tensors. Everything that both
backends share is settled here (batch axes, broadcasting, closed forms, order of statements), so that a backend is a
printer with small tables, and the two emitted programs read alike.
"""

from __future__ import annotations

from dgmppl.ir.kernel.module import Function, Group, Module, Noise
from dgmppl.ir.kernel.primitives import PRIMITIVES
from dgmppl.ir.kernel.statements import (
    Assign,
    Comment,
    Define,
    Delta,
    Plate,
    Return,
    ReturnLoss,
    Sample,
    Scan,
    Statement,
)
from dgmppl.ir.kernel.values import (
    FLAT,
    BijectorCall,
    Denoising,
    DensityValue,
    Divergence,
    Draw,
    FunctionDensity,
    Gradient,
    LogProb,
    MarkovSampler,
    NetworkCall,
    NetworkLogPrior,
    NetworkStart,
    NetworkStep,
    NoiseEntry,
    Noising,
    Number,
    Op,
    SpectralNorm,
    StateEntry,
    Value,
    Var,
    Velocity,
    WarmStart,
)

__all__ = [
    "FLAT",
    "PRIMITIVES",
    "Assign",
    "BijectorCall",
    "Comment",
    "Define",
    "Delta",
    "Denoising",
    "DensityValue",
    "Divergence",
    "Draw",
    "Function",
    "FunctionDensity",
    "Gradient",
    "Group",
    "LogProb",
    "MarkovSampler",
    "Module",
    "NetworkCall",
    "NetworkLogPrior",
    "NetworkStart",
    "NetworkStep",
    "Noise",
    "NoiseEntry",
    "Noising",
    "Number",
    "Op",
    "Plate",
    "Return",
    "ReturnLoss",
    "Sample",
    "Scan",
    "SpectralNorm",
    "StateEntry",
    "Statement",
    "Value",
    "Var",
    "Velocity",
    "WarmStart",
]

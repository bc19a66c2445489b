"""Noise schedules: those of the core, which compute in any array library."""

from __future__ import annotations

from dgmppl.ir.schedules import Schedule, cosine, edm, learned, linear, sigmoid, variance_exploding

__all__ = ["Schedule", "cosine", "edm", "learned", "linear", "sigmoid", "variance_exploding"]

"""dgmppl's Pyro backend."""

from dgmppl_pyro.backend import PyroBackend, backend

__all__ = ["PyroBackend", "backend"]

"""dgmppl's NumPyro backend."""

from dgmppl_numpyro.backend import NumPyroBackend, backend

__all__ = ["NumPyroBackend", "backend"]

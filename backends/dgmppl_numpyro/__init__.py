"""dgmppl's NumPyro backend."""

import jax
import numpyro

# ArviZ 1 registers both libraries as modules that load at first use. A submodule imported before that use would be
# missing among its parent's attributes, so they are used here, before anything else of the backend is imported.
_LIBRARIES = {"jax": jax.__version__, "numpyro": numpyro.__version__}

from dgmppl_numpyro.backend import NumPyroBackend, backend  # noqa: E402

__all__ = ["NumPyroBackend", "backend"]

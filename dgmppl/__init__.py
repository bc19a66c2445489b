"""dgmppl: deep generative models from declarative specs, compiled to Pyro and NumPyro programs.

    import dgmppl as dg

    program = dg.compile("vae.yaml", backend="numpyro")
    print(program.objective)              # what is minimized, in nats per datum
    fit = program.fit(seed=0)             # or fit(x) with data of your own
    fit.sample(64), fit.elbo(x), fit.to_arviz()

Names are loaded when they are first used: importing dgmppl imports neither torch nor JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "compile": "dgmppl.api.program",
    "CompiledProgram": "dgmppl.api.program",
    "Fit": "dgmppl.api.fitted",
    "load": "dgmppl.api.storage",
    "check": "dgmppl.compiler",
    "register_network": "dgmppl.passes.registering",
    "front": "dgmppl.compiler",
    "Interrupted": "dgmppl.runs.interrupts",
    "DgmpplError": "dgmppl.errors",
    "SpecError": "dgmppl.errors",
    "NoObjectiveError": "dgmppl.errors",
    "UnsupportedError": "dgmppl.errors",
    "RunError": "dgmppl.errors",
    "InternalError": "dgmppl.errors",
    "Spec": "dgmppl.spec.builder",
    "data": "dgmppl.spec.builder",
    "net": "dgmppl.spec.builder",
    "bij": "dgmppl.spec.builder",
    "var": "dgmppl.spec.builder",
}

__all__ = [
    "CompiledProgram", "DgmpplError", "Fit", "InternalError", "Interrupted", "NoObjectiveError", "RunError", "Spec",
    "SpecError", "UnsupportedError", "bij", "check", "compile", "data", "front", "load", "net",
    "register_network", "var",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names, then the words of the language (`dg.Normal`, `dg.mlp`) as constructors."""
    if name.startswith("_"):
        raise AttributeError(f"module 'dgmppl' has no attribute {name!r}")
    home = importlib.import_module(_HOMES.get(name, "dgmppl.spec.builder"))
    try:
        value = getattr(home, name)
    except AttributeError:
        raise AttributeError(f"module 'dgmppl' has no attribute {name!r}, and the language no such word") from None
    # `dgmppl.data` and `dgmppl.check` are submodules or functions: what the public name means wins.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
